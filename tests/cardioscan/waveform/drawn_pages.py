"""Small pages and true coverage of what is drawn on them, for the tests of the decoder."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cardioscan.page.layout import Cell, Layout
from cardioscan.page.leads import LEAD_INDEX
from cardioscan.page.read_page import Bars, ReadPage, Segment
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.page.scale import Scale
from cardioscan.page.sheet import Sheet
from cardioscan.synthesis.simulator import SimulatedSignals
from cardioscan.synthesis.strokes import stroke_coverage, trace_polyline

Coverage = NDArray[np.uint8]
Signals = NDArray[np.float64]

USUAL = Scale(25.0, 10.0)
LEFT = 20.0


def page_of(
    layout: Layout,
    zero_y: tuple[float, ...],
    size: tuple[int, int],
    scale: Scale = USUAL,
    bars: Bars | None = None,
    pulse_x: tuple[float, float] | None = None,
) -> ReadPage:
    """A page (width, height) px whose rows begin at ``LEFT``, with each cell as long as its seconds."""
    width, height = size
    sheet = Sheet(width, height, 1 + int(width / 39.37), 1 + int(height / 39.37), x0=0.0, y0=7.0)
    starts = {}
    for row in range(layout.n_rows):
        x = LEFT
        for cell in layout.row(row):
            starts[cell] = x
            x += cell.seconds * scale.px_per_s
    segments = tuple(Segment(c, starts[c], starts[c] + c.seconds * scale.px_per_s) for c in layout.cells)
    return ReadPage(sheet, layout, scale, zero_y, segments, bars=bars, pulse_x=pulse_x)


def _small() -> ReadPage:
    cells = (Cell("I", 0, 0, 0.0, 1.0), Cell("V1", 0, 1, 1.0, 1.0), Cell("II", 1, 0, 0.0, 2.0))
    page = page_of(Layout("small", cells), (130.0, 300.0), (460, 420))
    bound = page.segments[1].x_start
    return replace(page, bars=Bars((bound,), -0.5, 27.0))


SMALL = _small()
"""A page of two rows: one second of I, one of V1, and two of II underneath."""

TWO_ROWS = page_of(
    Layout("two rows", (Cell("V1", 0, 0, 0.0, 2.0), Cell("II", 1, 0, 0.0, 2.0))), (130.0, 300.0), (434, 620)
)
V1, II = LEAD_INDEX["V1"], LEAD_INDEX["II"]
TIME = np.arange(1001)


def drawn(signals: NDArray[np.floating], pen: float, page: ReadPage = REFERENCE_PAGE) -> tuple[Coverage, Signals]:
    """True coverage of the rows of a page, and the signals printed on it."""
    rows: list[list[NDArray[np.float64]]] = [[] for _ in range(page.n_rows)]
    printed = np.full(signals.shape, np.nan)
    for segment in page.segments:
        start, stop = page.samples(segment)
        lead = LEAD_INDEX[segment.lead]
        samples = segment.cell.sign * signals[lead, start : stop + 1]
        zero, scale = page.zero_y[segment.row], page.scale
        rows[segment.row].append(trace_polyline(samples, segment.x_start, zero, scale.px_per_sample, scale.px_per_mv))
        printed[lead, start:stop] = signals[lead, start:stop]
    maps = [stroke_coverage(polylines, pen, page.sheet.width, page.sheet.height) for polylines in rows]
    return np.stack(maps), printed


@lru_cache(maxsize=8)
def simulated(index: int, pen: float = 2.5) -> tuple[Coverage, Signals]:
    """Coverage (read-only) and printed signals of a simulated record on the reference page."""
    coverage, printed = drawn(SimulatedSignals(40, seed=7).record(index), pen)
    coverage.flags.writeable = False
    return coverage, printed


def constant_levels(levels: dict[str, float]) -> NDArray[np.float32]:
    """(12, 5000) mV: leads at constant levels, the others at 0."""
    signals = np.zeros((12, 5000), np.float32)
    for lead, level in levels.items():
        signals[LEAD_INDEX[lead]] = level
    return signals


def wave(centre: float, width: float, height: float) -> Signals:
    """One bell of a height in mV, centre and width in samples: (1001,)."""
    return height * np.exp(-0.5 * ((centre - TIME) / width) ** 2)


def two_rows(upper: Signals, lower: Signals) -> Coverage:
    """True coverage of V1 above II on ``TWO_ROWS``."""
    signals = np.zeros((12, 5000))
    signals[V1, : TIME.size], signals[II, : TIME.size] = upper, lower
    return drawn(signals, 3.0, TWO_ROWS)[0]


def by_place(coverage: Coverage) -> Coverage:
    """As the network gives it: ink of either row belongs to the row in whose half of the page it lies."""
    ink = coverage.max(axis=0)
    upper = np.clip((215 - np.arange(TWO_ROWS.sheet.height)) / 10 + 0.5, 0, 1)[:, None]
    return np.stack([ink * upper, ink * (1 - upper)]).astype(np.uint8)


def worst_mv(read: Signals, truth: Signals, where: slice = slice(0, 1000)) -> float:
    """Largest error about its median."""
    error = read[:1000][where] - truth[:1000][where]
    return float(np.nanmax(np.abs(error - np.nanmedian(error))))


def error_mv(signals: Signals, truth: Signals) -> float:
    """Root mean square difference where both are there."""
    return float(np.sqrt(np.nanmean((signals - truth) ** 2)))
