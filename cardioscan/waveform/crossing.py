"""Traces that run into their neighbours' rows: which row's the ink is there.

The waveform extractor tells rows apart by where they lie. A deep S wave that runs into the row below is its own row's
as far as about half way, and the neighbour's from there on: its tip would be cut off and given to the neighbour. What
the picture says is that strokes go on. So the path of a row may also run through *steep* ink of other rows that hangs
together with steep ink of its own, at a somewhat higher cost than through its own; and what it runs through is taken
from the row that had it, whose own path is then sought again without it. Flat ink is never lent: a row with a gap must
not go on along its neighbour.

A row may claim back what was taken from it, so ink in doubt is read by both. There is no doubt where a stroke runs
right through another row's trace and out on the other side, and that trace is seen to go on in between: then the whole
stroke is the one row's, and is not lent back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from cardioscan.arrays import Image, Mask
from cardioscan.waveform.bands import Bands, inked_rows
from cardioscan.waveform.row_paths import INK, STEEP_PX, borrowed_reach, cost, paths

__all__ = ["Claim", "assign_ink", "claims", "lendable_ink", "settle_claims"]

_ROUNDS: Final = 3
_CLAIM_WORTH: Final = (0.85, 0.08)
"""What lent ink is worth (see ``path.LENT_WORTH``) to paths that claim: each claim is looked into before it is met."""
_MIN_CLAIM_PX: Final = 40
"""A claim of fewer pixels is a touch of the pens."""
_MIN_GAP_PX: Final = 20
"""Columns between two claims."""
_AROUND_PX: Final = 60
"""Columns to either side of a claim in which the other row's path is compared."""
_MAX_LOSS: Final = 4.0
"""What the other path may cost more without the ink claimed: less than two columns without any ink."""
_MIN_SEEN_COLUMNS: Final = 3
_PEN_COLUMNS: Final = 2
_MIN_OVERSHOOT_PX: Final = 20


@dataclass(frozen=True, eq=False)
class Claim:
    """Ink of one row through which another row's path runs.

    Attributes:
        row, owner: who claims it, and whose it is.
        ink: (height, width) bool, the pixels.
        loss: what the owner's path costs more without them, where crossing them flat costs nothing.
        seen: columns between the first and the last, less the pen, in which that path lies on ink of its own.
        through: whether they reach from one side of the owner's trace at rest to the other.
    """

    row: int
    owner: int
    ink: Mask
    loss: float
    seen: int
    through: bool

    @property
    def just(self) -> bool:
        """Whether the ink is the claimant's beyond doubt."""
        return self.through and self.loss < _MAX_LOSS and self.seen >= _MIN_SEEN_COLUMNS


def assign_ink(coverage: Image, bands: Bands) -> tuple[Image, Bands]:
    """Give ink to the row whose stroke it is.

    Args:
        coverage: (rows, height, width) uint8, 255 where the row's stroke covers the pixel.
        bands: where the rows' paths are sought.

    Returns:
        The coverage with ink moved between rows, the input itself where no row touches another's steep ink; and the
        bands without heights at which no row has, or may borrow, any ink.
    """
    lendable = lendable_ink(coverage, coverage)
    if not lendable.any():
        return coverage, bands.around(coverage)
    bands = bands.around(np.maximum(coverage, lendable))
    coverage, lost = settle_claims(coverage, bands)
    own = coverage
    lent = np.where(lost, 0, lendable_ink(coverage, own)).astype(np.uint8)
    for _ in range(_ROUNDS):
        borrowed = borrowed_reach(bands, own, lent) & (lent > 0)
        before = own
        own = coverage.copy()
        for row in range(len(own)):
            others = np.delete(borrowed, row, axis=0).any(axis=0)
            own[row][others & (coverage[row] >= INK)] = 0
        if (own == before).all():
            break
        lent = np.where(lost, 0, lendable_ink(coverage, own)).astype(np.uint8)
    darkest = coverage.max(axis=0)
    return np.where(borrowed, np.maximum(own, darkest), own), bands


def settle_claims(coverage: Image, bands: Bands) -> tuple[Image, Mask]:
    """Give ink to the rows whose it is beyond doubt.

    Args:
        coverage, bands: as for ``assign_ink``.

    Returns:
        The coverage, and where each row has lost ink for good, both (rows, height, width).
    """
    own, darkest = coverage.copy(), coverage.max(axis=0)
    lost = np.zeros(coverage.shape, bool)
    for _ in range(_ROUNDS):
        settled = False
        for claim in sorted(claims(own, lost, bands), key=lambda claim: claim.loss):
            # One that was just may have taken this ink, or given it away.
            still = (own[claim.owner][claim.ink] >= INK).any() and not lost[claim.row][claim.ink].any()
            if not claim.just or not still:
                continue
            settled = True
            own[claim.row] = np.where(claim.ink, darkest, own[claim.row])
            around = cv2.dilate(claim.ink.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
            own[claim.owner][around & (coverage[claim.row] < INK)] = 0
            lost[claim.owner] |= around
        if not settled:
            break
    return own, lost


def claims(own: Image, lost: Mask, bands: Bands) -> Iterator[Claim]:
    """What rows claim of each other, from left to right for each pair.

    Args:
        own: (rows, height, width) uint8, what each row has at present.
        lost: same shape, what it may not have back.
        bands: as for ``assign_ink``.
    """
    lent = np.where(lost, 0, lendable_ink(own, own)).astype(np.uint8)
    borrowed = borrowed_reach(bands, own, lent, _CLAIM_WORTH) & (lent > 0)
    for row, owner in np.argwhere(~np.eye(len(own), dtype=bool)):
        ink = borrowed[row] & (own[owner] >= INK)
        columns = np.flatnonzero(ink.any(axis=0))
        for span in np.split(columns, np.flatnonzero(np.diff(columns) > _MIN_GAP_PX) + 1):
            piece = np.zeros_like(ink)
            piece[:, span] = ink[:, span]
            if np.count_nonzero(piece) >= _MIN_CLAIM_PX:
                yield _weighed(own, int(row), int(owner), piece, bands)


def _weighed(own: Image, row: int, owner: int, ink: Mask, bands: Bands) -> Claim:
    """What becomes of the owner's path without the ink claimed."""
    columns, heights = np.flatnonzero(ink.any(axis=0)), np.flatnonzero(ink.any(axis=1))
    near = bands.part(owner, columns[0] - _AROUND_PX, columns[-1] + _AROUND_PX + 1)
    mine = own[owner][None]
    rest, claimed = (np.where(ink == wanted, mine, 0).astype(np.uint8) for wanted in (False, True))
    before, after = paths(near, mine), paths(near, rest, crossable=claimed)
    loss = float(cost(near, after, rest, claimed)[0] - cost(near, before, mine)[0])
    heights_after = np.round(after[0]).astype(int) + near.tops[0]
    inner = columns[_PEN_COLUMNS:-_PEN_COLUMNS]
    there = heights_after[inner - near.left].clip(0, own.shape[1] - 2)
    seen = np.maximum(rest[0][there, inner], rest[0][there + 1, inner]) >= INK
    level = np.median(heights_after)
    through = heights[0] < level - _MIN_OVERSHOOT_PX and heights[-1] > level + _MIN_OVERSHOOT_PX
    return Claim(row, owner, ink, loss, int(seen.sum()), bool(through))


def lendable_ink(coverage: Image, own: Image) -> Image:
    """Steep ink of other rows that hangs together with steep ink of the row's own.

    Args:
        coverage: (rows, height, width) uint8, all ink by the row that the network gave it to.
        own: same shape, what each row has at present.

    Returns:
        (rows, height, width) uint8, 0 where a row may not borrow.
    """
    lent = np.zeros_like(coverage)
    darkest = coverage.max(axis=0)
    inked = inked_rows(darkest)
    darkest = darkest[inked]
    steep = cv2.morphologyEx((darkest >= INK).astype(np.uint8), cv2.MORPH_OPEN, np.ones((STEEP_PX, 1), np.uint8))
    count, parts = cv2.connectedComponents(steep, connectivity=8)
    places = np.flatnonzero(steep.view(bool))
    part, dark = parts.ravel()[places], darkest.ravel()[places]
    for row, had in zip(lent, own, strict=True):
        mine = had[inked].ravel()[places] >= INK
        touching = np.bincount(part[mine], minlength=count) >= STEEP_PX
        free = touching[part] & ~mine
        row[inked].ravel()[places[free]] = dark[free]
    return lent
