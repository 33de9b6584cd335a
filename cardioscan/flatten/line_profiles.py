"""How far single printed lines stand from where a flat page should have them, node by node.

A printed line is a pixel or two wide, so its own profile says where it is to a fraction of a pixel: along a short
stretch of it the page is averaged into a profile across, and the profile of the page's typical line (with the thin
lines around it) is fitted to that by least squares, with place, strength, level and slope free. That places single
nodes to 0.03 to 0.1 px, and tells how sure each is.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import spline_filter1d

from cardioscan.arrays import FloatMap, Floats
from cardioscan.page.sheet import Sheet

__all__ = ["measure_lines"]


_ALONG_PX: Final = 16.0
"""Deviation of the window along a line: neighbouring nodes share next to nothing, so they can check each other."""
_AVERAGED_PX: Final = 8
"""So many pixels along a line are averaged before the window is laid over them."""
_PROFILE_BLUR: Final = 0.45
"""Deviation, px, of a Gaussian across the lines: with it a spline through the pixels follows a line a pixel wide."""
_ACROSS_PX: Final = 9.0
_HALF_PROFILE_PX: Final = 20
_N_FITS: Final = 3
_SAMPLE_STEP: Final = 5
"""Every fifth node tells what is typical of all of them; 5 divides neither 44 nor 57, so no line is left out."""
_MAX_STEP_PX: Final = 1.5
_MAX_MOVE_PX: Final = 5.0
_MIN_STRENGTH: Final = 0.15
_MIN_PROFILE: Final = 1e-3
"""A typical profile no higher than this, in units of the local contrast, is rounding."""
_MIN_READABLE_SHARE: Final = 0.2
"""Of a window so much is enough: the variance tells how little is known."""
_RIM_PX: Final = 6.0


def measure_lines(
    dark: NDArray[np.uint8], readable: NDArray[np.uint8], axis: int, sheet: Sheet
) -> tuple[Floats, Floats]:
    """How far each printed line stands from its nominal place, at every node by itself.

    Args:
        dark: (height, width) uint8, the flat page's darkest channel, in which a line of any colour is dark.
        readable: same shape, 255 where the page may be read, else 0.
        axis: 0 for the vertical lines (displacement in x), 1 for the horizontal ones (in y).
        sheet: the printed page.

    Returns:
        Displacement and its variance, each (n_horizontal_lines, n_vertical_lines) float64, px and px^2; positive
        where the line stands to the right or below. The variance is infinite, and the displacement 0, where no line
        can be measured.
    """
    nodes = sheet.lattice()
    places, centres = nodes[0, :, 0], nodes[:, 0, 1]
    masked = cv2.bitwise_and(cv2.bitwise_not(dark), readable)
    if axis == 0:
        return _measure(*_high_passed(masked, readable), places, centres)
    displacement, variance = _measure(*_high_passed(cv2.transpose(masked), cv2.transpose(readable)), centres, places)
    return displacement.T, variance.T


def _measure(read: FloatMap, readable: FloatMap, places: Floats, centres: Floats) -> tuple[Floats, Floats]:
    """Lines across the second axis at ``places`` (m,), averaged along the first around ``centres`` (n,): (n, m).

    ``read`` is how dark the page is where it may be read, else 0; of it and of ``readable``, ``_AVERAGED_PX`` pixels
    along the first axis have been averaged to one.
    """
    length, size = read.shape
    along = _AVERAGED_PX * np.arange(length) + (_AVERAGED_PX - 1) / 2
    window = np.exp(-0.5 * ((along - centres[:, None]) / _ALONG_PX) ** 2).astype(np.float32)
    seen = window @ readable
    profiles = np.asarray(cv2.GaussianBlur((window @ read) / np.maximum(seen, 1e-3), (5, 1), _PROFILE_BLUR), np.float32)
    seen = seen / np.maximum(window.sum(axis=1, keepdims=True), 1e-6)

    offsets = np.arange(-_HALF_PROFILE_PX, _HALF_PROFILE_PX + 1).astype(np.float64)
    taper = np.exp(-0.5 * (offsets / _ACROSS_PX) ** 2)
    nominal = places[:, None] + offsets
    column = np.clip(np.round(nominal), 0, size - 1).astype(int)
    inside = (nominal >= _RIM_PX) & (nominal <= size - 1 - _RIM_PX)
    weight = (seen[:, column] * inside * taper).astype(np.float32)
    share = weight.sum(axis=-1) / taper.sum()
    usable = share > _MIN_READABLE_SHARE

    strips = _Strips(profiles, places)
    displacement = np.zeros(usable.shape)
    variance = np.full(usable.shape, np.inf)
    if not usable.any():
        return displacement, variance
    some = tuple(place[::_SAMPLE_STEP] for place in np.nonzero(usable))
    for turn in range(_N_FITS):
        sampled = strips.at(displacement)
        if turn == 0:
            # What all lines share is found first: a profile made symmetric about the wrong place has two humps.
            displacement += _common_shift(sampled[some], taper)
            sampled = strips.at(displacement)
        typical = _typical_line(sampled[some], taper)
        if np.abs(typical).max() < _MIN_PROFILE:
            return np.zeros(usable.shape), np.full(usable.shape, np.inf)
        step, variance = _fit_line(sampled, weight, offsets, typical)
        # What covers part of a window also darkens what is left of it, which the residual does not show.
        variance = np.where(usable, variance / np.maximum(share, _MIN_READABLE_SHARE), np.inf)
        step = np.where(np.isfinite(variance), np.clip(step, -_MAX_STEP_PX, _MAX_STEP_PX), 0.0)
        displacement = np.clip(displacement + step, -_MAX_MOVE_PX, _MAX_MOVE_PX)
    return np.where(np.isfinite(variance), displacement, 0.0), variance


class _Strips:
    """The stretches of profiles (n, size) around places (m,), sampled with an offset by a cubic spline.

    All samples of one stretch stand at the same fraction of a pixel, so they share the spline's four weights. Outside
    the profile its last value goes on.
    """

    _PAD: Final = _HALF_PROFILE_PX + round(_MAX_MOVE_PX) + 4

    def __init__(self, profiles: FloatMap, places: Floats) -> None:
        padded = np.pad(profiles, ((0, 0), (self._PAD, self._PAD)), mode="edge")
        coefficients = spline_filter1d(padded, order=3, axis=1, mode="nearest", output=np.float32)
        self._stretches = sliding_window_view(coefficients, 2 * _HALF_PROFILE_PX + 4, axis=1)
        self._places = places + self._PAD - _HALF_PROFILE_PX - 1

    def at(self, displacement: Floats) -> FloatMap:
        """Samples (n, m, 2 _HALF_PROFILE_PX + 1) float32 of the stretches moved by (n, m) px."""
        start = self._places + displacement
        first = np.clip(np.floor(start).astype(np.int64), 0, self._stretches.shape[1] - 1)
        t = np.clip(start - first, 0.0, 1.0)[..., None].astype(np.float32)
        taken = self._stretches[np.arange(len(first))[:, None], first]
        weights = [(1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (1 + 3 * t + 3 * t**2 - 3 * t**3) / 6, t**3 / 6]
        width = 2 * _HALF_PROFILE_PX + 1
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
    basis = np.stack([np.ones_like(offsets), offsets / _HALF_PROFILE_PX, typical, -np.gradient(typical)], axis=1)
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


def _high_passed(masked: NDArray[np.uint8], readable: NDArray[np.uint8]) -> tuple[FloatMap, FloatMap]:
    """How dark upright lines are against their surroundings, several pixels along them averaged to one.

    Args:
        masked: (height, width) uint8, how dark the page is where it may be read, else 0.
        readable: same shape, 255 where it may be read, else 0.

    Returns:
        The darkness, in units of the local contrast, times the share that may be read, and that share, each
        (height / ``_AVERAGED_PX``, width) float32.
    """
    read, share = _averaged(masked), _averaged(readable) / np.float32(255)
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
    """The mean (height / ``_AVERAGED_PX``, width) float32 of so many rows of a plane; left over rows are left out."""
    whole = plane.shape[0] // _AVERAGED_PX * _AVERAGED_PX
    total = cv2.add(plane[0:whole:_AVERAGED_PX], plane[1:whole:_AVERAGED_PX], dtype=cv2.CV_16U)
    for row in range(2, _AVERAGED_PX):
        total = cv2.add(total, plane[row:whole:_AVERAGED_PX], dtype=cv2.CV_16U)
    return total.astype(np.float32) / np.float32(_AVERAGED_PX)
