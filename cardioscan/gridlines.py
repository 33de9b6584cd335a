"""Refining the lattice by the profile of every single printed line.

A smooth surface through the network's nodes, or the phase of the grid (:mod:`cardioscan.phase`), brings the lattice to
within a pixel or two, but cannot follow a crease and keeps an error of a few tenths. A printed
line is a pixel or two wide, so its own profile says far more: along a short stretch of it the page is averaged into a
profile across, and the profile of the page's typical line (with the thin lines around it) is fitted to that by least
squares, with place, strength, level and slope free. That places single nodes to 0.03 to 0.1 px, and tells how sure
each is. What is left to smooth is then decided by how well nodes are predicted by their neighbours.

Two things pull lines away from the lattice and are undone:

* ink beside a line: left out where it is known (``ink``) or darker than the lines are, and a node that contradicts its
  neighbours has no say;
* the printer's raster: pages drawn as pictures have their lines on whole pixels (``PageTemplate.raster_offsets``).
  Whether a page shows that pattern is tested on the page itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import spline_filter1d

from cardioscan.geometry import Floats, median_of_known, slide_nodes
from cardioscan.gridphase import channel_range, line_distances
from cardioscan.page import STANDARD_PAGE, PageTemplate
from cardioscan.rectification import PageMap
from cardioscan.surfaces import robust_lattice, smooth_lattice, stiffest_that_predicts

__all__ = ["Flattened", "LineReport", "measure_lines", "refine_lines"]

FloatMap = NDArray[np.float32]

_ALONG_PX: Final = 16.0
"""Deviation of the window along a line: neighbouring nodes share next to nothing, so they can check each other."""

_TOGETHER: Final = 8
"""So many pixels along a line are averaged before the window is laid over them."""
_PROFILE_BLUR: Final = 0.45
"""Deviation, px, of a Gaussian across the lines: with it a spline through the pixels follows a line a pixel wide."""
_ACROSS_PX: Final = 9.0
_REACH: Final = 20
_FITS: Final = 3
_SOME: Final = 5
"""Every fifth node tells what is typical of all of them; 5 divides neither 44 nor 57, so no line is left out."""
_STILL_PX: Final = 0.6
"""Lines that are measured so far from where they were sampled (90 %) are measured again; a line is a px or two wide."""
_MAX_STEP_PX: Final = 1.5
_MAX_MOVE_PX: Final = 5.0
_MIN_STRENGTH: Final = 0.15
_NO_LINE: Final = 1e-3
"""A typical profile no higher than this, in units of the local contrast, is rounding."""
_MIN_OPEN: Final = 0.6
_RIM_PX: Final = 6.0

_FLOOR_PX: Final = 0.05
_BELIEVED: Final = 0.3
"""Stiffness of the surface against which single nodes are judged, and by how many px they may leave it."""
_DOUBT_PX: Final = (3.0, 1.5)
_OUTLIER_PX: Final = 0.8
_ROUGHLY: Final = 3.0
"""A node is doubted beyond ``_OUTLIER_PX``, or beyond so many times what those within ``_AROUND`` of it depart by: on
crumpled paper all of them leave a stiff surface, and are right."""
_AROUND: Final = 3
_SUPPLE: Final = 1e-3
_LADDER: Final = (1e-4, 1e-2, 1.0, 100.0, 1e5)
_RASTER_SHARE: Final = 0.4
_MIN_MEASURED: Final = 0.3

_INK_GROWN_PX: Final = 9
_INK: Final = 60
_DARK: Final = 0.2
_DARKER: Final = 1.4
"""What is dark in every channel is ink where it is so much darker than most lines (90 %) are."""
_AS_DARK: Final = 0.8
"""Ink takes no more than this of the paper's brightness in a picture: where it had to, lines are as dark as ink."""
_MAX_DARK_SHARE: Final = 0.25
_LINE_ZONE_PX: Final = 3.0
_LINES_DARK: Final = 0.5
"""Where a 5 mm line is this near, which is on 28 % of the page, lie 30 to 50 % of what is ink."""


@dataclass(frozen=True)
class LineReport:
    """What the refinement did.

    Attributes:
        applied: False where too few lines could be measured, and the nodes came back as they were.
        measured: share of nodes with a measured line, in the worse of the two directions.
        precision_px: median standard error of a single node's place, px of the reference frame, both directions.
        moved_px: median distance that the nodes went, px of the reference frame.
        raster: share of the printer's raster pattern found in the vertical and in the horizontal lines (1 = all of it).
        ink_apart: whether ink was told from the lines by how dark it is.
    """

    applied: bool
    measured: float
    precision_px: float
    moved_px: float
    raster: tuple[float, float]
    ink_apart: bool


@dataclass(frozen=True, eq=False)
class Flattened:
    """A flat page to measure on.

    Attributes:
        pixels: (height, width, 3) uint8, in the reference frame.
        valid: (height, width) bool, inside the picture.
    """

    pixels: NDArray[np.uint8]
    valid: NDArray[np.bool_]


def refine_lines(
    image: NDArray[np.uint8],
    nodes: Floats,
    template: PageTemplate = STANDARD_PAGE,
    ink: NDArray[np.uint8] | None = None,
    rounds: int = 2,
    page: Flattened | None = None,
    begun: Floats | None = None,
) -> tuple[Floats, Floats | None, LineReport]:
    """Move the nodes of a lattice onto the printed lines, one by one.

    Args:
        image: the picture, (H, W, 3) uint8, as :func:`cardioscan.rectification.soften` gives it.
        nodes: (n_horizontal_lines, n_vertical_lines, 2) float64, (x, y) px of the picture, within about 3 px of the
            page of the truth; smooth, since what is known about single nodes comes from here alone.
        template: the printed page.
        ink: (height, width) uint8 in that flat page: where trace is, 255 = certainly. It is left out, or a QRS beside
            a line would pull it.
        rounds: how often the page is measured at most; it is flattened anew in between. No further round follows one in
            which lines were found where the page was sampled for them, or in which ink was neither known nor told from
            lines. The displacement is always smoothed as a whole; how supple it may be is settled by the page in the
            last round.
        page: the flat page that the nodes give, or with ``begun`` those that came out then; None has it sampled.
        begun: the displacement that an earlier call has come to, from the same nodes.

    Returns:
        The nodes, same shape; their displacement against ``nodes``, same shape, (x, y) px of the reference frame, None
        where nothing was measured; and a report.
    """
    start = np.asarray(nodes, np.float64)
    moved = begun
    current = start if moved is None else start + slide_nodes(start, moved, template.grid_pitch)
    known_ink = None if ink is None else _grown(ink)
    report = LineReport(False, 0.0, float("nan"), 0.0, (0.0, 0.0), False)
    for turn in range(rounds):
        if page is None:
            page_map = PageMap.of(current, template)
            page = Flattened(page_map.sample(image), page_map.inside(image.shape))
        dark, bright = channel_range(page.pixels)
        open_, apart = _open(bright, page.valid, known_ink, template)
        lines = [measure_lines(dark, open_, axis, template) for axis in (0, 1)]
        known = [np.isfinite(variance) for _, variance in lines]
        if min(float(there.mean()) for there in known) < _MIN_MEASURED:
            break
        still = [np.percentile(np.abs(at[there]), 90) < _STILL_PX for (at, _), there in zip(lines, known, strict=True)]
        # Where nothing tells ink from lines, more rounds are for when it is known.
        last = all(still) or turn == rounds - 1 or (ink is None and not apart)
        before = np.zeros((*start.shape[:2], 2)) if moved is None else moved
        surfaces = [
            _surface(before[..., axis] + measured, variance, axis, template, last)
            for axis, (measured, variance) in enumerate(lines)
        ]
        moved = np.stack([surface for surface, _ in surfaces], axis=-1)
        current, page = start + slide_nodes(start, moved, template.grid_pitch), None
        errors = [np.sqrt(np.median(variance[there])) for (_, variance), there in zip(lines, known, strict=True)]
        report = LineReport(
            True,
            min(float(there.mean()) for there in known),
            float(np.mean(errors)),
            float(np.median(np.linalg.norm(moved, axis=-1))),
            (round(surfaces[0][1], 3), round(surfaces[1][1], 3)),
            apart,
        )
        if last:
            break
    return current, moved, report


def measure_lines(
    dark: NDArray[np.uint8], open_: NDArray[np.uint8], axis: int, template: PageTemplate = STANDARD_PAGE
) -> tuple[Floats, Floats]:
    """How far each printed line stands from its nominal place, at every node by itself.

    Args:
        dark: (height, width) uint8, the flat page's darkest channel, in which a line of any colour is dark.
        open_: same shape, 255 where the page may be read, else 0.
        axis: 0 for the vertical lines (displacement in x), 1 for the horizontal ones (in y).
        template: the printed page.

    Returns:
        Displacement and its variance, each (n_horizontal_lines, n_vertical_lines) float64, px and px^2; positive
        where the line stands to the right or below. The variance is infinite, and the displacement 0, where no line
        can be measured.
    """
    nodes = template.lattice()
    places, centres = nodes[0, :, 0], nodes[:, 0, 1]
    lit = cv2.bitwise_and(cv2.bitwise_not(dark), open_)
    if axis == 0:
        return _measure(*_flattened(lit, open_), places, centres)
    displacement, variance = _measure(*_flattened(cv2.transpose(lit), cv2.transpose(open_)), centres, places)
    return displacement.T, variance.T


def _measure(read: FloatMap, open_: FloatMap, places: Floats, centres: Floats) -> tuple[Floats, Floats]:
    """Lines across the second axis at ``places`` (m,), averaged along the first around ``centres`` (n,): (n, m).

    ``read`` is how dark the page is where it is open, else 0; of it and of ``open_``, ``_TOGETHER`` pixels along the
    first axis have been averaged to one.
    """
    length, size = read.shape
    along = _TOGETHER * np.arange(length) + (_TOGETHER - 1) / 2
    window = np.exp(-0.5 * ((along - centres[:, None]) / _ALONG_PX) ** 2).astype(np.float32)
    seen = window @ open_
    profiles = np.asarray(cv2.GaussianBlur((window @ read) / np.maximum(seen, 1e-3), (5, 1), _PROFILE_BLUR), np.float32)
    seen = seen / np.maximum(window.sum(axis=1, keepdims=True), 1e-6)

    offsets = np.arange(-_REACH, _REACH + 1).astype(np.float64)
    taper = np.exp(-0.5 * (offsets / _ACROSS_PX) ** 2)
    nominal = places[:, None] + offsets
    column = np.clip(np.round(nominal), 0, size - 1).astype(int)
    inside = (nominal >= _RIM_PX) & (nominal <= size - 1 - _RIM_PX)
    weight = (seen[:, column] * inside * taper).astype(np.float32)
    usable = weight.sum(axis=-1) / taper.sum() > _MIN_OPEN

    strips = _Strips(profiles, places)
    displacement = np.zeros(usable.shape)
    variance = np.full(usable.shape, np.inf)
    if not usable.any():
        return displacement, variance
    some = tuple(place[::_SOME] for place in np.nonzero(usable))
    for turn in range(_FITS):
        sampled = strips.at(displacement)
        if turn == 0:
            # What all lines share is found first: a profile made symmetric about the wrong place has two humps.
            displacement += _common_shift(sampled[some], taper)
            sampled = strips.at(displacement)
        typical = _typical_line(sampled[some], taper)
        if np.abs(typical).max() < _NO_LINE:
            return np.zeros(usable.shape), np.full(usable.shape, np.inf)
        step, variance = _fit_line(sampled, weight, offsets, typical)
        variance = np.where(usable, variance, np.inf)
        step = np.where(np.isfinite(variance), np.clip(step, -_MAX_STEP_PX, _MAX_STEP_PX), 0.0)
        displacement = np.clip(displacement + step, -_MAX_MOVE_PX, _MAX_MOVE_PX)
    return np.where(np.isfinite(variance), displacement, 0.0), variance


class _Strips:
    """The stretches of profiles (n, size) around places (m,), sampled with an offset by a cubic spline.

    All samples of one stretch stand at the same fraction of a pixel, so they share the spline's four weights. Outside
    the profile its last value goes on.
    """

    _PAD: Final = _REACH + round(_MAX_MOVE_PX) + 4

    def __init__(self, profiles: FloatMap, places: Floats) -> None:
        padded = np.pad(profiles, ((0, 0), (self._PAD, self._PAD)), mode="edge")
        coefficients = spline_filter1d(padded, order=3, axis=1, mode="nearest", output=np.float32)
        self._stretches = sliding_window_view(coefficients, 2 * _REACH + 4, axis=1)
        self._places = places + self._PAD - _REACH - 1

    def at(self, displacement: Floats) -> FloatMap:
        """Samples (n, m, 2 _REACH + 1) float32 of the stretches moved by (n, m) px."""
        start = self._places + displacement
        first = np.clip(np.floor(start).astype(np.int64), 0, self._stretches.shape[1] - 1)
        t = np.clip(start - first, 0.0, 1.0)[..., None].astype(np.float32)
        taken = self._stretches[np.arange(len(first))[:, None], first]
        weights = [(1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (1 + 3 * t + 3 * t**2 - 3 * t**3) / 6, t**3 / 6]
        width = 2 * _REACH + 1
        sampled = weights[0] * taken[..., :width]
        for place, weight in enumerate(weights[1:], 1):
            sampled += weight * taken[..., place : place + width]
        return np.asarray(sampled, np.float32)


def _common_shift(sampled: FloatMap, taper: Floats) -> float:
    """How far the typical profile stands from the middle, px: where it looks most like its own mirror image."""
    profile = np.median(np.ascontiguousarray(sampled.T), axis=1)
    raised = np.maximum(profile - np.average(profile, weights=taper), 0.0) * taper
    likeness = np.convolve(raised, raised)
    reach = round(2 * _MAX_MOVE_PX)
    middle = len(profile) - 1
    near = likeness[middle - reach : middle + reach + 1]
    best = int(np.argmax(near))
    if not 0 < best < len(near) - 1:
        return 0.0
    bend = near[best - 1] - 2 * near[best] + near[best + 1]
    return float(best - reach + (near[best - 1] - near[best + 1]) / (2 * bend)) / 2 if bend < 0 else 0.0


def _typical_line(sampled: FloatMap, taper: Floats) -> Floats:
    """The page's typical profile (k,), made symmetric: which side of a line is darker says nothing about its place."""
    level = sampled @ (taper / taper.sum()).astype(np.float32)
    profile = np.median(np.ascontiguousarray((sampled - level[:, None]).T), axis=1)
    return np.asarray((profile + profile[::-1]) / 2, np.float64)


def _fit_line(sampled: FloatMap, weight: FloatMap, offsets: Floats, typical: Floats) -> tuple[Floats, Floats]:
    """Least squares for level, slope, strength and shift of the typical line: the shift and its variance (n, m)."""
    basis = np.stack([np.ones_like(offsets), offsets / _REACH, typical, -np.gradient(typical)], axis=1)
    scale = np.maximum(np.abs(basis).max(axis=0), 1e-12)
    basis = basis / scale
    products = (basis[:, :, None] * basis[:, None, :]).reshape(len(offsets), -1)
    normal = (weight @ products).reshape(*weight.shape[:2], 4, 4) + 1e-9 * np.eye(4)
    right = (weight * sampled) @ basis.astype(np.float32)
    solution, spread = _solved(normal, right.astype(np.float64))
    residual = sampled - (solution @ basis.T).astype(np.float32)
    noise = (weight * residual**2).sum(axis=-1) / np.maximum(weight.sum(axis=-1), 1e-6)
    strength = solution[..., 2] / scale[2]
    clear = strength > _MIN_STRENGTH
    safe = np.where(clear, strength, 1.0)
    shift = solution[..., 3] / scale[3] / safe
    # Neighbouring pixels of an averaged, resampled profile are not independent: about half of them count.
    variance = noise * spread / (scale[3] * safe) ** 2 * _ACROSS_PX / 2
    return np.where(clear, shift, 0.0), np.where(clear, variance, np.inf)


def _solved(normal: Floats, right: Floats) -> tuple[Floats, Floats]:
    """Solutions (..., k) of positive definite systems (..., k, k), and the last diagonal element of their inverses.

    By elimination over all of them at once: thousands of small systems one by one take ten times as long.
    """
    matrix, known = np.moveaxis(normal, (-2, -1), (0, 1)).copy(), np.moveaxis(right, -1, 0).copy()
    size = len(known)
    for pivot in range(size):
        for row in range(pivot + 1, size):
            factor = matrix[row, pivot] / matrix[pivot, pivot]
            matrix[row, pivot:] -= factor * matrix[pivot, pivot:]
            known[row] -= factor * known[pivot]
    for row in reversed(range(size)):
        known[row] -= (matrix[row, row + 1 :] * known[row + 1 :]).sum(axis=0)
        known[row] /= matrix[row, row]
    return np.moveaxis(known, 0, -1), 1 / matrix[-1, -1]


def _surface(total: Floats, variance: Floats, axis: int, template: PageTemplate, settle: bool) -> tuple[Floats, float]:
    """Displacement of the nominal lattice (rows, columns) along one axis, and the share of the raster pattern.

    With ``settle``, how stiff it is, is chosen by how well nodes are predicted by their neighbours; else it is supple.
    """
    share = 0.0
    offsets = template.raster_offsets()
    if offsets is not None:
        pattern = np.broadcast_to(offsets[0] if axis == 0 else offsets[1][:, None], total.shape)
        share = _pattern_share(total, pattern, variance, axis)
        if share > _RASTER_SHARE:
            total = total - pattern
    weights = _believed(total, variance)
    values = total[..., None]
    smoothness = _SUPPLE
    if settle:
        fold = (np.arange(total.shape[0])[:, None] + np.arange(total.shape[1])) % 2
        smoothness = stiffest_that_predicts(values, weights, fold, _LADDER, farthest=1.0, begin=0, both=False)
    return smooth_lattice(values, weights + 1e-9, smoothness)[..., 0], share


def _believed(total: Floats, variance: Floats) -> Floats:
    """Weights (rows, columns) of measured nodes, 1 for a perfect one: by their variance, and by their neighbours."""
    known = np.isfinite(variance)
    weights = _precise(variance)
    _, apart = robust_lattice(total[..., None], weights, _BELIEVED, _DOUBT_PX)
    apart = np.minimum(apart, 10.0)
    scale = np.maximum(_OUTLIER_PX, _ROUGHLY * _around(apart, known))
    return np.where(known, weights / (1 + (apart / scale) ** 2) ** 2, 0.0)


def _precise(variance: Floats) -> Floats:
    """Weights (rows, columns) by the variance of a node's own measurement, 0 where there is none."""
    return np.asarray(_FLOOR_PX**2 / (variance + _FLOOR_PX**2), np.float64)


def _around(values: Floats, known: NDArray[np.bool_]) -> Floats:
    """Median (rows, columns) of the known values within ``_AROUND`` nodes, 0 where there are none."""
    side = 2 * _AROUND + 1
    padded = np.pad(np.where(known, values, np.inf), _AROUND, constant_values=np.inf)
    windows = np.sort(sliding_window_view(padded, (side, side)).reshape(*values.shape, -1), axis=-1)
    middle = np.maximum(np.isfinite(windows).sum(axis=-1, keepdims=True) - 1, 0) // 2
    median = np.take_along_axis(windows, middle, axis=-1)[..., 0]
    return np.where(np.isfinite(median), median, 0.0)


def _pattern_share(total: Floats, pattern: Floats, variance: Floats, axis: int) -> float:
    """How much of the raster's pattern (rows, columns) the lines show beside what is smooth: 1 is all of it.

    By the median of each line: nodes weighted by how well they agree with others would favour those where the paper's
    own bends make up for the pattern.
    """
    both = np.stack([total, pattern], axis=-1)
    # Smoothing is linear, so the rest for any factor is a combination of these two.
    rough, ripple = np.moveaxis(both - smooth_lattice(both, _precise(variance) + 1e-9, 30.0), -1, 0)
    known = np.isfinite(variance)
    if axis == 1:
        rough, ripple, known = rough.T, ripple.T, known.T  # lines across the second axis
    lines = known.sum(axis=0) >= 5
    shown, wanted = (median_of_known(np.where(known, part, np.nan)[:, lines], axis=0) for part in (rough, ripple))
    strength = float((wanted**2).sum())
    return float((shown * wanted).sum()) / strength if strength > 1e-12 else 0.0


def _grown(ink: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray(cv2.dilate(ink, np.ones((_INK_GROWN_PX, _INK_GROWN_PX), np.uint8)) > _INK)


@lru_cache(maxsize=4)
def _on_lines(template: PageTemplate) -> NDArray[np.uint8]:
    """(height / 2, width / 2) uint8, every second pixel: 255 within ``_LINE_ZONE_PX`` of a 5 mm line, else 0."""
    apart_x, apart_y = line_distances(template, 2)
    return np.where((apart_y[:, None] <= _LINE_ZONE_PX) | (apart_x <= _LINE_ZONE_PX), 255, 0).astype(np.uint8)


def _open(
    bright: NDArray[np.uint8], valid: NDArray[np.bool_], ink: NDArray[np.bool_] | None, template: PageTemplate
) -> tuple[NDArray[np.uint8], bool]:
    """Where the flat page may be read: inside the picture, off the known ink, off what is darker than lines are.

    Args:
        bright: (height, width) uint8, the brightest channel, in which lines of any colour are paler than ink.
        valid: same shape, inside the picture.
        ink: same shape, known ink; None where it is not known.
        template: the printed page.

    Returns:
        (height, width) uint8, 255 where it may be read; and whether ink was told from lines by how dark it is.
    """
    free = valid if ink is None else valid & ~ink
    open_ = np.asarray(cv2.multiply(free.view(np.uint8), 255.0), np.uint8)
    size = (bright.shape[1], bright.shape[0])
    half, eighth = ((size[0] // part, size[1] // part) for part in (2, 8))
    # Strokes are several pixels wide, so half of the resolution shows them all.
    seen = cv2.resize(open_, half, interpolation=cv2.INTER_AREA)
    paper = cv2.resize(bright, half, interpolation=cv2.INTER_AREA)

    def low(values: NDArray[Any]) -> FloatMap:
        small = cv2.resize(values, eighth, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.blur(small.astype(np.float32), (7, 7)), np.float32)

    around = low(cv2.multiply(paper, seen, scale=1 / 255)) / (low(seen) / np.float32(255) + np.float32(1e-3))
    background = cv2.resize(np.clip(around, 0, 255).astype(np.uint8), half, interpolation=cv2.INTER_LINEAR)
    darkness = max(_DARK, _DARKER * _line_darkness(paper, background, template))
    if darkness >= _AS_DARK:
        return open_, False
    limit = cv2.multiply(background, 1 - darkness)
    dark = cv2.bitwise_and(cv2.compare(paper, limit, cv2.CMP_LT), cv2.compare(seen, 127, cv2.CMP_GT))
    count = cv2.countNonZero(dark)
    if count and cv2.countNonZero(cv2.bitwise_and(dark, _on_lines(template))) > _LINES_DARK * count:
        return open_, False
    dark = cv2.dilate(dark, np.ones((5, 5), np.uint8))
    # Where so much is dark it is the thin lines too, or mould.
    if cv2.countNonZero(dark) >= _MAX_DARK_SHARE * dark.size:
        return open_, False
    return np.asarray(cv2.subtract(open_, cv2.resize(dark, size, interpolation=cv2.INTER_NEAREST)), np.uint8), True


def _line_darkness(paper: NDArray[np.uint8], background: NDArray[np.uint8], template: PageTemplate) -> float:
    """The share of the paper's brightness that lines take, by the 90th percentile of their pixels.

    Args:
        paper: (height / 2, width / 2) uint8, a flat page's brightest channel.
        background: same shape, the brightness around.
        template: the printed page.
    """
    nodes = template.lattice() / 2 - 0.25  # pixel edges coincide
    columns, rows = np.round(nodes[0, 1:-1, 0]).astype(int), np.round(nodes[1:-1, 0, 1]).astype(int)
    along = slice(2, None, 4)
    shown, around = (
        np.concatenate([plane[along][:, columns].ravel(), plane[rows][:, along].ravel()]).astype(np.float32)
        for plane in (paper, background)
    )
    return float(np.percentile(1 - shown / np.maximum(around, 1), 90))


def _flattened(lit: NDArray[np.uint8], open_: NDArray[np.uint8]) -> tuple[FloatMap, FloatMap]:
    """How dark upright lines are against their surroundings, several pixels along them averaged to one.

    Args:
        lit: (height, width) uint8, how dark the page is where it may be read, else 0.
        open_: same shape, 255 where it may be read, else 0.

    Returns:
        The darkness, in units of the local contrast, times the share that may be read, and that share, each
        (height / ``_TOGETHER``, width) float32.
    """
    read, share = _averaged(lit), _averaged(open_) / np.float32(255)
    size = (read.shape[1], read.shape[0])
    less = (size[0] // 4, size[1])

    def low(values: FloatMap) -> FloatMap:
        return np.asarray(cv2.resize(values, less, interpolation=cv2.INTER_AREA), np.float32)

    seen = low(share)
    level = cv2.GaussianBlur(low(read), (0, 0), 4.0, sigmaY=2.0) / (
        cv2.GaussianBlur(seen, (0, 0), 4.0, sigmaY=2.0) + 1e-3
    )
    read -= cv2.resize(level, size, interpolation=cv2.INTER_LINEAR) * share
    contrast = cv2.blur(low(np.abs(read)), (61, 31)) / (cv2.blur(seen, (61, 31)) + 1e-3)
    # The contrast is a mean over 244 px: its steps from one cell to the next are nothing, and cost a third.
    read *= cv2.resize(1 / (contrast + np.float32(1.0)), size, interpolation=cv2.INTER_NEAREST)
    return np.asarray(np.clip(read, -6, 6, out=read), np.float32), share


def _averaged(plane: NDArray[np.uint8]) -> FloatMap:
    """The mean (height / ``_TOGETHER``, width) float32 of so many rows of a plane; left over rows are left out."""
    whole = plane.shape[0] // _TOGETHER * _TOGETHER
    total = cv2.add(plane[0:whole:_TOGETHER], plane[1:whole:_TOGETHER], dtype=cv2.CV_16U)
    for row in range(2, _TOGETHER):
        total = cv2.add(total, plane[row:whole:_TOGETHER], dtype=cv2.CV_16U)
    return total.astype(np.float32) / np.float32(_TOGETHER)
