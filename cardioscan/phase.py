"""Refining the lattice by the phase of the printed grid.

On a page flattened by the lattice at hand, the 5 mm lines should stand exactly one pitch apart. Around every node a
wave of that pitch is fitted to the page in a Gaussian window (a windowed Fourier transform); its phase says by how
much the lines there are displaced, to a tenth of a pixel where the grid is visible. The nodes move by it, the page is
flattened anew, with a smaller window, until nothing moves.

What is measured is a displacement modulo one pitch, so the lattice must come within half a square of the truth, or at
least do so somewhere from where the phase can be followed (unwrapped) to the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cardioscan.geometry import Floats, robust_lattice, shrink, smooth_lattice, transform_points
from cardioscan.gridphase import (
    STEP,
    grid_sources,
    grown_ink,
    inside_picture,
    measure_displacement,
    measure_waves,
    off_grid_ink,
    unwrap,
)
from cardioscan.page import STANDARD_PAGE, PageTemplate
from cardioscan.rectification import dense_map, map_ratio

__all__ = ["PhaseReport", "PhaseRound", "measure_displacement", "refine_nodes", "unwrap"]

FloatMap = NDArray[np.float32]

_SIGMAS: Final = (60.0, 28.0)
_SETTLED_PX: Final = 0.5
_NEAR_PX: Final = 8.0
_CONFIDENT: Final = 0.3
_MIN_CONFIDENT_SHARE: Final = 0.15
_JUMP: Final = 0.45
_SMOOTHNESS: Final = 3.0
_STIFF: Final = 30.0
_HELD: Final = 0.002


@dataclass(frozen=True)
class PhaseRound:
    """One round: window (px), and the median and 95th percentile of the node moves (px, confident nodes)."""

    sigma_px: float
    median_px: float
    p95_px: float


@dataclass(frozen=True, eq=False)
class PhaseReport:
    """What the refinement did.

    Attributes:
        applied: False where too little grid is visible, and the nodes came back as they were.
        converged: whether the last round moved the nodes by less than 0.5 px (95th percentile).
        source: what of the page was measured, "chroma" (colour against grey) or "darkness".
        rounds: each round's moves, px of the reference frame.
        confidence: (n_horizontal_lines, n_vertical_lines) float32 in 0..1: how clearly the grid stands out from
            everything else around each node, in the worse of the two directions, in the last round.
        moved_px: same lattice, float32: how far each node has moved in all, px of the reference frame.
    """

    applied: bool
    converged: bool
    source: str
    rounds: tuple[PhaseRound, ...]
    confidence: FloatMap
    moved_px: FloatMap


def refine_nodes(
    image: NDArray[np.uint8],
    nodes: Floats,
    template: PageTemplate = STANDARD_PAGE,
    ink: NDArray[Any] | None = None,
    rounds: int = 4,
    ink_margin_px: float = 15.0,
) -> tuple[Floats, PhaseReport]:
    """Move the nodes of a lattice onto the printed lines.

    Nodes without visible grid follow those around them; a displacement that leaps by more than 0.45 of a pitch
    against its surroundings has no say.

    Args:
        image: the original picture, (H, W, 3) uint8.
        nodes: (n_horizontal_lines, n_vertical_lines, 2) float64, (x, y) px of the picture.
        template: the printed page.
        ink: (height, width) of the reference frame as flattened by ``nodes``: 0..1 (uint8: 0..255), where trace and
            text are; they are left out, or every QRS would bend the lines beside it. Without it, colour tells the
            ink from a coloured grid, and on a grey one what is as dark as the lines but between them is taken for it.
        rounds: at most so many; the window shrinks from 60 to 28 px over them.
        ink_margin_px: how far the ink is grown before it is left out, px of the reference frame.

    Returns:
        The nodes, same shape, and a report.
    """
    start = np.asarray(nodes, np.float64)
    ratio = map_ratio(dense_map(start, template, template.width, template.height, STEP))
    # Lines are a pixel or two wide and are sampled at every second one: blurred first, or their aliases move them.
    small, shrinking = shrink(image, ratio / 2)
    sampled = ratio * float(shrinking[0, 0])
    small = np.asarray(cv2.GaussianBlur(small, (0, 0), 0.45 * sampled) if sampled > 1.2 else small, np.uint8)
    current = transform_points(shrinking, start)
    flat = template.lattice()
    blocked = None if ink is None else grown_ink(ink, ink_margin_px, template)
    done: list[PhaseRound] = []
    source = ""
    confidence = np.zeros(flat.shape[:2], np.float32)
    best, best_flat = current, flat
    sigmas = np.geomspace(*_SIGMAS, num=rounds) if rounds > 1 else np.array(_SIGMAS[1:])
    place, converged = 0, False
    while place < len(sigmas):
        sigma = float(sigmas[place])
        maps = dense_map(current, template, template.width, template.height, STEP)
        page = cv2.remap(small, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        open_ = inside_picture(maps, small.shape[:2])
        if blocked is not None:
            across, down = dense_map(flat, template, template.width, template.height, STEP)
            open_ *= 1 - cv2.remap(blocked, across / STEP, down / STEP, cv2.INTER_LINEAR)
        candidates = grid_sources(np.asarray(page, np.uint8))
        if blocked is None and done and source == "darkness" and done[-1].median_px < _NEAR_PX:
            open_ *= 1 - off_grid_ink(candidates["darkness"], open_, template)
        names = [source] if source else list(candidates)
        measured = [measure_waves(candidates[name], open_, template, sigma) for name in names]
        chosen = int(np.argmax([trust.min(axis=0).mean() for _, trust in measured]))
        wrapped, trust = measured[chosen]
        source, weakest = names[chosen], trust.min(axis=0)
        if np.mean(weakest > _CONFIDENT) < _MIN_CONFIDENT_SHARE:
            break
        move = _believable(wrapped, trust, template)
        size = np.linalg.norm(move, axis=-1)[weakest > _CONFIDENT]
        now = PhaseRound(sigma, float(np.median(size)), float(np.percentile(size, 95)))
        if done and now.median_px > 2 and now.median_px > 1.5 * done[-1].median_px:
            break  # it runs away: what was reached before is kept
        done.append(now)
        confidence = weakest.astype(np.float32)
        current = current + _carried(current, move, template.grid_pitch)
        flat = flat + _carried(flat, move, template.grid_pitch)
        best, best_flat = current, flat
        converged = now.p95_px < _SETTLED_PX
        place = len(sigmas) - 1 if converged and place < len(sigmas) - 1 else place + 1
    moved = np.linalg.norm(best_flat - template.lattice(), axis=-1).astype(np.float32)
    report = PhaseReport(bool(done), converged and bool(done), source, tuple(done), confidence, moved)
    return (transform_points(np.linalg.inv(shrinking), best) if done else start), report


def _believable(wrapped: Floats, trust: Floats, template: PageTemplate) -> Floats:
    """The moves to make: unwrapped, leaps refused, smooth, and carried over nodes without visible grid."""
    pitch = template.grid_pitch
    seeds = np.zeros(wrapped.shape[1:], bool)
    for label in template.labels:
        seeds[max(label.j - 2, 0) : label.j + 3, max(label.i - 2, 0) : label.i + 3] = True
    moves = []
    for displacement, quality in zip(wrapped, trust, strict=True):
        raw = unwrap(displacement, quality, pitch, seeds)
        weights = np.where(np.isfinite(raw), quality**2, 0.0)
        values = np.nan_to_num(raw)[..., None]
        surface, apart = robust_lattice(values, weights, _STIFF, (0.3 * pitch, 0.15 * pitch))
        weights = np.where(
            apart < _JUMP * pitch, weights / (1 + (np.minimum(apart, pitch) / (0.1 * pitch)) ** 2) ** 2, 0.0
        )
        surface = smooth_lattice(np.where(weights[..., None] > 0, values, 0.0), weights + _HELD, _SMOOTHNESS)
        moves.append(np.clip(surface[..., 0], -1.2 * pitch, 1.2 * pitch))
    return np.stack(moves, axis=-1)


def _carried(nodes: Floats, move: Floats, pitch: float) -> Floats:
    """The change of nodes (rows, columns, 2) when each slides by ``move`` px of the flat page along their surface."""
    down, across = np.gradient(nodes, pitch, axis=(0, 1), edge_order=2)
    return np.asarray(across * move[..., :1] + down * move[..., 1:], np.float64)
