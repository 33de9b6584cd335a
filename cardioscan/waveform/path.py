"""One path per printed row through its coverage map: which ink is the trace.

A Viterbi search whose states are heights. A column costs the negative logarithm of the coverage where the path leaves
it; moving up or down inside a column costs the blank paper that is crossed, so that a jump to a blob beside the trace
is dear, while running through ink gains a little: of two ways, the one that explains more of the row's ink is taken,
and a letter inside an S wave is no short cut past the wave's tip. As the cost of a move is a difference of a cumulative
sum, the best predecessor of every height comes from two running minima: a column is O(H).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LENT_WORTH = (0.7, 0.05)
"""What other rows' ink counts in a column relative to the row's own, and what running through a px of it gains, as a
share of ``jump_cost``: less than a px of its own, or a row would climb along its neighbours' strokes."""
_RESET_COLUMNS = 16
VERTICAL_STEP = 2  # the path is sought at half the vertical resolution: it only names the stroke


def trace_paths(
    bands: NDArray[np.uint8],
    free: NDArray[np.bool_],
    jump_cost: float = 0.1,
    blank_probability: float = 0.1,
    ink_gain: float = 0.1,
    lent: NDArray[np.uint8] | None = None,
    crossable: NDArray[np.uint8] | None = None,
    lent_worth: tuple[float, float] = LENT_WORTH,
) -> NDArray[np.float64]:
    """Where each row's trace leaves each column.

    Args:
        bands: (R, H, W) uint8 coverage of R rows; 255 is certain.
        free: (R, W), columns in which the row's path may jump for (almost) nothing: a new lead begins there.
        jump_cost: cost per px of blank paper crossed.
        blank_probability: added to the coverage before the logarithm.
        ink_gain: what a px of the row's own ink run through gains, as a share of ``jump_cost``.
        lent: (R, H, W) uint8, ink of other rows that the path may run through as well (see
            ``cardioscan.waveform.crossing``); None = none.
        crossable: (R, H, W) uint8, ink that the path may cross as if it were its own, and in which moving up or down
            costs what blank paper costs; None = none.
        lent_worth: what lent ink counts in a column relative to the row's own, and what running through a px of it
            gains, as a share of ``jump_cost``.

    Returns:
        (R, W) float64, heights in px of the bands.
    """
    ink = _columns(bands)
    width, rows, height = ink.shape

    price = 1 - np.float32(1 + ink_gain) * ink
    if lent is not None:
        foreign = _columns(lent)
        price = np.minimum(price, 1 - np.float32(1 + lent_worth[1]) * foreign)
        ink = np.maximum(ink, np.float32(lent_worth[0]) * foreign)
    price *= np.float32(jump_cost * VERTICAL_STEP)
    emission = _emission(ink, crossable, blank_probability)
    price[free.T] *= np.float32(0.01)
    climb = np.cumsum(price, axis=2, dtype=np.float32)

    best = _cheapest(emission, climb)
    path = np.empty((width, rows), np.int64)
    every = np.arange(rows)
    # +1 above a height, where climbing to it adds up upwards, and -1 from it on.
    sign = np.where(np.arange(height) > np.arange(height)[:, None], np.float32(1), np.float32(-1))
    here = best[-1].argmin(axis=1)
    path[-1] = here
    for x in range(width - 1, 0, -1):
        up_to = climb[x]
        way = up_to - up_to[every, here][:, None]
        way *= sign[here]
        way += best[x - 1]
        here = way.argmin(axis=1)
        path[x - 1] = here
    heights: NDArray[np.float64] = path.T * float(VERTICAL_STEP) + (VERTICAL_STEP - 1) / 2
    return heights


def _cheapest(emission: NDArray[np.float32], climb: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cost (W, R, H) of the cheapest path to where it leaves each column, up to a constant for each column and row.

    Args:
        emission: (W, R, H) cost of leaving a column at each height.
        climb: (W, R, H) cost of moving in a column from the top to each height.
    """
    width, rows, height = emission.shape
    best = np.empty_like(emission)
    best[0] = emission[0]
    # Predecessors above and below are one running minimum: those below are looked at upside down, in rows of their own.
    from_above, from_below = slice(None, rows), slice(rows, None)
    both = np.empty((2 * rows, height), np.float32)
    up_to = np.concatenate([climb, -climb[..., ::-1]], axis=1)
    for x in range(1, width):
        both[from_above] = best[x - 1]
        both[from_below] = best[x - 1][:, ::-1]
        both -= up_to[x]
        np.minimum.accumulate(both, axis=1, out=both)
        both += up_to[x]
        here = best[x]
        np.minimum(both[from_above], both[from_below][:, ::-1], out=here)
        here += emission[x]
        if x % _RESET_COLUMNS == 0:
            # Costs only matter relative to each other; subtracting the least keeps float32 exact on long pages.
            here -= here.min(axis=1, keepdims=True)
    return best


def path_cost(
    bands: NDArray[np.uint8],
    free: NDArray[np.bool_],
    paths: NDArray[np.float64],
    jump_cost: float,
    blank_probability: float,
    crossable: NDArray[np.uint8] | None = None,
) -> NDArray[np.float64]:
    """What paths (R, W), as ``trace_paths`` gives them, cost without any gain for ink; its other arguments. (R,)."""
    ink = _columns(bands)
    width, rows, _ = ink.shape
    here = ((paths.T - (VERTICAL_STEP - 1) / 2) / VERTICAL_STEP).astype(np.int64)
    column, row = np.indices((width, rows))
    entered = np.where(free.T, here, np.concatenate([here[:1], here[:-1]]))
    climb = np.cumsum(1 - ink, axis=2, dtype=np.float64)
    climbed = np.abs(climb[column, row, here] - climb[column, row, entered]) * (jump_cost * VERTICAL_STEP)
    left = _emission(ink, crossable, blank_probability)[column, row, here]
    return np.asarray((climbed + left).sum(axis=0), np.float64)


def _emission(
    ink: NDArray[np.float32], crossable: NDArray[np.uint8] | None, blank_probability: float
) -> NDArray[np.float32]:
    """Cost of leaving a column at each height, (W, R, H / VERTICAL_STEP)."""
    if crossable is not None:
        ink = np.maximum(ink, _columns(crossable))
    return -np.log((ink + np.float32(blank_probability)) / np.float32(1 + blank_probability))


def _columns(bands: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(R, H, W) uint8 to (W, R, H / VERTICAL_STEP) float32 in 0..1."""
    step = VERTICAL_STEP
    whole = bands.shape[1] // step * step
    summed = bands[:, :whole:step].astype(np.uint16)
    for place in range(1, step):
        summed += bands[:, place:whole:step]
    return np.multiply(summed.transpose(2, 0, 1), np.float32(1 / (255 * step)), dtype=np.float32, order="C")
