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

from cardioscan.arrays import FloatMap, Floats
from cardioscan.backends.specs import NamePlaces
from cardioscan.flatten.grid_waves import (
    BLUR,
    STEP,
    colourless_ink,
    grid_sources,
    measure_waves,
    off_grid_ink,
    unwrap,
)
from cardioscan.flatten.page_map import PageMap
from cardioscan.imaging.geometry import halve, slide_nodes, transform_points
from cardioscan.imaging.surfaces import cross_validated_smoothness, geman_mcclure, robust_lattice, smooth_lattice
from cardioscan.page.sheet import Sheet

__all__ = ["PhaseReport", "PhaseRound", "refine_nodes"]


_SIGMAS: Final = (60.0, 28.0)
_ROUNDS: Final = 4
"""At most so many; the window shrinks from the first to the second of these over them, px."""
_SETTLED_PX: Final = 0.5
_MAX_MEDIAN_FOR_INK_PX: Final = 8.0
_CLEAR: Final = 0.3
_MIN_CLEAR_SHARE: Final = 0.15
_MAX_LEAP: Final = 0.45
_MOVE_SMOOTHNESS: Final = 3.0
_JUDGING_SMOOTHNESS: Final = 30.0
_NO_WORSE: Final = 1.25
"""A stiffer surface is taken when it predicts left-out blocks no worse than by this factor."""

_SMOOTHNESSES: Final = (0.3, 3.0, 30.0, 300.0, 3e3, 1e5, 1e7)
"""Stiffness of the final surface, to be chosen from."""

_ANCHOR_WEIGHT: Final = 0.002


@dataclass(frozen=True)
class PhaseRound:
    """One round: the median and 95th percentile of the node moves (px, clear nodes)."""

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
        clarity: (n_horizontal_lines, n_vertical_lines) float32 in 0..1: how clearly the grid stands out from
            everything else around each node, in the worse of the two directions, in the last round.
        moved_px: same lattice, float32: how far each node has moved in all, px of the reference frame.
    """

    applied: bool
    converged: bool
    source: str
    rounds: tuple[PhaseRound, ...]
    clarity: FloatMap
    moved_px: FloatMap

    def to_json_dict(self) -> dict[str, Any]:
        """Its figures as plain values, for diagnostics."""
        return {
            "applied": self.applied,
            "converged": self.converged,
            "source": self.source,
            "moved_px": round(float(np.median(self.moved_px)), 3),
            "clarity": round(float(self.clarity.mean()), 3),
            "last_p95_px": round(self.rounds[-1].p95_px, 3) if self.rounds else None,
        }


def refine_nodes(
    image: NDArray[np.uint8],
    nodes: Floats,
    sheet: Sheet,
    names: NamePlaces,
) -> tuple[Floats, PhaseReport]:
    """Move the nodes of a lattice onto the printed lines.

    Nodes without visible grid follow those around them; a displacement that leaps by more than 0.45 of a pitch
    against its surroundings has no say. Trace and text are left out, or every QRS would bend the lines beside it:
    colour tells them from a coloured grid, and on a grey one what is as dark as the lines but between them is taken
    for ink.

    Args:
        image: the original picture, (H, W, 3) uint8.
        nodes: (n_horizontal_lines, n_vertical_lines, 2) float64, (x, y) px of the picture.
        sheet: the printed page.
        names: where the lead names stand, near which the lattice is right to within half a square.

    Returns:
        The nodes, same shape, and a report.
    """
    start = np.asarray(nodes, np.float64)
    ratio = PageMap.of(start, sheet, STEP).ratio  # px of the picture for a sampled one
    small, shrinking = halve(image, ratio)
    sampled = ratio * float(shrinking[0, 0])
    small = np.asarray(cv2.GaussianBlur(small, (0, 0), BLUR * sampled), np.uint8)
    current = transform_points(shrinking, start)
    flat = sheet.lattice()
    done: list[PhaseRound] = []
    source = ""
    clearest = np.zeros(flat.shape[:2], np.float32)
    best, best_flat = current, flat
    sigmas = np.geomspace(*_SIGMAS, num=_ROUNDS)
    place, converged = 0, False
    inverted = np.zeros(2, bool)  # whether the vertical, the horizontal lines are what has *less* colour
    final: tuple[Floats, NDArray[Any], Floats] | None = None
    while place < len(sigmas):
        sigma = float(sigmas[place])
        page_map = PageMap.of(current, sheet, STEP)
        page = page_map.sample(small, fill=None)
        readable = page_map.inside(small.shape, rim=0.0).astype(np.float32)
        candidates = grid_sources(page)
        if done and source == "darkness" and done[-1].median_px < _MAX_MEDIAN_FOR_INK_PX:
            readable *= 1 - off_grid_ink(candidates["darkness"], readable, sheet)
        if source and source not in candidates:
            break
        tried = [source] if source else list(candidates)
        if not inverted.any() and "chroma" in tried:
            readable *= 1 - colourless_ink(page, readable)
        measured = [measure_waves(candidates[name], readable, sheet, sigma) for name in tried]
        chosen = int(np.argmax([clarity.min(axis=0).mean() for _, clarity in measured]))
        if not source and tried[chosen] == "chroma":
            inverted = _inverted_directions(measured, tried, sheet.pitch)
        wrapped, clarity = measured[chosen]
        if inverted.any():
            wrapped = _shifted_half_pitch(wrapped, inverted, sheet.pitch)
        source, weakest = tried[chosen], clarity.min(axis=0)
        if np.mean(weakest > _CLEAR) < _MIN_CLEAR_SHARE:
            break
        move = _plausible_moves(wrapped, clarity, sheet.pitch, names)
        size = np.linalg.norm(move, axis=-1)[weakest > _CLEAR]
        now = PhaseRound(float(np.median(size)), float(np.percentile(size, 95)))
        if done and now.median_px > 2 and now.median_px > 1.5 * done[-1].median_px:
            break  # it runs away: what was reached before is kept
        done.append(now)
        final = (wrapped, clarity, flat)
        clearest = weakest.astype(np.float32)
        current = current + slide_nodes(current, move, sheet.pitch)
        flat = flat + slide_nodes(flat, move, sheet.pitch)
        best, best_flat = current, flat
        converged = now.p95_px < _SETTLED_PX
        place = len(sigmas) - 1 if converged and place < len(sigmas) - 1 else place + 1
    if final is not None:
        # The rounds are for coming near; what counts is the last measurement, smoothed as far as the paper is smooth.
        wrapped, clarity, flat = final
        total = _smoothed_total(wrapped, clarity, flat - sheet.lattice(), sheet.pitch)
        best = transform_points(shrinking, start)
        best = best + slide_nodes(best, total, sheet.pitch)
        best_flat = sheet.lattice() + total
    moved = np.linalg.norm(best_flat - sheet.lattice(), axis=-1).astype(np.float32)
    report = PhaseReport(bool(done), converged and bool(done), source, tuple(done), clearest, moved)
    return (transform_points(np.linalg.inv(shrinking), best) if done else start), report


def _inverted_directions(measured: list[tuple[Floats, Floats]], names: list[str], pitch: float) -> NDArray[np.bool_]:
    """In which direction colour and darkness put the lines half a square apart: (2,) bool, vertical and horizontal.

    Grey lines on tinted paper are minima of colour, so colour has its maxima between them; a printer may have such
    lines in one direction only. Each of ``measured`` is displacement and clarity, (2, rows, columns).
    """
    (a, clarity_a), (b, clarity_b) = measured[names.index("chroma")], measured[names.index("darkness")]
    turn = np.exp(2j * np.pi * (a - b) / pitch) * clarity_a * clarity_b
    return np.asarray(turn.sum(axis=(1, 2)).real < 0)


def _shifted_half_pitch(wrapped: Floats, where: NDArray[np.bool_], pitch: float) -> Floats:
    """Displacements (2, rows, columns) modulo a pitch, half a pitch further on in the directions ``where`` (2,)."""
    moved = np.where(where[:, None, None], wrapped + pitch / 2, wrapped)
    return np.asarray((moved + pitch / 2) % pitch - pitch / 2, np.float64)


def _smoothed_total(wrapped: Floats, clarity: Floats, before: Floats, pitch: float) -> Floats:
    """The displacement (rows, columns, 2) from the start that the last round measured, as smooth as the page allows.

    How stiff the surface is, is settled by what predicts blocks of nodes from the nodes around them best (windows
    overlap, so single nodes left out would be guessed from their own noise): flat paper gets an almost rigid lattice,
    with a fraction of the noise of single windows, and crumpled paper a supple one.
    """
    rows, columns = wrapped.shape[1:]
    block = (np.arange(rows)[:, None] // 3 + np.arange(columns) // 3) % 2
    result = []
    for axis in (0, 1):
        weights = np.where(np.abs(wrapped[axis]) < _MAX_LEAP * pitch, clarity[axis] ** 2, 0.0)
        values = (before[..., axis] + wrapped[axis])[..., None]
        _, residual = robust_lattice(values, weights, _JUDGING_SMOOTHNESS, (0.3 * pitch, 0.15 * pitch))
        weights = geman_mcclure(weights, np.minimum(residual, pitch), 1.5)
        smoothness = cross_validated_smoothness(values, weights, block, _SMOOTHNESSES, tolerance=_NO_WORSE)
        result.append(smooth_lattice(values, weights + 1e-6, smoothness)[..., 0])
    return np.stack(result, axis=-1)


def _plausible_moves(wrapped: Floats, clarity: Floats, pitch: float, names: NamePlaces) -> Floats:
    """The moves to make: unwrapped, leaps refused, smooth, and carried over nodes without visible grid."""
    seeds = np.zeros(wrapped.shape[1:], bool)
    for label in names.classes:
        seeds[max(label.j - 2, 0) : label.j + 3, max(label.i - 2, 0) : label.i + 3] = True
    moves = []
    for displacement, quality in zip(wrapped, clarity, strict=True):
        raw = unwrap(displacement, quality, pitch, seeds)
        weights = np.where(np.isfinite(raw), quality**2, 0.0)
        values = np.nan_to_num(raw)[..., None]
        surface, residual = robust_lattice(values, weights, _JUDGING_SMOOTHNESS, (0.3 * pitch, 0.15 * pitch))
        robust = geman_mcclure(weights, np.minimum(residual, pitch), 0.1 * pitch)
        weights = np.where(residual < _MAX_LEAP * pitch, robust, 0.0)
        surface = smooth_lattice(
            np.where(weights[..., None] > 0, values, 0.0), weights + _ANCHOR_WEIGHT, _MOVE_SMOOTHNESS
        )
        moves.append(np.clip(surface[..., 0], -1.2 * pitch, 1.2 * pitch))
    return np.stack(moves, axis=-1)
