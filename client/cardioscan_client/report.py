"""What the commands print: results on stdout, progress on stderr."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cardioscan.record import Outcome
from cardioscan_client.naming import printable
from cardioscan_client.page_runner import PageResult

if TYPE_CHECKING:
    from cardioscan.evaluate.clinical import ClinicalSummary
    from cardioscan.evaluate.evaluation import Evaluation
    from cardioscan.evaluate.measure import SetScore


def progress_bar() -> Progress:
    """A progress bar on stderr; silent where stderr is not a terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=False,
        redirect_stderr=False,
    )


class BatchReport:
    """Prints each page as it is done and sums up at the end.

    Args:
        n_files: number of inputs; pages beyond the first of a document are added when they are known.
        directory: where the results lie.
        as_json: one JSON object per page on stdout (JSON lines); the sum then goes to stderr.
    """

    def __init__(self, n_files: int, directory: Path, as_json: bool) -> None:
        self._directory = directory
        self._as_json = as_json
        self._progress = progress_bar()
        self._task = self._progress.add_task("digitizing", total=n_files)
        self._n_pages = n_files
        self._counts = {Outcome.DIGITIZED: 0, Outcome.REFUSED: 0}
        self._incomplete = 0

    @property
    def all_complete(self) -> bool:
        """Whether every page was digitized and written in every format asked for."""
        return self._incomplete == 0

    def __enter__(self) -> BatchReport:
        self._progress.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._progress.stop()
        if kind is None:
            click.echo(self._sum(), err=self._as_json)

    def add(self, result: PageResult) -> None:
        """Count one page and print its line."""
        self._counts[result.outcome] += 1
        self._incomplete += not result.complete
        if sum(self._counts.values()) > self._n_pages:
            self._n_pages += 1
        self._progress.update(self._task, completed=sum(self._counts.values()), total=self._n_pages)
        # Results go to stdout and the bar to stderr: it makes room for the line where both are one terminal.
        self._progress.stop()
        click.echo(json.dumps(result.to_json_dict()) if self._as_json else page_line(result))
        self._progress.start()

    def _sum(self) -> str:
        digitized, refused = self._counts[Outcome.DIGITIZED], self._counts[Outcome.REFUSED]
        pages = "1 page" if digitized + refused == 1 else f"{digitized + refused} pages"
        return f"{pages}: {digitized} digitized, {refused} refused; results in {printable(self._directory)}"


def page_line(result: PageResult) -> str:
    """One page in one line: what became of it, and the files written."""
    where = result.source if result.n_pages == 1 else f"{result.source} page {result.page + 1}"
    if result.outcome is Outcome.REFUSED:
        what = "refused, " + "; ".join(f"{reason.code}: {reason.detail}" for reason in result.reasons)
    else:
        what = f"digitized, mean confidence {result.mean_confidence:.2f}"
        if result.heart_rate_bpm is not None:
            what += f", heart rate {result.heart_rate_bpm:.0f}/min"
        what += "".join(f"; not written: {sentence}" for sentence in result.not_written)
    files = ", ".join(printable(path) for path in result.files)
    line = f"{where}: {what}" + (f" -> {files}" if files else "")
    # A file name or a decoder's message may hold a line break; a page has one line.
    return " ".join(line.splitlines())


def print_evaluation(evaluation: Evaluation) -> None:
    """Print a line per page and the figures of the set, as tables on stdout."""
    console = Console(soft_wrap=True)
    pages = Table("truth", "page", box=None, pad_edge=False)
    leads = Table("lead", box=None, pad_edge=False)
    for name in ("SNR dB", "r", "RMSE mV"):
        pages.add_column(name, justify="right")
    for name in ("r", "RMSE mV"):
        leads.add_column(name, justify="right")
    for row in evaluation.rows:
        page = row.score
        figures = (
            (f"{page.snr_db:.2f}", number(page.mean_r, 4), number(page.mean_rmse_mv, 4))
            if page.digitized
            else ("refused" if row.prediction else "missing", "", "")
        )
        pages.add_row(row.truth, row.prediction or "-", *figures)
    total = evaluation.score
    for lead, r in total.lead_r.items():
        leads.add_row(lead, number(r, 4), number(total.lead_rmse_mv[lead], 4))
    console.print(pages, markup=False)
    console.print()
    console.print(leads)
    console.print()
    figures_of_set = set_figures(total)
    width = max(map(len, figures_of_set))
    for name, value in figures_of_set.items():
        click.echo(f"{name:<{width}}  {value}")
    if evaluation.clinical is not None:
        _print_clinical(evaluation.clinical, console)
    for name in evaluation.unmatched:
        click.echo(f"no truth belongs to {name}: not counted", err=True)


def set_figures(score: SetScore) -> dict[str, str]:
    """What sums up a set, by name, in words and with units."""
    return {
        "pages": str(score.n_pages),
        "score (10 log10 of the mean ratio)": f"{number(score.snr_db, 2)} dB",
        "median": f"{number(score.median_db, 2)} dB",
        "10th percentile": f"{number(score.percentile_10_db, 2)} dB",
        "refused": f"{100 * score.share_refused:.1f} %",
        "Pearson r": number(score.mean_r, 4),
        "RMSE": f"{number(score.mean_rmse_mv, 4)} mV",
    }


CLINICAL: Final = {
    "heart_rate_bpm": ("heart rate", "1/min", 2),
    "pr_ms": ("PR", "ms", 1),
    "qrs_ms": ("QRS", "ms", 1),
    "qt_ms": ("QT", "ms", 1),
    "qtc_bazett_ms": ("QTc Bazett", "ms", 1),
    "qtc_fridericia_ms": ("QTc Fridericia", "ms", 1),
    "st_mv": ("ST at J+60 ms", "mV", 3),
}
"""Name, unit and digits of each clinical measure."""


def clinical_rows(summary: ClinicalSummary) -> list[tuple[str, str, str, str, str, str]]:
    """Name, unit, number of pages measured and of those that the truth allows, error and bias of each measure."""
    rows = []
    for key, row in summary.measures.items():
        name, unit, digits = CLINICAL[key]
        errors = (number(row.mean_absolute_error, digits), number(row.bias, digits))
        rows.append((name, unit, str(row.n), str(row.n_true), *errors))
    return rows


def _print_clinical(summary: ClinicalSummary, console: Console) -> None:
    """Print clinical measures of the digitized against the true signals; "of" counts what the truth allows."""
    table = Table("measure", "unit", box=None, pad_edge=False)
    for name in ("n", "of", "mean abs. error", "bias"):
        table.add_column(name, justify="right")
    for row in clinical_rows(summary):
        table.add_row(*row)
    console.print()
    console.print(table)
    share = 100 * summary.heart_rate_within_1
    click.echo(f"heart rate within 1/min of the truth: {number(share, 1)} % of digitized pages")


def number(value: float, digits: int) -> str:
    """A figure with so many digits behind the point; a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
