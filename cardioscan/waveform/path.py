"""One path per printed row through its coverage map: which ink is the trace.

A Viterbi search whose states are heights. A column costs the negative logarithm of the coverage where the path leaves
it; moving up or down inside a column costs the blank paper that is crossed, so that a jump to a blob beside the trace
is dear, while running through ink gains a little: of two ways, the one that explains more of the row's ink is taken,
and a letter inside an S wave is no short cut past the wave's tip. As the cost of a move is a difference of a cumulative
sum, the best predecessor of every height comes from two running minima: a column is O(H). On the way back most columns
are left as they were entered, and only where something is gained by moving is it looked for where from.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

JUMP_COST = 0.1
"""Cost of one px of vertical move across blank paper."""
INK_GAIN = 0.1
"""What one px of vertical move through the row's own ink gains, as a share of ``JUMP_COST``."""
_BLANK_PROBABILITY = 0.1
"""Added to the coverage before its logarithm: what a column without ink costs."""
LENT_WORTH = (0.7, 0.05)
"""What other rows' ink counts in a column relative to the row's own, and what running through a px of it gains, as a
share of ``JUMP_COST``: less than a px of its own, or a row would climb along its neighbours' strokes."""
_RESET_COLUMNS = 16
VERTICAL_STEP = 2  # the path is sought at half the vertical resolution: it only names the stroke
FAINT = 8  # fainter ink draws no path
BEYOND_PX = 16  # paths are sought so far beyond the ink, more than edges and pens reach
_MIN_GAIN = 1e-3  # what is gained by less is rounding


def trace_paths(
    bands: NDArray[np.uint8],
    free: NDArray[np.bool_],
    lent: NDArray[np.uint8] | None = None,
    crossable: NDArray[np.uint8] | None = None,
    lent_worth: tuple[float, float] = LENT_WORTH,
    ink_gain: float = INK_GAIN,
) -> NDArray[np.float64]:
    """Where each row's trace leaves each column.

    Args:
        bands: (R, H, W) uint8 coverage of R rows; 255 is certain.
        free: (R, W), columns in which the row's path may jump for (almost) nothing: a new lead begins there.
        lent: (R, H, W) uint8, ink of other rows that the path may run through as well (see
            ``cardioscan.waveform.crossing``); None = none.
        crossable: (R, H, W) uint8, ink that the path may cross as if it were its own, and in which moving up or down
            costs what blank paper costs; None = none.
        lent_worth: what lent ink counts in a column relative to the row's own, and what running through a px of it
            gains, as a share of ``JUMP_COST``.
        ink_gain: what a px of the row's own ink run through gains, likewise.

    Returns:
        (R, W) float64, heights in px of the bands.
    """
    strips = _Strips.of(bands, lent, crossable)
    ink = strips.cells(bands)
    price = 1 - np.float32(1 + ink_gain) * ink
    if lent is not None:
        foreign = strips.cells(lent)
        price = np.minimum(price, 1 - np.float32(1 + lent_worth[1]) * foreign)
        ink = np.maximum(ink, np.float32(lent_worth[0]) * foreign)
    price *= np.float32(JUMP_COST * VERTICAL_STEP)
    if crossable is not None:
        ink = np.maximum(ink, strips.cells(crossable))
    emission = _emission(ink)
    for part, begins in zip(strips.parts, free, strict=True):
        price[part, begins] *= np.float32(0.01)
    # What no path gains by: so a running minimum over all strips never carries from one to the next.
    dearest = VERTICAL_STEP * JUMP_COST * max(1.0, ink_gain, lent_worth[1])  # for a step through blank paper or ink
    longest = max(part.stop - part.start for part in strips.parts)
    wall = 2 * (dearest * longest + _RESET_COLUMNS * float(emission.max()))
    price[[part.start for part in strips.parts[1:]]] += np.float32(wall)
    for above, step in itertools.pairwise(price):
        step += above  # the cumulative sum, in a tenth of the time that it takes down the columns
    price -= price[-1] / 2  # small numbers are exact ones
    climb = np.asarray(cv2.transpose(price), np.float32)
    best, gain = _cheapest(np.asarray(cv2.transpose(emission), np.float32), climb, strips.parts)
    return strips.heights([_followed(best[:, part], gain[:, part], climb[:, part]) for part in strips.parts])


@dataclass(frozen=True)
class _Strips:
    """The rows' bands without the heights that have no ink, above and below, one strip on top of the other.

    A path never gains by leaving all ink behind, and costs what there is to search.

    Attributes:
        bounds: of each row's strip, first and one-past-last px of its band; whole steps of the paths.
        parts: where each row's strip lies in the stack, in steps.
    """

    bounds: tuple[tuple[int, int], ...]
    parts: tuple[slice, ...]

    @classmethod
    def of(cls, *maps: NDArray[np.uint8] | None) -> _Strips:
        """The strips of rows that have ink in some of these maps, (R, H, W) each."""
        darkest = np.max([plane.max(axis=2, initial=0) for plane in maps if plane is not None], axis=0)
        height = darkest.shape[1] // VERTICAL_STEP * VERTICAL_STEP
        bounds, parts, end = [], [], 0
        for row in darkest[:, :height]:
            inked = np.flatnonzero(row >= FAINT)
            low, high = (inked[0], inked[-1] + 1) if inked.size else (height // 2, height // 2)
            low = max(int(low) - BEYOND_PX, 0) // VERTICAL_STEP * VERTICAL_STEP
            high = min(-(-(int(high) + BEYOND_PX) // VERTICAL_STEP) * VERTICAL_STEP, height)
            bounds.append((low, high))
            parts.append(slice(end, end + (high - low) // VERTICAL_STEP))
            end = parts[-1].stop
        return cls(tuple(bounds), tuple(parts))

    def cells(self, maps: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Maps (R, H, W) in the steps of the paths: (S, W) float32 in 0..1, S the height of the stack."""
        stack = np.concatenate([plane[low:high] for plane, (low, high) in zip(maps, self.bounds, strict=True)])
        total = stack[::VERTICAL_STEP].astype(np.uint16)
        for place in range(1, VERTICAL_STEP):
            total += stack[place::VERTICAL_STEP]
        return total.astype(np.float32) * np.float32(1 / (255 * VERTICAL_STEP))

    def heights(self, steps: list[NDArray[np.int64]]) -> NDArray[np.float64]:
        """Paths (W,) each, steps of the strips, as heights (R, W) in px of the bands: the middle of a step."""
        lows = np.array([low for low, _ in self.bounds])[:, None]
        return np.asarray(lows + np.stack(steps) * float(VERTICAL_STEP) + (VERTICAL_STEP - 1) / 2, np.float64)


def _cheapest(
    emission: NDArray[np.float32], climb: NDArray[np.float32], parts: tuple[slice, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cost of the cheapest path to where it leaves each column, up to a constant for each column and strip.

    Args:
        emission: (W, S) cost of leaving a column at each height of the stack.
        climb: (W, S) cost of moving in a column from the top to each height.
        parts: the strips, between which ``climb`` has walls.

    Returns:
        That cost (W, S), by how much it falls short of that of staying at the same height (W, S), 0 or less.
    """
    best, gain = np.empty_like(emission), np.zeros_like(emission)
    best[0] = emission[0]
    above, below = np.empty_like(best[0]), np.empty_like(best[0])
    upwards = below[::-1]
    steps = zip(itertools.pairwise(best), gain[1:], climb[1:], emission[1:], strict=True)
    for x, ((before, here), gained, up_to, left) in enumerate(steps, 1):
        np.subtract(before, up_to, out=above)
        np.minimum.accumulate(above, out=above)
        above += up_to
        np.add(before, up_to, out=below)
        np.minimum.accumulate(upwards, out=upwards)
        below -= up_to
        np.minimum(above, below, out=above)
        np.subtract(above, before, out=gained)
        np.add(above, left, out=here)
        if x % _RESET_COLUMNS == 0:
            # Costs only matter relative to each other; subtracting the least keeps float32 exact on long pages.
            for part in parts:
                here[part] -= here[part].min()
    return best, gain


def _followed(best: NDArray[np.float32], gain: NDArray[np.float32], climb: NDArray[np.float32]) -> NDArray[np.int64]:
    """The cheapest path (W,) through a strip, from the last column back; arguments as ``_cheapest`` gives them."""
    width = len(best)
    path = np.empty(width, np.int64)
    here = int(best[-1].argmin())
    for x in range(width - 1, 0, -1):
        path[x] = here
        if gain[x, here] < -_MIN_GAIN:
            up_to, before = climb[x], best[x - 1]
            from_above = before[: here + 1] - up_to[: here + 1]
            from_below = before[here:] + up_to[here:]
            upper, lower = int(from_above.argmin()), int(from_below.argmin())
            climbs = 2 * up_to[here] > from_below[lower] - from_above[upper]
            here = here + lower if climbs else upper
    path[0] = here
    return path


def path_cost(
    bands: NDArray[np.uint8],
    free: NDArray[np.bool_],
    paths: NDArray[np.float64],
    crossable: NDArray[np.uint8] | None = None,
) -> NDArray[np.float64]:
    """What paths (R, W), as ``trace_paths`` gives them, cost without any gain for ink; its other arguments. (R,)."""
    ink = _columns(bands)
    width, rows, _ = ink.shape
    here = ((paths.T - (VERTICAL_STEP - 1) / 2) / VERTICAL_STEP).astype(np.int64)
    column, row = np.indices((width, rows))
    entered = np.where(free.T, here, np.concatenate([here[:1], here[:-1]]))
    climb = np.cumsum(1 - ink, axis=2, dtype=np.float64)
    climbed = np.abs(climb[column, row, here] - climb[column, row, entered]) * (JUMP_COST * VERTICAL_STEP)
    ink = ink if crossable is None else np.maximum(ink, _columns(crossable))
    left = _emission(ink)[column, row, here]
    return np.asarray((climbed + left).sum(axis=0), np.float64)


def _emission(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cost of leaving a column where there is so much ink, 0..1; any shape."""
    return -np.log((ink + np.float32(_BLANK_PROBABILITY)) / np.float32(1 + _BLANK_PROBABILITY))


def _columns(bands: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(R, H, W) uint8 to (W, R, H / VERTICAL_STEP) float32 in 0..1."""
    step = VERTICAL_STEP
    whole = bands.shape[1] // step * step
    summed = bands[:, :whole:step].astype(np.uint16)
    for place in range(1, step):
        summed += bands[:, place:whole:step]
    return np.multiply(summed.transpose(2, 0, 1), np.float32(1 / (255 * step)), dtype=np.float32, order="C")
