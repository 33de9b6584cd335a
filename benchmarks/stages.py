"""The diagnosis: where the decibels are lost, stage by stage and fault by fault.

python -m benchmarks.stages --sets clean,phone_photo,photos -n 10

On rendered pages one stage's answer at a time is replaced by the truth. On all pages ``benchmarks.oracle`` also
corrects one fault of the digitized signals at a time; the tables show what a page would score then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from benchmarks.accuracy import photographs, renderings
from benchmarks.common import data_option, report, signals_of
from benchmarks.oracle import (
    KNOT_S,
    correct_all,
    correct_baseline,
    correct_gain,
    correct_outliers,
    correct_row_confusion,
    correct_time_base,
    find_row_confusion,
    offsets_mv,
    outliers,
)
from cardioscan import Digitizer, DigitizerOptions, EcgRecord
from cardioscan.arrays import Floats
from cardioscan.backends.inference import InferenceBackend, Tensors
from cardioscan.backends.specs import NAME_PLACES
from cardioscan.errors import PageRefusedError
from cardioscan.evaluate.measure import PageScore, SetScore, compare
from cardioscan.flatten.first_lattice import FirstLattice
from cardioscan.flatten.flatten import Flattened, flatten_by
from cardioscan.flatten.page_map import PageMap
from cardioscan.imaging.geometry import homography_dlt
from cardioscan.locate.locate import Located
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.postprocess.read import Read
from cardioscan.record import Reason, finite_or_none
from cardioscan.stages import Stage, onward, record_of
from cardioscan.stopwatch import Stopwatch
from cardioscan.synthesis.dataset import RenderedPage
from cardioscan.synthesis.recipes import RECIPES

Row = dict[str, object]

STAGES: Final = ("as is", "true alignment", "true lattice", "true coverage", "both")
"""``both`` is true lattice and true coverage: what is left then is lost by the decoder."""

_FIRST_LINE: Final = 14  # the traces stand below this horizontal line


@dataclass(frozen=True, eq=False)
class KnownCoverage:
    """An inference backend that answers for the waveform extractor with a coverage (rows, height, width) uint8."""

    coverage: NDArray[np.uint8]

    def infer(self, model: str, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """The coverage, whatever the page looks like; raises ``KeyError`` for other networks."""
        return {"waveform_extractor": {"row_coverage": self.coverage[None]}}[model]

    def model_versions(self) -> dict[str, tuple[str, str]]:
        """No network is used."""
        return {}


def true_coverage(rendered: RenderedPage, nodes: Floats) -> NDArray[np.uint8]:
    """The coverage that a perfect extractor would give on the page as flattened by a lattice.

    Args:
        rendered: the page, with its exact geometry.
        nodes: (44, 57, 2) float64 (x, y) px of the picture, the lattice that the page is flattened by.

    Returns:
        (rows, height, width) uint8.
    """
    dense = np.stack(PageMap.of(nodes, rendered.page.printed.sheet).dense(), axis=-1)
    full = rendered.geometry.to_page(dense).astype(np.float32)
    return np.stack([cv2.remap(row, full, None, cv2.INTER_LINEAR) for row in rendered.page.coverage()])


def lattice_error_px(nodes: Floats, rendered: RenderedPage) -> float:
    """Median distance of a lattice from the true one where the traces are, px of the reference frame."""
    sheet = rendered.page.printed.sheet
    true = rendered.geometry.to_image(sheet.lattice())
    scale = float(np.median(np.linalg.norm(np.diff(true, axis=1), axis=-1))) / sheet.pitch
    return float(np.median(np.linalg.norm(nodes - true, axis=-1)[_FIRST_LINE:])) / scale


def stage_records(digitizer: Digitizer, rendered: RenderedPage) -> tuple[dict[str, EcgRecord], Floats | None]:
    """Digitize a rendered page once for each of ``STAGES``; also gives the lattice (44, 57, 2) found as it is."""
    as_is = digitizer.digitize_with_details(rendered.image)
    aligned = true_alignment(rendered)
    flat = true_lattice(aligned, rendered)
    records = {
        "as is": as_is.record,
        "true alignment": record_from(aligned, digitizer.backend, digitizer.options),
        "true lattice": record_from(flat, digitizer.backend, digitizer.options),
        "true coverage": as_is.record,
        "both": record_from(flat, KnownCoverage(true_coverage(rendered, flat.nodes)), digitizer.options),
    }
    if as_is.lattice is not None:
        held = flatten_by(aligned, flat.sheet, FirstLattice(as_is.lattice, 1.0, 1.0, {}), 0)
        known = KnownCoverage(true_coverage(rendered, as_is.lattice))
        records["true coverage"] = record_from(held, known, digitizer.options)
    return records, as_is.lattice


def true_alignment(rendered: RenderedPage) -> Located:
    """A rendered page located by its true lattice and the lead names where they are."""
    to_image, nodes = rendered.geometry.to_image, NAME_PLACES.sheet.lattice().reshape(-1, 2)
    classes = [label.class_id for label in NAME_PLACES.classes]
    names = np.column_stack([classes, to_image(NAME_PLACES.points())])
    return Located(rendered.image, homography_dlt(nodes, to_image(nodes)), names, False, {})


def true_lattice(located: Located, rendered: RenderedPage) -> Flattened:
    """A located page flattened by its true lattice."""
    sheet = rendered.page.printed.sheet
    return flatten_by(located, sheet, FirstLattice(rendered.geometry.to_image(sheet.lattice()), 1.0, 1.0, {}), 0)


def record_from(stage: Stage, backend: InferenceBackend, options: DigitizerOptions) -> EcgRecord:
    """Take a page from one stage on to its record; a page that a stage refuses gives the refused record."""
    try:
        *_, done = onward(stage, backend, options, Stopwatch())
    except PageRefusedError as error:
        return EcgRecord.refused("page", (Reason.from_error(error),))
    assert isinstance(done, Read)
    return record_of(done, {"name": "page"}, {})


def signal_scores(pred: Floats, truth: Floats) -> dict[str, PageScore]:
    """What a page scores as it is and with one fault corrected at a time."""
    corrected = {
        "as is": pred,
        "gain": correct_gain(pred, truth),
        "straight time": correct_time_base(pred, truth),
        "bent time": correct_time_base(pred, truth, KNOT_S),
        "bent level": correct_baseline(pred, truth),
        "rows": correct_row_confusion(pred, truth, REFERENCE_PAGE),
        "trace": correct_outliers(pred, truth),
        "all": correct_all(pred, truth, REFERENCE_PAGE),
    }
    return {name: compare(signals, truth) for name, signals in corrected.items()}


def page_row(name: str, scores: Mapping[str, PageScore]) -> Row:
    """One line of a table by page: dB by column."""
    return {"page": name, **{column: finite_or_none(score.snr_db) for column, score in scores.items()}}


def size_row(name: str, pred: Floats, truth: Floats) -> Row:
    """How large the faults of a page are: shares of its printed samples, medians over its leads."""
    leads = [lead for lead in compare(pred, truth).leads.values() if np.isfinite(lead.lag_s)]
    confusion = find_row_confusion(pred, truth, REFERENCE_PAGE)
    return {
        "page": name,
        "leads of other rows": len(confusion.leads),
        "of other rows %": 100 * confusion.share,
        "astray %": 100 * float(outliers(pred, truth).sum()) / max(confusion.printed, 1),
        "lag ms": 1000 * float(np.median([abs(lead.lag_s) for lead in leads])) if leads else None,
        "gain": float(np.nanmedian([lead.gain for lead in leads])) if leads else None,
        "offset uV": 1000 * float(np.nanmedian(np.abs(offsets_mv(pred, truth)))) if leads else None,
    }


def set_row(name: str, pages: Sequence[Mapping[str, PageScore]]) -> Row:
    """Score of a set by column, dB."""
    columns = {column: SetScore.from_pages([page[column] for page in pages]).snr_db for column in pages[0]}
    return {"set": name, "pages": len(pages), **{column: finite_or_none(db) for column, db in columns.items()}}


@dataclass
class Tables:
    """The tables as they grow."""

    stages_by_page: list[Row]
    stages: list[Row]
    signals_by_page: list[Row]
    signals: list[Row]
    sizes: list[Row]

    def write(self, name: str) -> None:
        """Print the tables that have rows and write each as JSON."""
        for suffix, title, rows in (
            ("-by-page", "Stages replaced by the truth, dB by page", self.stages_by_page),
            ("", "Stages replaced by the truth, score in dB", self.stages),
            ("-signals-by-page", "Signals with one fault corrected, dB by page", self.signals_by_page),
            ("-sizes", "How large the faults are, by page", self.sizes),
            ("-signals", "Signals with one fault corrected, score in dB", self.signals),
        ):
            if rows:
                report(name + suffix, title, rows)

    def add_signals(self, name: str, pred: Floats, truth: Floats) -> dict[str, PageScore]:
        """Correct the signals of a page, add its row, and give the scores."""
        scores = signal_scores(pred, truth)
        self.signals_by_page.append(page_row(name, scores))
        self.sizes.append(size_row(name, pred, truth))
        return scores

    def add_stages(
        self, name: str, digitizer: Digitizer, rendered: RenderedPage
    ) -> tuple[dict[str, PageScore], Floats]:
        """Replace the stages of a rendered page, add its row, and give the scores and the signals as they are."""
        truth = rendered.page.printed_signals()
        records, nodes = stage_records(digitizer, rendered)
        scores = {stage: compare(np.array(record.signals), truth) for stage, record in records.items()}
        off = None if nodes is None else lattice_error_px(nodes, rendered)
        self.stages_by_page.append({**page_row(name, scores), "nodes off px": off})
        return scores, np.array(records["as is"].signals)


def diagnose_rendered(digitizer: Digitizer, recipe: str, count: int, data: Path, tables: Tables) -> None:
    """Add the rows of a set of rendered pages to the tables."""
    stages, signals = [], []
    for name, rendered in track(renderings(recipe, count, signals_of(data)), recipe, total=count):
        scores, pred = tables.add_stages(name, digitizer, rendered)
        stages.append(scores)
        signals.append(tables.add_signals(name, pred, rendered.page.printed_signals()))
    tables.stages.append(set_row(recipe, stages))
    tables.signals.append(set_row(recipe, signals))


def diagnose_photographs(digitizer: Digitizer, photos: int | None, data: Path, tables: Tables) -> None:
    """Add the rows of the photographs, whose stages nobody knows the truth of, to the tables."""
    pages = list(photographs(data))[:photos]
    signals = [
        tables.add_signals(page.name, np.array(digitizer.digitize(page.source).signals), page.truth)
        for page in track(pages, "photos")
    ]
    if signals:
        tables.signals.append(set_row("photos", signals))


@click.command()
@data_option
@click.option("--sets", default="clean,phone_photo,photos", help=f"Of: photos, {', '.join(RECIPES)}; comma-separated.")
@click.option("-n", "count", default=10, help="Rendered pages per recipe.")
@click.option("--photos", type=int, help="Only so many photographs; all without it.")
@click.option("--models", type=click.Path(path_type=Path), help="Another model repository.")
@click.option("--threads", default=0, help="Threads of the networks; 0 uses all cores.")
@click.option("--name", default="stages", help="Name of the result files.")
def main(data: Path, sets: str, count: int, photos: int | None, models: Path | None, threads: int, name: str) -> None:
    """Say where the decibels are lost and print the tables."""
    digitizer = Digitizer(options=DigitizerOptions(models=models, threads=threads))
    tables = Tables([], [], [], [], [])
    for chosen in sets.split(","):
        if chosen == "photos":
            diagnose_photographs(digitizer, photos, data, tables)
        else:
            diagnose_rendered(digitizer, chosen, count, data, tables)
    tables.write(name)


if __name__ == "__main__":
    main()
