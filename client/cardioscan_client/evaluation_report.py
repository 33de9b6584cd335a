"""``cardioscan evaluate --report``: one HTML file with figures and pictures, the worst page first.

The file holds everything that it shows: pictures are data URIs, and its content security policy forbids any request.
It states no time and no path of this machine, so the same results give the same file. Needs the extra ``plot``.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cardioscan import __version__
from cardioscan.errors import MissingDependencyError
from cardioscan.evaluate.clinical import ClinicalComparison
from cardioscan.evaluate.evaluation import Evaluation, PageRow
from cardioscan.evaluate.measure import PageScore
from cardioscan.page.catalogue import find_layout
from cardioscan.page.leads import LEADS, SAMPLING_RATE_HZ
from cardioscan.page.scale import Scale
from cardioscan.plots import plot_comparison
from cardioscan_client.naming import printable
from cardioscan_client.report import CLINICAL, clinical_rows, number, set_figures

DEFAULT_PICTURES: Final = 50
_LAYOUT: Final = find_layout("3x4+1")
_SCALE: Final = Scale(25.0, 10.0)
"""Truths say nothing of layout and scale: they are drawn as the standard sheet has them."""
_OVERLAY_SIDE: Final = 1600
"""Longest side of an overlay in the report, px: fifty of them in full size would be hundreds of megabytes."""

_OVERLAY_QUALITY: Final = 80
_PLOT_DPI: Final = 200
"""8 px a millimetre of paper: sharp still when a phone zooms in."""

_PLOT_COLOURS: Final = 64


@dataclass(frozen=True, eq=False)
class _ScoredPage:
    """A page with its signals, (12, 5000) mV; ``predicted`` is None where it was refused or is missing."""

    row: PageRow
    predicted: NDArray[np.float64] | None
    truth: NDArray[np.float64]


class EvaluationReport:
    """Keeps the worst pages while a set is scored, and makes the report of it.

    Args:
        directory: the folder of the results, where overlays and ``page.json`` lie.
        pictures: how many pages are shown in pictures, the worst ones.
    """

    def __init__(self, directory: Path, pictures: int = DEFAULT_PICTURES) -> None:
        self._directory = directory
        self._pictures = pictures
        self._kept: list[_ScoredPage] = []

    def add(self, row: PageRow, predicted: NDArray[np.float64] | None, truth: NDArray[np.float64]) -> None:
        """Take one page (``each_page`` of ``cardioscan.evaluate.evaluation.evaluate_paths``)."""
        self._kept.append(_ScoredPage(row, predicted, truth))
        if len(self._kept) >= 2 * self._pictures + 8:  # so that a large set does not fill the memory
            self._keep_the_worst()

    def _keep_the_worst(self) -> None:
        self._kept.sort(key=lambda scored: worst_first(scored.row))
        del self._kept[self._pictures :]

    def html(self, evaluation: Evaluation, progress: Callable[[int], None] = lambda done: None) -> str:
        """The report.

        Args:
            evaluation: the scored set, every page of which was added.
            progress: called with the number of pages drawn so far.

        Raises:
            MissingDependencyError: Jinja2 or matplotlib is not installed.
        """
        try:
            from jinja2 import Environment, StrictUndefined
        except ImportError as error:
            raise MissingDependencyError("jinja2", "plot", "Writing a report of an evaluation") from error
        self._keep_the_worst()
        pages = []
        for scored in self._kept:
            pages.append(self._page(scored))
            progress(len(pages))
        rows = sorted(evaluation.rows, key=worst_first)
        summary = evaluation.clinical
        within = math.nan if summary is None else 100 * summary.heart_rate_within_1
        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        source = (resources.files("cardioscan_client") / "templates" / "evaluation_report.html").read_text("utf-8")
        return environment.from_string(source).render(
            version=__version__,
            figures=set_figures(evaluation.score),
            leads=[
                (lead, number(r, 4), number(evaluation.score.lead_rmse_mv[lead], 4))
                for lead, r in evaluation.score.lead_r.items()
            ],
            clinical=None if summary is None else {"rows": clinical_rows(summary), "within": number(within, 1)},
            rows=[self._line(row) for row in rows],
            n_pictures=len(pages),
            pages=pages,
            unmatched=[printable(name) for name in evaluation.unmatched],
        )

    def _line(self, row: PageRow) -> dict[str, Any]:
        """One row of the table of pages."""
        read = row.score.digitized
        return {
            "truth": printable(row.truth),
            "page": "" if row.prediction is None else printable(row.prediction),
            "refused": not read,
            "snr": f"{row.score.snr_db:.2f}" if read else "",
            "r": number(row.score.mean_r, 4) if read else "",
            "rmse": number(row.score.mean_rmse_mv, 4) if read else "",
            "reasons": [] if read else self._reasons(row),
        }

    def _page(self, scored: _ScoredPage) -> dict[str, Any]:
        """What is shown of one page."""
        row = scored.row
        notes = {lead: _decibels(score.snr_db) for lead, score in row.score.leads.items()}
        worst = min(row.score.leads.items(), key=lambda item: (math.isnan(item[1].snr_db), item[1].snr_db))
        shown = np.full_like(scored.truth, np.nan) if scored.predicted is None else scored.predicted
        note = f"lowest is {worst[0]} with {_decibels(worst[1].snr_db)}" if row.score.digitized else "nothing was read"
        return {
            **self._line(row),
            "overlay": None if row.prediction is None else overlay_uri(self._directory, row.prediction),
            "plot": plot_uri(as_scored(shown, scored.truth, row.score), scored.truth, notes),
            "alt": f"Twelve leads, the digitized signals over their truth; {note}",
            "leads": [
                (lead, notes[lead], number(score.r, 4), number(score.rmse_mv, 4), number(1000 * score.lag_s, 0))
                for lead, score in row.score.leads.items()
            ],
            "clinical": [] if row.clinical is None else _page_clinical(row.clinical),
        }

    def _reasons(self, row: PageRow) -> list[tuple[str, str]]:
        """Code and sentence of every reason why a page has no signals."""
        if row.prediction is None:
            return [("missing", "no page belongs to this truth")]
        path = self._directory / f"{row.prediction}.json"
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        if not isinstance(content, Mapping) or content.get("outcome") != "refused":
            return [("nothing_read", "no sample was read where the truth has one")]
        reasons = [reason for reason in content.get("reasons", ()) if isinstance(reason, Mapping)]
        return [(printable(str(reason.get("code"))), printable(str(reason.get("detail")))) for reason in reasons]


def worst_first(row: PageRow) -> tuple[float, str, str]:
    """What pages are sorted by: the ratio, then names, so that the order of equals does not depend on chance."""
    return row.score.ratio, row.truth, row.prediction or ""


def as_scored(predicted: NDArray[np.float64], truth: NDArray[np.float64], score: PageScore) -> NDArray[np.float64]:
    """The prediction as the measure sees it: each lead moved by its lag, less its mean offset. (12, N) mV, NaN."""
    moved = np.full_like(truth, np.nan)
    for row, lead in enumerate(LEADS):
        lag = score.leads[lead].lag_s
        if math.isnan(lag):
            continue
        shift = -round(lag * SAMPLING_RATE_HZ)
        source = np.arange(truth.shape[1]) - shift
        inside = (source >= 0) & (source < truth.shape[1])
        moved[row, inside] = predicted[row, source[inside]]
        both = np.isfinite(moved[row]) & np.isfinite(truth[row])
        if both.any():
            moved[row] -= (moved[row, both] - truth[row, both]).mean()
    return moved


def plot_uri(predicted: NDArray[np.float64], truth: NDArray[np.float64], notes: Mapping[str, str]) -> str:
    """A data URI of ``plot_comparison``: a PNG of few colours, 100 kB where SVG takes 300 to 600."""
    drawn, picture = io.BytesIO(), io.BytesIO()
    plot_comparison(predicted, truth, _LAYOUT, _SCALE, notes).savefig(
        drawn, format="png", dpi=_PLOT_DPI, pil_kwargs={"compress_level": 0}
    )
    few = Image.open(drawn).convert("RGB").quantize(_PLOT_COLOURS, Image.Quantize.MAXCOVERAGE)
    few.save(picture, "PNG")
    return _uri("image/png", picture.getvalue())


def overlay_uri(directory: Path, name: str) -> str | None:
    """A data URI of a page's overlay, scaled down to 1600 px; None where there is none or it cannot be read."""
    path = directory / f"{name}.overlay.png"
    if not path.is_file():
        return None
    picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        return None
    scale = _OVERLAY_SIDE / max(picture.shape[:2])
    if scale < 1:
        size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _OVERLAY_QUALITY])[1]
    return _uri("image/jpeg", encoded.tobytes())


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _decibels(value: float) -> str:
    if math.isnan(value):
        return "not printed"
    return "not read" if value == -math.inf else f"{value:.1f} dB"


def _page_clinical(comparison: ClinicalComparison) -> list[tuple[str, str, str, str]]:
    """Name, unit, digitized and true value of every measure of a page that has one value."""
    rows = []
    for key, (name, unit, digits) in CLINICAL.items():
        if key != "st_mv":
            true = float(comparison.truth.values(key)[0])
            read = math.nan if comparison.predicted is None else float(comparison.predicted.values(key)[0])
            rows.append((name, unit, number(read, digits), number(true, digits)))
    return rows
