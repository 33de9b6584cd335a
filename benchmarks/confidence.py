"""Whether confidence tells the truth: leads by their confidence, and the share of them that is above 15 dB.

python -m benchmarks.confidence -n 4              # measure the released model
python -m benchmarks.confidence -n 10 --fit       # fit it anew, for new networks
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from benchmarks.accuracy import Page, photographs, rendered_pages
from benchmarks.common import ROOT, data_option, report, signals_of
from cardioscan import Digitizer, DigitizerOptions
from cardioscan.arrays import Floats
from cardioscan.evaluate.measure import compare
from cardioscan.page.leads import LEADS
from cardioscan.postprocess.confidence import FEATURES, GOOD_DB, LogisticModel, released_model
from cardioscan.synthesis.recipes import RECIPES

FIT_SEED, MEASURE_SEED = 7, 11
MEASURE_FIRST = 40
"""Measured are other records than those that the model was fitted on, as long as these are 40 at most."""
EDGES = (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
Leads = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]


def leads_of(digitizer: Digitizer, pages: Iterator[Page], total: int, title: str) -> Leads:
    """Features (n, 9), whether each lead is good (n,), and the page's confidence (n,), of all leads read."""
    features, good, page_confidence = [], [], []
    for page in track(pages, title, total=total):
        details = digitizer.digitize_with_details(page.source)
        if details.lead_features is None:
            continue
        score = compare(np.array(details.record.signals), page.truth)
        for lead, row in zip(LEADS, details.lead_features, strict=True):
            if np.isfinite(row).all() and lead in score.leads:
                features.append(row)
                good.append(score.leads[lead].snr_db >= GOOD_DB)
                page_confidence.append(details.page_confidence)
    return np.array(features), np.array(good, bool), np.array(page_confidence)


def fit_logistic(features: Floats, good: NDArray[np.bool_], ridge: float = 3.0) -> LogisticModel:
    """Fit the model by penalised maximum likelihood (Newton's method).

    Args:
        features: (n, k), finite.
        good: (n,) whether each lead was read to 15 dB.
        ridge: weight of the squared weights of the standardised features.
    """
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    design = np.column_stack([np.clip((features - mean) / scale, -3, 3), np.ones(len(features))])
    penalty = np.diag([ridge] * features.shape[1] + [0.0])
    weights = np.zeros(design.shape[1])
    for _ in range(30):
        chance = 1 / (1 + np.exp(-design @ weights))
        gradient = design.T @ (chance - good) + penalty @ weights
        curvature = (design * (chance * (1 - chance))[:, None]).T @ design + penalty
        weights = weights - np.linalg.solve(curvature + 1e-6 * np.eye(len(weights)), gradient)

    def rounded(values: Floats) -> list[float]:
        return [round(float(value), 5) for value in values]

    return LogisticModel(FEATURES, rounded(mean), rounded(scale), rounded(weights[:-1]), round(float(weights[-1]), 5))


def calibration_table(confidence: Floats, good: NDArray[np.bool_], edges: Sequence[float]) -> list[Mapping[str, float]]:
    """Per bin of confidence: how many leads, their mean confidence, and the share that was good."""
    rows: list[Mapping[str, float]] = []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        inside = (confidence >= low) & ((confidence < high) | (high >= 1))
        if inside.any():
            rows.append(
                {
                    "from": low,
                    "to": high,
                    "leads": int(inside.sum()),
                    "confidence": float(confidence[inside].mean()),
                    "good": float(good[inside].mean()),
                }
            )
    return rows


@click.command()
@data_option
@click.option("-n", "count", default=4, help="Pages per recipe.")
@click.option("--sets", default=",".join(RECIPES), help="Recipes, comma-separated; photos for the photographs.")
@click.option("--fit", is_flag=True, help="Fit the model and write cardioscan/postprocess/confidence.json.")
@click.option("--models", type=click.Path(path_type=Path), help="Another model repository.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the reliability diagram here.")
def main(data: Path, count: int, sets: str, fit: bool, models: Path | None, plot: Path | None) -> None:
    """Measure or fit the confidence of leads."""
    digitizer = Digitizer(options=DigitizerOptions(models=models))
    parts = []
    for name in sets.split(","):
        if name == "photos":
            photos = list(photographs(data))
            parts.append(leads_of(digitizer, iter(photos), len(photos), name))
        else:
            seed, first = (FIT_SEED, 0) if fit else (MEASURE_SEED, MEASURE_FIRST)
            parts.append(leads_of(digitizer, rendered_pages(name, count, signals_of(data), seed, first), count, name))
    features = np.concatenate([part[0] for part in parts if len(part[0])])
    good = np.concatenate([part[1] for part in parts])
    page_confidence = np.concatenate([part[2] for part in parts])
    model = fit_logistic(features, good) if fit else released_model()
    if fit:
        content = {
            "fitted_on": {"sets": sets, "pages_per_set": count, "leads": len(good), "good_share": float(good.mean())},
            "model": asdict(model),
        }
        path = ROOT / "cardioscan" / "postprocess" / "confidence.json"
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        click.echo(f"Wrote {path}", err=True)
    rows = calibration_table(model(features) * page_confidence, good, EDGES)
    report("confidence", f"Leads by confidence, and the share above {GOOD_DB:.0f} dB", rows)
    sure = model(features) * page_confidence > 0.9
    share = f"{good[sure].mean():.1%}" if sure.any() else "-"
    click.echo(f"{int(sure.sum())} of {len(good)} leads above 0.9; above {GOOD_DB:.0f} dB of these: {share}")
    if plot is not None:
        _draw(rows, plot)


def _draw(rows: list, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.scatter([r["confidence"] for r in rows], [r["good"] for r in rows], [8 + r["leads"] for r in rows], alpha=0.7)
    for row in rows:
        axes.annotate(str(row["leads"]), (row["confidence"], row["good"]), textcoords="offset points", xytext=(6, -9))
    axes.set(xlabel="confidence of the lead", ylabel=f"share of leads above {GOOD_DB:.0f} dB", xlim=(0, 1), ylim=(0, 1))
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
