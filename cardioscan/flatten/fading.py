"""Fading the printed 5 mm lines of a flat page before the trace is looked for.

The extractor places steep strokes by their edges, and a line that runs beside a stroke has edges too: on
black-and-white scans it takes the line's edge for the stroke's, and coloured lines draw it a little as well. Once the
lattice is settled every line's place is known, so what a line takes from the paper's brightness can be measured along
it and given back in part. The trace stays as dark as the line has left it: on a coloured grid it is seen whole, and on
a black-and-white scan, where line and trace are one black, only what lies within the line's width fades.

What a line takes is a median along hundreds of pixels, so short strokes do not enter it. Where a long one runs along a
line (a deep S wave, a level baseline), the page's other lines tell what a line can take.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cardioscan.arrays import FloatMap, Floats, Image
from cardioscan.page.sheet import Sheet

__all__ = ["fade_lines"]


_LINE_HALF_WIDTH_PX: Final = 2
"""A line, blurred as in a photograph, is so many pixels wide to either side of its middle."""
_PAPER_DISTANCE_PX: Final = 4
"""The paper is looked at so far to either side: halfway to the next thin line."""
_WINDOW_PX: Final = 394
"""Ten squares: the window along a line whose median counts."""
_SAMPLE_STEP_PX: Final = 5
"""So many pixels along a line are one reading of its median, for neighbours say much the same."""
_MAX_RELATIVE_DEFICIT: Final = 1.5
"""A line takes at most so many times what the page's lines take there (median)."""


def fade_lines(
    page: Image,
    vertical: float,
    horizontal: float,
    sheet: Sheet,
    origin: tuple[int, int] = (0, 0),
) -> Image:
    """The page with its 5 mm lines faded.

    Args:
        page: (h, w, 3) uint8, a flat page in the reference frame or a part of it.
        vertical: share of their darkness that the vertical lines lose, 0 to 1.
        horizontal: likewise for the horizontal ones.
        sheet: the printed page.
        origin: (x, y) px of the part's first pixel in the reference frame.

    Returns:
        (h, w, 3) uint8, a new array: nowhere darker than ``page``, and equal to it farther than 2.5 px from the lines.
    """
    lines = sheet.lattice() - origin
    # Both are enlarged linearly, from the middle of one window to that of the next.
    upright = _given_back(page, lines[0, :, 0], vertical)
    level = _given_back(page.transpose(1, 0, 2), lines[:, 0, 1], horizontal).transpose(1, 0, 2)
    given = cv2.resize(upright, (page.shape[1], page.shape[0]))
    rows = np.flatnonzero(level.any(axis=(1, 2)))
    if rows.size:
        given[rows] = np.maximum(given[rows], cv2.resize(level[rows], (page.shape[1], rows.size)))
    return np.asarray(cv2.add(page, given, dst=given), np.uint8)


def _given_back(page: Image, lines: Floats, share: float) -> Image:
    """What a share of the darkness of upright lines is, (windows, w, 3) uint8, 0 away from them.

    Args:
        page: (h, w, 3) uint8.
        lines: (n,) px, the lines' x; those too close to the page's sides for their paper to be seen are left out.
        share: 0 to 1.
    """
    places = np.round(lines).astype(int)
    places = places[(places >= _PAPER_DISTANCE_PX) & (places < page.shape[1] - _PAPER_DISTANCE_PX)]
    if share == 0 or not places.size:
        return np.zeros((1, page.shape[1], 3), np.uint8)
    deficit = _deficit(page, places)
    back = np.zeros((len(deficit), page.shape[1], 3), np.uint8)
    columns = (places[:, None] + np.arange(-_LINE_HALF_WIDTH_PX, _LINE_HALF_WIDTH_PX + 1)).ravel()
    back[:, columns] = (share * deficit + 0.5).astype(np.uint8).reshape(len(deficit), -1, 3)
    return back


def _deficit(page: Image, places: NDArray[np.int_]) -> FloatMap:
    """What upright lines take from the paper's brightness.

    Args:
        page: (h, w, 3) uint8.
        places: (n,) columns of the lines.

    Returns:
        (windows, n, 5, 3) float32, 0 or more, by the column's offset from its line, -2 to 2 px; windows divide the
        height evenly.
    """
    windows = max(1, round(page.shape[0] / _WINDOW_PX))
    bounds = np.linspace(0, page.shape[0], windows + 1).round().astype(int)
    offsets = np.array([-_PAPER_DISTANCE_PX, *range(-_LINE_HALF_WIDTH_PX, _LINE_HALF_WIDTH_PX + 1), _PAPER_DISTANCE_PX])
    columns = (places[:, None] + offsets).ravel()
    typical = np.empty((windows, len(places), len(offsets), 3), np.float32)
    for window, (first, last) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
        read = page[first:last:_SAMPLE_STEP_PX, columns].reshape(-1, typical[window].size)
        # NumPy sorts rows of 16 bits by vector instructions, in a seventh of the time that a partition of bytes takes.
        ordered = np.sort(np.ascontiguousarray(read.T, np.uint16), axis=1)
        typical[window] = ordered[:, len(read) // 2].reshape(typical.shape[1:])
    paper = np.maximum(typical[:, :, :1], typical[:, :, -1:])
    deficit = np.maximum(paper - typical[:, :, 1:-1], 0)
    return np.asarray(
        np.minimum(deficit, _MAX_RELATIVE_DEFICIT * np.median(deficit, axis=1, keepdims=True)), np.float32
    )
