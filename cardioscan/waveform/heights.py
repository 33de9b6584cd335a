"""From the stroke of a row to the heights of its samples, and how clear each is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import uniform_filter1d

from cardioscan.arrays import Floats, Mask
from cardioscan.page.read_page import ReadPage
from cardioscan.waveform.fit import OUTLIER, Curves, fit_samples, hold_under_bars, hold_under_pulse, under_bars
from cardioscan.waveform.pen import Stroke, undo_pen
from cardioscan.waveform.strokes import MAX_GAP_S, RowStroke

__all__ = ["read_heights"]

_END_TOLERANCE_PX = 2.0  # samples this far outside the first and last readable column are still read
_SMOOTHING_COLUMNS = 5  # ink is judged over this many columns
_HARMLESS_RIVAL = 0.3  # coverage of other ink in the column that says nothing against the trace
_DISC_SCALE_PX = 20.0  # disagreement of the two discs that takes a quarter of the clarity
_BRIDGED_FACTOR = 0.5  # factor on the clarity of bridged samples


def read_heights(row: RowStroke, radius: float, page: ReadPage, places: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Fit the samples of a row.

    Args:
        row: its stroke.
        radius: of the pen, px.
        page: bars and pulses, where the ink may be hidden, and the paper speed.
        places: x of the samples of each of the row's segments, px.

    Returns:
        Heights (n,) px of the page, NaN where unread, and clarity (n,) of the samples, segment after segment.
    """
    counts = [len(place) for place in places]
    bar_offset = 0.0 if page.bars is None else page.bars.offset_px
    begins = np.array([place[0] for place in places[1:]])
    hidden = np.zeros(begins.size, bool)
    if page.bars is not None:
        hidden = under_bars(row.stroke.ink, row.columns, begins, bar_offset)
    curves = Curves(np.concatenate(places), np.cumsum([0, *counts[:-1]]), hidden)
    fine_x, fine_y, torn = undo_pen(row.stroke, radius)
    y = np.interp(curves.x, row.columns[0] + fine_x, fine_y)
    y, miss = fit_samples(row.stroke, row.columns, curves, y, radius)
    y, held = hold_under_bars(y, curves, bar_offset)
    if page.pulse_x is not None:
        y, pulse_held = hold_under_pulse(y, curves, row.stroke.ink, row.columns, page.pulse_x[1])
        held |= pulse_held

    clear = _column_clarity(row.stroke, miss, torn)
    heights, clarity = np.full(y.size, np.nan), np.zeros(y.size)
    owner = curves.owner(row.columns)
    for curve, (begin, end) in enumerate(zip(curves.first, curves.last + 1, strict=True)):
        seen = np.flatnonzero(row.readable & (owner == curve))
        if seen.size < 2:
            continue
        part, there = slice(begin, end), row.columns[seen]
        read, bridged = _read_from(curves.x[part], there, MAX_GAP_S * page.scale.px_per_s)
        heights[part] = np.where(read, y[part] + row.top, np.nan)
        level = np.interp(curves.x[part], there, clear[seen]) * np.where(bridged | held[part], _BRIDGED_FACTOR, 1.0)
        clarity[part] = np.where(read, np.clip(level, 1e-3, 1), 0)
    return heights, clarity


def _read_from(x: Floats, seen: Floats, gap_px: float) -> tuple[Mask, Mask]:
    """Which samples at ``x`` can be read from the columns ``seen``, and which of these only by bridging a gap."""
    right = np.searchsorted(seen, x)
    inner = (right > 0) & (right < seen.size)
    gap = np.where(inner, seen[np.minimum(right, seen.size - 1)] - seen[np.maximum(right - 1, 0)] - 1, 0)
    near = (x > seen[0] - _END_TOLERANCE_PX) & (x < seen[-1] + _END_TOLERANCE_PX)
    return near & (gap <= gap_px), near & (gap > 0.5) & (gap <= gap_px)


def _column_clarity(stroke: Stroke, miss: Floats, torn: Floats) -> Floats:
    """(W,) in [0, 1]; every kind of trouble takes its share.

    Faint ink, edges that no drawn signal explains, a bend narrower than the pen, and other ink in the same column.
    """
    ink = np.minimum(stroke.ink, uniform_filter1d(stroke.ink, _SMOOTHING_COLUMNS))
    fits = 1 / (1 + (np.nan_to_num(miss) / OUTLIER) ** 2)
    bends = 1 - 0.5 * torn / (torn + _DISC_SCALE_PX)
    alone = 1 - 0.5 * np.clip(stroke.rival - _HARMLESS_RIVAL, 0, 1) / (1 - _HARMLESS_RIVAL)
    clear: Floats = np.clip(ink * fits * bends * alone, 0, 1)
    return clear
