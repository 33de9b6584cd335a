"""The diagnosis: where the decibels are lost, stage by stage and fault by fault.

python -m benchmarks.stages --sets clean,phone_photo,photos -n 10

On rendered pages one stage's answer at a time is replaced by the truth. On all pages ``benchmarks.oracle`` also
corrects one fault of the digitized signals at a time; the tables show what a page would score then.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from cardioscan.backends.inference import Tensors
from cardioscan.errors import PageRefusedError
from cardioscan.evaluate.measure import PageScore, SetScore, compare, finite_or_none
from cardioscan.flatten.page_map import PageMap
from cardioscan.imaging.geometry import homography_dlt
from cardioscan.run import PageRun
from cardioscan.synthesis.dataset import RenderedPage
from cardioscan.synthesis.recipes import RECIPES

Floats = NDArray[np.float64]
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
    template = rendered.page.template
    full = rendered.geometry.to_page(np.stack(PageMap.of(nodes, template).dense(), axis=-1)).astype(np.float32)
    return np.stack([cv2.remap(row, full, None, cv2.INTER_LINEAR) for row in rendered.page.coverage()])


def lattice_error_px(nodes: Floats, rendered: RenderedPage) -> float:
    """Median distance of a lattice from the true one where the traces are, px of the reference frame."""
    template = rendered.page.template
    true = rendered.geometry.to_image(template.lattice())
    scale = float(np.median(np.linalg.norm(np.diff(true, axis=1), axis=-1))) / template.grid_pitch
    return float(np.median(np.linalg.norm(nodes - true, axis=-1)[_FIRST_LINE:])) / scale


def stage_records(digitizer: Digitizer, rendered: RenderedPage) -> tuple[dict[str, EcgRecord], Floats | None]:
    """Digitize a rendered page once for each of ``STAGES``; also gives the lattice (44, 57, 2) found as it is."""
    true_nodes = rendered.geometry.to_image(rendered.page.template.lattice())
    opened = PageRun(digitizer.backend, digitizer.options, rendered.recipe)
    opened.read(rendered.image, 0)
    opened.classify()

    as_is = _branch(opened)
    records = {"as is": _through(as_is, "align", "rectify", "extract")}

    aligned = with_alignment(opened, rendered)
    records["true alignment"] = _through(_branch(aligned), "rectify", "extract")

    flat = with_lattice(aligned, true_nodes)
    records["true lattice"] = _through(_branch(flat), "extract")

    known = None if as_is.nodes is None else with_coverage(with_lattice(as_is, as_is.nodes), rendered)
    records["true coverage"] = records["as is"] if known is None else _through(known, "extract")
    records["both"] = _through(with_coverage(flat, rendered), "extract")
    return records, as_is.nodes


def with_alignment(run: PageRun, rendered: RenderedPage) -> PageRun:
    """The run with the lead names where they are and the page's homography fitted to its true lattice."""
    template, to_image = rendered.page.template, rendered.geometry.to_image
    aligned = _branch(run)
    nodes = template.lattice().reshape(-1, 2)
    aligned.homography = homography_dlt(nodes, to_image(nodes))
    aligned.labels = np.column_stack([[label.class_id for label in template.labels], to_image(template.label_points())])
    return aligned


def with_lattice(run: PageRun, nodes: Floats) -> PageRun:
    """The run with the page flattened by this lattice, which no later stage will move."""
    held = _branch(run)
    held.options = replace(held.options, phase_refinement="never", line_refinement=False, second_pass="never")
    held.nodes = held.base = nodes
    held._flatten()
    return held


def with_coverage(run: PageRun, rendered: RenderedPage) -> PageRun:
    """The run with an extractor that knows the page, on the lattice at hand."""
    assert run.nodes is not None
    known = _branch(run)
    known.backend = KnownCoverage(true_coverage(rendered, run.nodes))
    return known


def _branch(run: PageRun) -> PageRun:
    """A run that goes on from here without changing this one."""
    branch = copy.copy(run)
    branch.diagnostics, branch.timings = dict(run.diagnostics), dict(run.timings)
    return branch


def _through(run: PageRun, *stages: str) -> EcgRecord:
    """Take a run through stages to its record; a page that a stage refuses gives the refused record."""
    try:
        for stage in stages:
            getattr(run, stage)()
        return run.finish().record
    except PageRefusedError as error:
        return run.refuse(error).record


def signal_scores(pred: Floats, truth: Floats) -> dict[str, PageScore]:
    """What a page scores as it is and with one fault corrected at a time."""
    corrected = {
        "as is": pred,
        "gain": correct_gain(pred, truth),
        "straight time": correct_time_base(pred, truth),
        "bent time": correct_time_base(pred, truth, KNOT_S),
        "bent level": correct_baseline(pred, truth),
        "rows": correct_row_confusion(pred, truth),
        "trace": correct_outliers(pred, truth),
        "all": correct_all(pred, truth),
    }
    return {name: compare(signals, truth) for name, signals in corrected.items()}


def page_row(name: str, scores: Mapping[str, PageScore]) -> Row:
    """One line of a table by page: dB by column."""
    return {"page": name, **{column: finite_or_none(score.snr_db) for column, score in scores.items()}}


def size_row(name: str, pred: Floats, truth: Floats) -> Row:
    """How large the faults of a page are: shares of its printed samples, medians over its leads."""
    leads = [lead for lead in compare(pred, truth).leads.values() if np.isfinite(lead.lag_s)]
    confusion = find_row_confusion(pred, truth)
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
