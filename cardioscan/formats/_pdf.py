"""A report to print: one A4 sheet with the redrawn ECG at true scale (matplotlib's PDF backend, extra ``plot``)."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cardioscan.errors import MissingDependencyError
from cardioscan.formats._shared import DERIVATION_NOTE
from cardioscan.page.leads import LEADS, SAMPLING_RATE_HZ
from cardioscan.page.sheet import MM_PER_INCH
from cardioscan.plots import plot_record, sheet_of, sheet_size_mm

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cardioscan.record import EcgRecord

_WIDTH_MM, _HEIGHT_MM = 297.0, 210.0
_SHEET_TOP_MM: Final = 18.0
_TABLE_TOP_MM: Final = 156.0
_LEFT_MM: Final = 16.0
_LINE_MM: Final = 4.6
_COLUMNS: Final = 3
_COLUMN_MM: Final = 54.0
_MEASURES_MM: Final = 186.0
_NOT_MEASURED: Final = "not measured"
_DOUBTFUL: Final = 0.5


def encode_pdf(record: EcgRecord, stem: str) -> tuple[bytes]:
    """PDF 1.4, one A4 page across: the record as it was printed, gaps as gaps; smaller where it would not find room.

    Below the sheet: seconds and confidence of each lead (the doubtful ones marked), heart rate and, where neurokit2 is
    installed (extra ``clinical``), intervals; what was edited by hand; the networks. Drawn as lines and text, so it
    stays sharp at any size and can be searched.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_pdf import FigureCanvasPdf
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "plot", "Writing PDF") from error
    # Fonts as outlines that can be searched; no clock in the file, so the same record gives the same bytes.
    with rc_context({"pdf.fonttype": 42, "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(_WIDTH_MM / MM_PER_INCH, _HEIGHT_MM / MM_PER_INCH))
        FigureCanvasPdf(figure)
        paper = figure.add_axes((0, 0, 1, 1))
        paper.set(xlim=(0, _WIDTH_MM), ylim=(_HEIGHT_MM, 0))
        paper.set_axis_off()
        width, height, _ = _sheet_mm(record)
        bottom = _HEIGHT_MM - _SHEET_TOP_MM - height
        sheet = figure.add_axes(
            (_LEFT_MM / _WIDTH_MM, bottom / _HEIGHT_MM, width / _WIDTH_MM, height / _HEIGHT_MM), frameon=True
        )
        plot_record(record, sheet)
        paper.text(_LEFT_MM, 11, f"12-lead ECG   {record.name}", fontsize=12, weight="bold", va="center")
        _write_leads(paper, record)
        _write_measures(paper, record)
        _write_notes(paper, record)
        buffer = io.BytesIO()
        metadata: dict[str, Any] = {"Title": stem, "Creator": "CardioScan", "CreationDate": None}
        figure.savefig(buffer, format="pdf", metadata=metadata)
    return (buffer.getvalue(),)


def _sheet_mm(record: EcgRecord) -> tuple[float, float, float]:
    """Width and height of the sheet on the page, and the share of its true size at which it finds room there."""
    width, height = sheet_size_mm(*sheet_of(record))
    share = min(1.0, (_WIDTH_MM - 2 * _LEFT_MM) / width, (_TABLE_TOP_MM - _SHEET_TOP_MM - _LINE_MM) / height)
    return share * width, share * height, share


def _write_leads(paper: Axes, record: EcgRecord) -> None:
    """Seconds and confidence of each lead, in the order of ``LEADS``, downwards in columns."""
    confidence = record.lead_confidence()
    seconds = np.isfinite(record.signals).sum(axis=1) / SAMPLING_RATE_HZ
    paper.text(_LEFT_MM, _TABLE_TOP_MM, "Leads read", fontsize=8, weight="bold", va="center")
    per_column = len(LEADS) // _COLUMNS
    for place, lead in enumerate(LEADS):
        x = _LEFT_MM + _COLUMN_MM * (place // per_column)
        y = _TABLE_TOP_MM + _LINE_MM * (1 + place % per_column)
        read = float(seconds[place])
        text = f"{read:.2f} s   confidence {confidence[lead]:.2f}" if read else "not read"
        doubtful = read == 0 or confidence[lead] < _DOUBTFUL
        paper.text(x, y, lead, fontsize=8, weight="bold", va="center")
        paper.text(x + 10, y, text + ("  (!)" if doubtful else ""), fontsize=8, va="center")


def _write_measures(paper: Axes, record: EcgRecord) -> None:
    rate = record.heart_rate_bpm
    lines = [("Heart rate", _NOT_MEASURED if rate is None else f"{rate:.0f}/min"), *_intervals(record)]
    paper.text(_MEASURES_MM, _TABLE_TOP_MM, "Measured on lead II", fontsize=8, weight="bold", va="center")
    for place, (name, text) in enumerate(lines):
        y = _TABLE_TOP_MM + _LINE_MM * (1 + place)
        paper.text(_MEASURES_MM, y, name, fontsize=8, va="center")
        paper.text(_MEASURES_MM + 26, y, text, fontsize=8, va="center")


def _intervals(record: EcgRecord) -> list[tuple[str, str]]:
    from cardioscan.postprocess.clinical import measure_clinical

    names = {"PR": "pr_ms", "QRS": "qrs_ms", "QT": "qt_ms", "QTc (Bazett)": "qtc_bazett_ms"}
    try:
        measured = measure_clinical(record.signals).to_json_dict()
    except MissingDependencyError:
        return []
    return [
        (name, _NOT_MEASURED if measured[key] is None else f"{measured[key]:.0f} ms") for name, key in names.items()
    ]


def _write_notes(paper: Axes, record: EcgRecord) -> None:
    models = ", ".join(f"{model.name} {model.sha256[:8]}" for model in record.models)
    corrected = [str(edit.get("kind")) for edit in record.edits]
    scale, share = sheet_of(record)[1], _sheet_mm(record)[2]
    size = f"Print at {1 / share:.0%} for {scale.speed_mm_per_s:g} mm/s and {scale.gain_mm_per_mv:g} mm/mV."
    notes = [
        f"{DERIVATION_NOTE} {size.replace('%', ' %')}",
        f"(!) less than {_DOUBTFUL:.0%} likely to be right, or not read."
        + (f"   Corrected by hand: {', '.join(corrected)}." if corrected else ""),
        *([f"Networks: {models}"] if models else []),
        *(reason.detail for reason in record.reasons),
    ]
    for place, note in enumerate(notes):
        y = _TABLE_TOP_MM + 5 + _LINE_MM * (6 + place)
        paper.text(_LEFT_MM, y, note, fontsize=6.5, color="#444444", va="center")
