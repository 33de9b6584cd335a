"""How well pages are digitized: rendered pages of records never trained on, and the pages of the data folder.

python -m benchmarks.accuracy --sets clean,photos,pages -n 10
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from benchmarks.clinical import clinical_rows
from benchmarks.common import arithmetic_option, data_option, report, signals_of
from cardioscan import Digitizer, DigitizerOptions, EcgRecord
from cardioscan.evaluate.clinical import compare_clinical
from cardioscan.evaluate.evaluation import read_truth
from cardioscan.evaluate.measure import PageScore, SetScore, agreement, compare
from cardioscan.options import PROFILES
from cardioscan.plots import overlay_of
from cardioscan.record import finite_or_none
from cardioscan.synthesis.dataset import RenderedPage, render_page
from cardioscan.synthesis.recipes import RECIPES
from cardioscan.synthesis.signals import open_signals, split_records

Truth = NDArray[np.float64]


@dataclass(frozen=True)
class Page:
    """A page to measure: its name, picture and true signals."""

    name: str
    source: Path | NDArray[np.uint8]
    truth: Truth


def rendered_pages(recipe: str, n: int, signals: str | None, seed: int = 7, first: int = 0) -> Iterator[Page]:
    """Pages of one recipe, from records that training never sees, beginning with the ``first`` of these."""
    for name, rendered in renderings(recipe, n, signals, seed, first):
        yield Page(name, rendered.image, rendered.page.printed_signals())


def renderings(
    recipe: str, n: int, signals: str | None, seed: int = 7, first: int = 0
) -> Iterator[tuple[str, RenderedPage]]:
    """The same pages by name, with everything that is true about them."""
    source = open_signals(signals, 200, seed)
    _, held_out = split_records(len(source))
    for index in range(n):
        rng = np.random.default_rng([seed, index])
        rendered = render_page(source.record(int(held_out[(first + index) % len(held_out)])), recipe, rng)
        yield f"{recipe}-{index:03d}", rendered


def photographs(data: Path) -> Iterator[Page]:
    """The photographs of the data folder with their WFDB truth."""
    for path in sorted((data / "photos").glob("*.jpg")):
        truth = read_truth(path.with_name(path.stem.rsplit("-", 1)[0] + ".hea"))
        yield Page(path.stem, path, next(iter(truth.values())))


def digitize(digitizer: Digitizer, page: Page, overlays: Path | None) -> tuple[EcgRecord, PageScore]:
    """Digitize one page and score it; with ``overlays``, write its traces drawn over it."""
    details = digitizer.digitize_with_details(page.source)
    record = details.record
    if overlays is not None and details.image is not None:
        overlays.mkdir(parents=True, exist_ok=True)
        picture = cv2.cvtColor(overlay_of(details), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(overlays / f"{page.name}.png"), picture)
        if details.rectified is not None:
            cv2.imwrite(str(overlays / f"{page.name}.flat.png"), cv2.cvtColor(details.rectified, cv2.COLOR_RGB2BGR))
    return record, compare(np.array(record.signals), page.truth)


def garbage_unannounced(records: list[EcgRecord], scores: list[PageScore]) -> int:
    """Digitized pages below 0 dB whose mean confidence is above one half."""
    return sum(
        score.digitized and score.snr_db < 0 and mean_confidence(record) > 0.5
        for record, score in zip(records, scores, strict=True)
    )


def mean_confidence(record: EcgRecord) -> float:
    """Mean confidence over all printed samples, unread ones counting 0."""
    return float(np.mean(list(record.lead_confidence().values())))


def set_row(name: str, records: list[EcgRecord], scores: list[PageScore]) -> dict[str, object]:
    """One line of the table."""
    total = SetScore.from_pages(scores)
    return {
        "set": name,
        "pages": total.n_pages,
        "digitized": sum(score.digitized for score in scores),
        "score dB": finite_or_none(total.snr_db),
        "median dB": finite_or_none(total.median_db),
        "p10 dB": finite_or_none(total.percentile_10_db),
        "r": finite_or_none(total.mean_r),
        "RMSE mV": finite_or_none(total.mean_rmse_mv),
        "below 0 dB and sure": garbage_unannounced(records, scores),
    }


def pages_agreement(digitizer: Digitizer, data: Path) -> list[dict[str, object]]:
    """The two versions of each ECG in ``pages`` against each other."""
    rows: list[dict[str, object]] = []
    for clean in sorted((data / "pages").glob("*-0001.png")):
        scan = clean.with_name(clean.name.replace("-0001", "-0004"))
        a, b = digitizer.digitize(clean), digitizer.digitize(scan)
        both = a.outcome == b.outcome == "digitized"
        rows.append(
            {
                "ECG": clean.stem.split("-")[0],
                "clean": a.outcome.value,
                "b/w scan": b.outcome.value,
                "agreement dB": finite_or_none(agreement(np.array(a.signals), np.array(b.signals))) if both else None,
            }
        )
    return rows


@click.command()
@data_option
@click.option("--sets", default="clean,photos,pages", help=f"Of: photos, pages, {', '.join(RECIPES)}; comma-separated.")
@click.option("-n", "count", default=10, help="Rendered pages per recipe.")
@click.option("--overlays", type=click.Path(path_type=Path), help="Write the traces over each page here.")
@click.option("--models", type=click.Path(path_type=Path), help="Another model repository.")
@arithmetic_option
@click.option("--profile", type=click.Choice(list(PROFILES)), default="balanced", help="Profile of the digitizer.")
@click.option("--clinical", is_flag=True, help="Compare heart rate, intervals and ST levels too (extra 'clinical').")
@click.option("--name", default="accuracy", help="Name of the result file.")
def main(
    data: Path,
    sets: str,
    count: int,
    overlays: Path | None,
    models: Path | None,
    arithmetic: str | None,
    profile: str,
    clinical: bool,
    name: str,
) -> None:
    """Measure accuracy and print the tables."""
    changes = {"arithmetic": arithmetic} if arithmetic else {}
    digitizer = Digitizer(options=DigitizerOptions.of_profile(profile, models=models, **changes))
    rows, details, measures = [], [], []
    for chosen in sets.split(","):
        if chosen == "pages":
            report(f"{name}-pages", "Two versions of one ECG", pages_agreement(digitizer, data))
            continue
        photos = list(photographs(data)) if chosen == "photos" else []
        pages = photos or rendered_pages(chosen, count, signals_of(data))
        records, scores, comparisons = [], [], []
        for page in track(pages, chosen, total=len(photos) or count):
            record, score = digitize(digitizer, page, overlays)
            records.append(record)
            scores.append(score)
            if clinical:
                comparisons.append(compare_clinical(np.array(record.signals), page.truth))
            details.append(
                {
                    "page": page.name,
                    "outcome": record.outcome.value,
                    "reason": record.reasons[0].code if record.reasons else "",
                    "dB": finite_or_none(score.snr_db),
                    "r": finite_or_none(score.mean_r),
                    "confidence": mean_confidence(record),
                    "II dB": finite_or_none(score.leads["II"].snr_db),
                    "lag II ms": finite_or_none(1000 * score.leads["II"].lag_s),
                    "alignment": record.diagnostics.get("alignment_score"),
                    "lattice": record.diagnostics.get("lattice_score"),
                }
            )
        rows.append(set_row(chosen, records, scores))
        measures += clinical_rows(chosen, comparisons) if clinical else []
    if measures:
        report(f"{name}-clinical", "Heart rate, intervals and ST levels, digitized against true", measures)
    if rows:
        report(f"{name}-by-page", "Accuracy by page", details)
        report(name, "Accuracy", rows)


if __name__ == "__main__":
    main()
