"""One path per printed row through its coverage map: which ink is the trace.

A Viterbi search whose states are heights. A column costs the negative logarithm of the coverage where the path leaves
it; moving up or down inside a column costs the blank paper that is crossed, and next to nothing through ink, so a QRS
may climb hundreds of pixels in one column while a jump to a blob beside the trace is dear. As the cost of a move is a
difference of a cumulative sum, the best predecessor of every height comes from two running minima: a column is O(H).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_INK_MOVE_SHARE = 0.05  # cost of a px of ink, relative to a px of blank paper
_VERTICAL_STEP = 2  # the path is sought at half the vertical resolution: it only names the stroke


def trace_paths(
    bands: NDArray[np.uint8],
    free: NDArray[np.bool_],
    jump_cost: float = 0.1,
    blank_probability: float = 0.1,
) -> NDArray[np.float64]:
    """Where each row's trace leaves each column.

    Args:
        bands: (R, H, W) uint8 coverage of R rows; 255 is certain.
        free: (R, W), columns in which the row's path may jump for (almost) nothing: a new lead begins there.
        jump_cost: cost per px of blank paper crossed.
        blank_probability: added to the coverage before the logarithm.

    Returns:
        (R, W) float64, heights in px of the bands.
    """
    even = bands.shape[1] // _VERTICAL_STEP * _VERTICAL_STEP
    ink = bands[:, :even].reshape(bands.shape[0], -1, _VERTICAL_STEP, bands.shape[2]).mean(axis=2, dtype=np.float32)
    ink = np.ascontiguousarray(ink.transpose(2, 0, 1)) / np.float32(255)
    width, rows, height = ink.shape

    emission = -np.log((ink + np.float32(blank_probability)) / np.float32(1 + blank_probability))
    price = np.float32(jump_cost * _VERTICAL_STEP) * (1 - (1 - _INK_MOVE_SHARE) * ink)
    price[free.T] *= np.float32(0.01)
    climb = np.cumsum(price, axis=2, dtype=np.float32)

    best = np.empty_like(ink)
    best[0] = emission[0]
    for x in range(1, width):
        up_to, before = climb[x], best[x - 1]
        from_above = np.minimum.accumulate(before - up_to, axis=1) + up_to
        from_below = np.minimum.accumulate((before + up_to)[:, ::-1], axis=1)[:, ::-1] - up_to
        total = np.minimum(from_above, from_below) + emission[x]
        # Costs only matter relative to each other; subtracting the least keeps float32 exact on long pages.
        best[x] = total - total.min(axis=1, keepdims=True)

    path = np.empty((width, rows), np.int64)
    every = np.arange(rows)
    here = best[-1].argmin(axis=1)
    path[-1] = here
    for x in range(width - 1, 0, -1):
        up_to = climb[x]
        here = (best[x - 1] + np.abs(up_to - up_to[every, here][:, None])).argmin(axis=1)
        path[x - 1] = here
    heights: NDArray[np.float64] = path.T * float(_VERTICAL_STEP) + (_VERTICAL_STEP - 1) / 2
    return heights
