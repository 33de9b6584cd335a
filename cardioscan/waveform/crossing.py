"""Traces that run into their neighbours' rows: which row's the ink is there.

The waveform extractor tells rows apart by where they lie. A deep S wave that runs into the row below is its own row's
as far as about half way, and the neighbour's from there on: its tip would be cut off and given to the neighbour. What
the picture says is that strokes go on. So the path of a row may also run through *steep* ink of other rows that hangs
together with steep ink of its own, at a somewhat higher cost than through its own; and what it runs through is taken
from the row that had it, whose own path is then sought again without it. Flat ink is never lent: a row with a gap must
not go on along its neighbour.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["lendable_ink", "share_ink"]

Maps = NDArray[np.uint8]
Reach = NDArray[np.bool_]

_INK: Final = 100
_STEEP_PX: Final = 15
"""Ink in a vertical run at least so long is steep; a flat stroke is 3 to 6 px thick. Odd, for symmetry."""
_ROUNDS: Final = 3


def share_ink(coverage: Maps, reach_of: Callable[[Maps, Maps], Reach]) -> Maps:
    """Give ink to the row whose stroke it is.

    Args:
        coverage: (rows, height, width) uint8, 255 where the row's stroke covers the pixel.
        reach_of: seeks the rows' paths given their own and the lendable ink, both as ``coverage``, and returns which
            pixels lie along each: (rows, height, width) bool; rows without lendable ink may be left False.

    Returns:
        The coverage with ink moved between rows; the input itself where no row touches another's steep ink.
    """
    lent = lendable_ink(coverage, coverage)
    if not lent.any():
        return coverage
    own = coverage
    for _ in range(_ROUNDS):
        borrowed = reach_of(own, lent) & (lent > 0)
        before = own
        own = coverage.copy()
        for row in range(len(own)):
            others = np.delete(borrowed, row, axis=0).any(axis=0)
            own[row][others & (coverage[row] >= _INK)] = 0
        if (own == before).all():
            break
        lent = lendable_ink(coverage, own)
    darkest = coverage.max(axis=0)
    return np.where(borrowed, np.maximum(own, darkest), own)


def lendable_ink(coverage: Maps, own: Maps) -> Maps:
    """Steep ink of other rows that hangs together with steep ink of the row's own.

    Args:
        coverage: (rows, height, width) uint8, all ink by the row that the network gave it to.
        own: same shape, what each row has at present.

    Returns:
        (rows, height, width) uint8, 0 where a row may not borrow.
    """
    darkest = coverage.max(axis=0)
    steep = cv2.morphologyEx((darkest >= _INK).astype(np.uint8), cv2.MORPH_OPEN, np.ones((_STEEP_PX, 1), np.uint8))
    count, parts = cv2.connectedComponents(steep, connectivity=8)
    lent = np.zeros_like(coverage)
    places = np.flatnonzero(steep)
    part = parts.ravel()[places]
    for row in range(len(coverage)):
        mine = own[row].ravel()[places] >= _INK
        touching = np.bincount(part[mine], minlength=count) >= _STEEP_PX
        free = places[touching[part] & ~mine]
        lent[row].ravel()[free] = darkest.ravel()[free]
    return lent
