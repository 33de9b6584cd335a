"""Timing by the bars between leads.

The lattice says where the printed grid lies, and from it follows the time of every column. Around the bars that
separate the leads this can be checked: they are drawn with the trace, at known places. Where they stand beside these,
the trace next to them mostly does too, by about half as much, and it is read that much to the side. On clean prints the
bars stand within 0.03 px; on photographs a bar is off by 0.2 px (rms), which is half a sample.

The share and the reach were taken from the development photographs, which gain by any share from 0.3 to 1 and any reach
from 30 to 90 px; rendered pages, whose ink and grid register, neither gain nor lose
(docs/notes/2026-11-26-separators.md). They say what a bar's error has in common with its surroundings, as in kriging.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cardioscan.arrays import Floats, Image
from cardioscan.imaging.channels import channel_range
from cardioscan.page.read_page import ReadPage

SHARE: Final = 0.6
"""What a bar's displacement says about the trace next to it."""
REACH_PX: Final = 70.0
"""Standard deviation of the bell by which that falls off to both sides."""

_WINDOW_PX: Final = 14
_RIM_PX: Final = 3.0
_WIDTHS_PX: Final = (2, 9)
_BLUR_MARGIN_PX: Final = 2
_MIN_CONTRAST: Final = 40.0
_MIN_SCAN_LINES: Final = 8
_AGREEMENT_PX: Final = 0.35
_MAX_DISPLACEMENT_PX: Final = 1.0


def measure_bars(pixels: Image, page: ReadPage) -> Floats:
    """How far the bars between leads stand beside their printed places.

    Args:
        pixels: (height, width, 3) uint8, the flat page.
        page: what is printed where.

    Returns:
        (n,) float64 px, one for each of ``page.bars.x``, positive to the right: the median over the rows. NaN where
        fewer than two rows show a clear bar, where they contradict each other, or where it would be so far off that it
        is something else; none where the page has no bars.
    """
    if page.bars is None:
        return np.empty(0)
    result = np.full(len(page.bars.x), np.nan)
    for place, bound in enumerate(page.bars.x):
        rows = [segment.row for segment in page.segments if abs(segment.x_start - bound) < 1]
        x = bound + page.bars.offset_px
        left = max(round(x) - _WINDOW_PX, 0)
        window = np.ascontiguousarray(pixels[:, left : round(x) + _WINDOW_PX + 1])
        bright = channel_range(window)[1]  # a coloured grid is bright in one channel, a bar in none
        seen = np.array([_bar(bright, x - left, page.zero_y[row], page.bars.half_height_px) for row in rows])
        seen = seen[np.isfinite(seen)]
        if seen.size < 2:
            continue
        middle = float(np.median(seen))
        if np.sum(np.abs(seen - middle) < _AGREEMENT_PX) >= 2 and abs(middle) < _MAX_DISPLACEMENT_PX:
            result[place] = middle
    return result


def time_shift(displacement: Floats, page: ReadPage) -> Floats:
    """By how much the trace stands to the right of its nominal place, in each column.

    Args:
        displacement: from :func:`measure_bars`.
        page: what is printed where.

    Returns:
        (width,) float64 px; 0 far from the bars and around those that are not known.
    """
    bounds = () if page.bars is None else page.bars.x
    distance = np.arange(page.sheet.width) - np.array(bounds, np.float64)[:, None]
    bell = np.exp(-0.5 * (distance / REACH_PX) ** 2)
    return np.asarray(SHARE * np.nan_to_num(displacement) @ bell, np.float64)


def _bar(bright: NDArray[np.uint8], x: float, zero: float, half_height: float) -> float:
    """Displacement of one bar: the median over its scan lines of where the ink's centre of mass is; NaN if unclear."""
    half = int(half_height - _RIM_PX)
    left, top = round(x) - _WINDOW_PX, round(zero) - half
    window = bright[max(top, 0) : top + 2 * half, max(left, 0) : left + 2 * _WINDOW_PX + 1].astype(np.float64)
    if window.shape != (2 * half, 2 * _WINDOW_PX + 1):
        return float("nan")
    darkness = np.clip(np.percentile(window, 75, axis=1, keepdims=True) - window, 0, None)
    if darkness.max() < _MIN_CONTRAST:
        return float("nan")
    ink = darkness > darkness.max() / 2
    size = ink.shape[1]
    x_of = np.arange(size)
    begin, end = ink.argmax(axis=1), size - ink[:, ::-1].argmax(axis=1)
    # Where the trace runs into the bar there is more ink, or other ink beside it.
    alone = ink.sum(axis=1) == end - begin
    thin = (end - begin >= _WIDTHS_PX[0]) & (end - begin <= _WIDTHS_PX[1])
    begin, end = begin - _BLUR_MARGIN_PX, end + _BLUR_MARGIN_PX
    clear = alone & thin & (begin >= 0) & (end <= size)
    if clear.sum() < _MIN_SCAN_LINES:
        return float("nan")
    weight = np.where((x_of >= begin[:, None]) & (x_of < end[:, None]), darkness, 0.0)[clear]
    return float(np.median(weight @ x_of / weight.sum(axis=1))) + left - x
