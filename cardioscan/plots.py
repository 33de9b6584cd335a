"""Pictures of results: the standard sheet (matplotlib, extra ``plot``) and traces over the page (OpenCV)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cardioscan.arrays import Floats
from cardioscan.backends.specs import NAME_PLACES
from cardioscan.errors import CardioscanError, MissingDependencyError
from cardioscan.page.catalogue import find_layout
from cardioscan.page.layout import Cell, Layout
from cardioscan.page.leads import LEAD_INDEX, RECORD_SAMPLES, SAMPLING_RATE_HZ
from cardioscan.page.scale import Scale
from cardioscan.page.sheet import MM_PER_INCH
from cardioscan.record import EcgRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cardioscan.record import Digitization

_ROW_MM: Final = 30.0  # paper height of one row, 3 mV
_LEFT_MM: Final = 12.0  # room for the calibration pulse
_PULSE_MM: Final = 5.0  # 0.2 s wide, as printers draw it
_PAPER: Final = "#fffaf8"
_FINE, _COARSE = "#f6d5d0", "#e8a49b"
_MV_SPACE: Final = 11.0  # mm from a row's zero up to its lead names
_TRUE, _READ = "#f0a030", "#0a3d91"  # far apart in hue and in lightness, so in grey and for colour-blind eyes too

_OVERLAY_ALPHA: Final = 0.75
_LABEL_NAMES: Final = {label.class_id: label.lead for label in NAME_PLACES.classes}

# Hues far from the grid's red and from ink, and far from one another for neighbours on the page.
_COLOURS: Final = (
    (0, 114, 255), (0, 158, 96), (148, 60, 220), (230, 110, 0), (0, 165, 190), (205, 20, 120), (110, 130, 0),
    (60, 70, 230), (0, 125, 60), (170, 80, 160), (190, 140, 0), (20, 100, 140), (120, 60, 30),
)  # fmt: skip


def sheet_size_mm(layout: Layout, scale: Scale) -> tuple[float, float]:
    """Width and height of the sheet that :func:`plot_record` draws, mm of paper."""
    return _LEFT_MM + scale.speed_mm_per_s * layout.width_s + 3.0, _ROW_MM * layout.n_rows + 10.0


def plot_record(record: EcgRecord, ax: Axes | None = None) -> Figure:
    """Draw a record as its own page: the rows, leads, speed and gain that it was read from, gaps as gaps.

    The axes are in mm of paper. Without ``ax`` a new figure is made (no pyplot, so no global state and no display
    needed) in which 1 mm of paper is 1 mm of figure, to be saved at any resolution.

    Args:
        record: what to draw; a refused record gives an empty sheet that states the reasons. A record that does not say
            its layout or scale is drawn with all leads one below the other, at 25 mm/s and 10 mm/mV.
        ax: matplotlib axes to draw into, at whatever scale they have (equal in both directions).

    Returns:
        The matplotlib figure.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    layout, scale = sheet_of(record)
    width, height = sheet_size_mm(layout, scale)
    axes = _true_scale_axes(width, height) if ax is None else ax
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal", xticks=[], yticks=[], facecolor=_PAPER)
    for step, colour, line_width in ((1.0, _FINE, 0.3), (5.0, _COARSE, 0.5)):
        axes.vlines(np.arange(0, width + 0.1, step), 0, height, color=colour, linewidth=line_width, zorder=0)
        axes.hlines(np.arange(0, height + 0.1, step), 0, width, color=colour, linewidth=line_width, zorder=0)

    zero = _zero_mm(layout)
    gain, speed = scale.gain_mm_per_mv, scale.speed_mm_per_s
    pulse = _LEFT_MM - 1.0 - _PULSE_MM
    for y in zero:
        axes.plot(
            [pulse - 2, pulse, pulse, pulse + _PULSE_MM, pulse + _PULSE_MM, _LEFT_MM],
            [y, y, y - gain, y - gain, y, y],
            color="black",
            linewidth=0.7,
        )
    for cell, shown, x in _shown(layout, speed):
        # A hole in the signal is NaN, and matplotlib draws nothing there.
        axes.plot(
            x,
            zero[cell.row] - gain * cell.sign * record.lead(cell.lead)[shown],
            color="black",
            linewidth=0.7,
            solid_joinstyle="round",
            gid=f"{cell.lead}-{cell.row}",
        )
        axes.text(x[0] + 1, zero[cell.row] - _MV_SPACE, cell.label, fontsize=8, weight="bold")
        if cell.column > 0:
            axes.vlines(x[0], zero[cell.row] - 3, zero[cell.row] + 3, color="black", linewidth=0.5)
    axes.text(2, 5, _headline(record), fontsize=8, va="center")
    axes.text(width - 2, 5, f"{speed:g} mm/s   {gain:g} mm/mV", fontsize=8, va="center", ha="right")
    figure: Figure = axes.get_figure(root=True)  # type: ignore[assignment]
    return figure


def plot_comparison(
    predicted: NDArray[np.floating],
    truth: NDArray[np.floating],
    layout: Layout,
    scale: Scale,
    notes: Mapping[str, str] | None = None,
) -> Figure:
    """Draw digitized signals over their truth, in the places of a layout and at its scale.

    The truth is a broad light line, the digitized signal a thin dark one on it. Nothing is moved: signals that are to
    be seen as :func:`cardioscan.evaluate.measure.compare` sees them have to be aligned before.

    Args:
        predicted, truth: (12, 5000) mV at 500 Hz, NaN where there is nothing; only what the layout prints is drawn.
        layout: which lead stands in which row, and when.
        scale: of the drawing.
        notes: words behind lead names.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    width, height = sheet_size_mm(layout, scale)
    axes = _true_scale_axes(width, height)
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal", xticks=[], yticks=[], facecolor="white")
    # A millimetre grid would be a thousand lines in every picture of a report.
    axes.vlines(np.arange(_LEFT_MM, width, 5.0), 0, height, color="#dddddd", linewidth=0.4, zorder=0)
    axes.hlines(np.arange(0, height, 5.0), 0, width, color="#dddddd", linewidth=0.4, zorder=0)
    zero = _zero_mm(layout)
    for cell, shown, x in _shown(layout, scale.speed_mm_per_s):
        for what, signals, colour, line_width in (("truth", truth, _TRUE, 2.2), ("digitized", predicted, _READ, 0.8)):
            y = zero[cell.row] - scale.gain_mm_per_mv * cell.sign * signals[LEAD_INDEX[cell.lead]][shown]
            axes.plot(x, y, color=colour, linewidth=line_width, gid=f"{what}-{cell.lead}-{cell.row}")
        note = (notes or {}).get(cell.lead, "")
        axes.text(
            x[0] + 1, zero[cell.row] - _MV_SPACE, f"{cell.label}   {note}".rstrip(), fontsize=8, zorder=3,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8},
        )  # fmt: skip
        if cell.column > 0:
            axes.vlines(x[0], zero[cell.row] - 3, zero[cell.row] + 3, color="black", linewidth=0.5)
    axes.text(2, 4, "truth", fontsize=8, va="center", color="#8a5200", weight="bold")
    axes.text(16, 4, "digitized", fontsize=8, va="center", color=_READ, weight="bold")
    squares = f"squares: {5 / scale.speed_mm_per_s:g} s, {5 / scale.gain_mm_per_mv:g} mV"
    axes.text(width - 2, 4, squares, fontsize=8, va="center", ha="right")
    figure: Figure = axes.get_figure(root=True)  # type: ignore[assignment]
    return figure


def sheet_of(record: EcgRecord) -> tuple[Layout, Scale]:
    """Layout and scale that a record is drawn in, see :func:`plot_record`."""
    known = record.calibration
    scale = Scale(25.0, 10.0) if known is None else Scale(known.speed_mm_per_s, known.gain_mm_per_mv)
    return record.layout or find_layout("12x1"), scale


def _zero_mm(layout: Layout) -> list[float]:
    """Height of 0 mV in each row of the sheet, mm from its top."""
    return [10.0 + _ROW_MM * (row + 0.5) for row in range(layout.n_rows)]


def _shown(layout: Layout, speed: float) -> Iterator[tuple[Cell, slice, Floats]]:
    """Every cell with its samples of the record and their x, mm; cells of a row stand side by side."""
    for cell in layout.cells:
        first = round(cell.t_start * SAMPLING_RATE_HZ)
        shown = slice(first, min(first + round(cell.seconds * SAMPLING_RATE_HZ), RECORD_SAMPLES))
        seconds = np.arange(shown.stop - shown.start) / SAMPLING_RATE_HZ
        yield cell, shown, _LEFT_MM + speed * (layout.left_s(cell) + seconds)


def _headline(record: EcgRecord) -> str:
    if record.reasons and np.isnan(record.signals).all():
        return f"{record.name}   refused: " + "; ".join(reason.detail or reason.code for reason in record.reasons)
    rate = "" if record.heart_rate_bpm is None else f"   {record.heart_rate_bpm:.0f}/min"
    return record.name + rate


def _true_scale_axes(width_mm: float, height_mm: float) -> Axes:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "plot", "Drawing a record") from error
    figure = Figure(figsize=(width_mm / MM_PER_INCH, height_mm / MM_PER_INCH))
    FigureCanvasAgg(figure)
    return figure.add_axes((0, 0, 1, 1), frameon=True)


def draw_overlay(
    image: NDArray[np.uint8],
    traces: Mapping[str, NDArray[np.floating]],
    labels: NDArray[np.floating] | None = None,
    lattice: NDArray[np.floating] | None = None,
) -> NDArray[np.uint8]:
    """Draw what was found over the page: traces in colours of their own, label marks, lattice dots.

    Args:
        image: (H, W, 3) uint8 RGB, the page; it is not changed.
        traces: name -> (N, 2) px (x, y) in ``image``; NaN lifts the pen.
        labels: (n, 3): class id, x, y px; NaN rows are left out.
        lattice: (..., 2) px (x, y) of grid nodes; NaN nodes are left out.

    Returns:
        (H, W, 3) uint8 RGB, a new array. Line widths and marks grow with the image.

    Raises:
        CardioscanError: the image is not (H, W, 3) uint8.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise CardioscanError(f"an overlay needs an RGB image (H, W, 3) of uint8, not {image.dtype} {image.shape}")
    unit = max(image.shape[:2]) / 1000
    drawn = np.ascontiguousarray(image).copy()
    if lattice is not None:
        for x, y in _finite_rows(np.asarray(lattice, np.float64).reshape(-1, 2)):
            _disc(drawn, x, y, max(1.0, 1.1 * unit), (0, 150, 150))
    for index, points in enumerate(traces.values()):
        for run in _runs(np.asarray(points, np.float64)):
            corners = np.round(_clipped(run) * 16).astype(np.int32).reshape(-1, 1, 2)
            colour = _COLOURS[index % len(_COLOURS)]
            cv2.polylines(drawn, [corners], False, colour, max(1, round(0.9 * unit)), cv2.LINE_AA, 4)
    if labels is not None:
        for class_id, x, y in _finite_rows(np.asarray(labels, np.float64).reshape(-1, 3)):
            _mark(drawn, x, y, _LABEL_NAMES.get(int(class_id), "?"), unit)
    blended = cv2.addWeighted(image, 1 - _OVERLAY_ALPHA, drawn, _OVERLAY_ALPHA, 0)
    return np.asarray(blended, np.uint8)


def overlay_of(digitization: Digitization) -> NDArray[np.uint8]:
    """The overlay of one digitization, on its page as it was read: (H, W, 3) uint8 RGB.

    Raises:
        CardioscanError: the page could not even be read, so there is nothing to draw on.
    """
    if digitization.image is None:
        raise CardioscanError(f"{digitization.record.name}: no picture was read, so there is nothing to draw over")
    return draw_overlay(digitization.image, digitization.traces, digitization.labels, digitization.lattice)


def _finite_rows(points: NDArray[np.float64]) -> list[list[float]]:
    rows: list[list[float]] = points[np.isfinite(points).all(axis=1)].tolist()
    return rows


def _runs(points: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    finite = np.isfinite(points).all(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], finite, [False]]).astype(np.int8)))
    return [points[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _clipped(points: NDArray[np.float64]) -> NDArray[np.float64]:
    # OpenCV's fixed-point coordinates overflow far outside the picture; nothing is seen out there anyway.
    return np.clip(points, -10_000, 60_000)


def _disc(image: NDArray[np.uint8], x: float, y: float, radius: float, colour: tuple[int, int, int]) -> None:
    cx, cy = np.round(_clipped(np.array([x, y])) * 16).astype(int).tolist()
    cv2.circle(image, (cx, cy), round(radius * 16), colour, -1, cv2.LINE_AA, 4)


def _mark(image: NDArray[np.uint8], x: float, y: float, name: str, unit: float) -> None:
    cx, cy = np.round(_clipped(np.array([x, y]))).astype(int).tolist()
    colour, arm = (220, 0, 0), max(3, round(6 * unit))
    cv2.drawMarker(image, (cx, cy), colour, cv2.MARKER_CROSS, 2 * arm, max(1, round(unit)), cv2.LINE_AA)
    place, scale, width = (cx + arm, cy - arm), max(0.35, 0.45 * unit), max(1, round(unit))
    cv2.putText(image, name, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, width, cv2.LINE_AA)
