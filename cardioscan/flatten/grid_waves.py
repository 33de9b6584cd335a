"""The phase of a printed grid: how far its lines stand from where they should, measured on a flat page.

Around every node a wave of one pitch is fitted in a Gaussian window (a windowed Fourier transform). Everything is
measured on every :data:`STEP`-th pixel.
"""

from __future__ import annotations

import heapq
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cardioscan.arrays import FloatMap, Floats
from cardioscan.imaging.channels import channel_range
from cardioscan.page.sheet import Sheet

STEP: Final = 4
"""The phase is measured on every fourth pixel of the page: a pitch is still ten of them; every second is no better."""

BLUR: Final = 0.8
"""Deviation of the Gaussian that goes before, in steps: lines are a pixel or two wide, and their aliases move them."""

_MARGIN_PX: Final = 8.0
"""The rim of the page is not read: where paper ends, its edge outshines the line beside it."""

_HARMONICS: Final = 3
_BETWEEN: Final = (1.5, 2.5)
"""Multiples of the grid's frequency where a grid has nothing: what is found there is noise, text and trace."""

_NOISE_SIGMA: Final = 50.0
_LINE_ZONE_PX: Final = 5.0
_BOX_PX: Final = 40.0
"""Three boxes of this side, each with a variance of side^2 / 12, have a deviation of 20 px together."""
_MAX_INK_SHARE: Final = 0.35
_MIN_CHROMA_SHARE: Final = 0.3
_INK_DROP: Final = 0.2


def grid_sources(page: NDArray[np.uint8]) -> dict[str, FloatMap]:
    """What a grid may stand out in: colour (black ink has none), if any, and darkness of the darkest channel."""
    low, high = channel_range(page)
    sources = {"chroma": (high - low).astype(np.float32), "darkness": (255 - low).astype(np.float32)}
    contrast = {name: float(np.abs(field - cv2.blur(field, _box(42.0))).mean()) for name, field in sources.items()}
    if contrast["chroma"] < _MIN_CHROMA_SHARE * contrast["darkness"]:
        del sources["chroma"]  # a tinted grey page: its colour is its brightness over again, but coarser
    return sources


def _box(side_px: float) -> tuple[int, int]:
    """An odd window of about so many px of the page, in steps of ``STEP``."""
    side = 2 * round((side_px / STEP - 1) / 2) + 1
    return side, side


def _readable_mean(field: FloatMap, readable: FloatMap) -> FloatMap:
    """Mean of a field (h, w) over two squares around each pixel, where it may be read."""
    around = _box(82.0)
    return np.asarray(cv2.blur(field * readable, around) / (cv2.blur(readable, around) + 1e-3), np.float32)


def _dilated_ink(ink: FloatMap) -> FloatMap:
    """Ink (h, w), 0 or 1, grown by 10 px; all zero where that is too much of the page to be ink."""
    grown = cv2.dilate(ink, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, _box(21.0)))
    return np.asarray(grown if grown.mean() < _MAX_INK_SHARE else np.zeros_like(grown), np.float32)


def _gaussian_blur(field: FloatMap) -> FloatMap:
    """Blurred by three boxes, which together are a bell of 20 px deviation; a Gaussian's costs 2.5 times as much."""
    for _ in range(3):
        field = np.asarray(cv2.blur(field, _box(_BOX_PX)), np.float32)
    return field


def _high_passed(field: FloatMap, readable: FloatMap) -> FloatMap:
    """High-passed and locally normalised, 0 where nothing may be read."""
    share = _gaussian_blur(readable) + 1e-3
    level = _gaussian_blur(field * readable) / share
    rest = (field - level) * readable
    wide = _box(242.0)
    contrast = cv2.blur(np.abs(rest), wide) / (cv2.blur(readable, wide) + 1e-3)
    return np.asarray(np.clip(rest / (contrast + 0.5), -6, 6), np.float32)


def colourless_ink(page: NDArray[np.uint8], readable: FloatMap) -> FloatMap:
    """Ink of a page with a coloured grid: what is dark in its brightest channel, grown by 10 px.

    Colour alone does not keep the ink out: where a steep QRS covers a vertical line, the colour is missing on one side
    of it, and the beats of all rows stand at the same places. All zero where too much of the page answers to that.
    """
    high = channel_range(page)[1].astype(np.float32)
    background = _readable_mean(high, readable)
    ink = (background - high > _INK_DROP * np.maximum(background, 1)).astype(np.float32) * readable
    return _dilated_ink(ink)


def off_grid_ink(darkness: FloatMap, readable: FloatMap, sheet: Sheet) -> FloatMap:
    """Ink of a grey page whose lines are nearly where they should be: as dark as the lines, but away from them.

    All zero where so much of the page answers to that, that it is not ink (a coarse screen, noise).
    """
    background = _readable_mean(darkness, readable)
    rest = (darkness - background) * readable
    distance_x, distance_y = sheet.line_distances(STEP)
    line = float(np.median(rest[:, distance_x <= 1.0]) + np.median(rest[distance_y <= 1.0])) / 2
    between = (distance_y[:, None] > _LINE_ZONE_PX) & (distance_x > _LINE_ZONE_PX)
    ink = ((rest > 0.8 * max(line, 8.0)) & between).astype(np.float32)
    return _dilated_ink(ink)


@lru_cache(maxsize=32)
def _windows(
    count: int, start: float, pitch: float, size: int, sigma: float
) -> tuple[NDArray[np.complex128], NDArray[np.complex128], Floats, Floats]:
    """Weights along one axis, per line: the wave's fit, the noise's (per frequency), the mean; how whole a window is.

    The wave of one pitch is fitted together with a level, a trend and its harmonics, so that a window cut by the
    edge of the page, where those are not orthogonal, does not shift the phase.
    """
    places = np.arange(0, size, STEP, dtype=np.float64)
    inside = (places >= _MARGIN_PX) & (places <= size - 1 - _MARGIN_PX)
    omega = 2 * np.pi / pitch
    fit = np.empty((count, len(places)), np.complex128)
    noise = np.empty((len(_BETWEEN), count, len(places)), np.complex128)
    mean = np.empty((count, len(places)))
    whole = np.empty(count)
    for line in range(count):
        x = places - (start + pitch * line)
        window = np.exp(-0.5 * (x / sigma) ** 2) * inside
        basis = [np.ones_like(x), x / sigma]
        for order in range(1, _HARMONICS + 1):
            basis += [np.cos(order * omega * x), np.sin(order * omega * x)]
        design = np.stack(basis)
        normal = (design * window) @ design.T
        solved = np.linalg.solve(normal + 1e-3 * np.trace(normal) / len(basis) * np.eye(len(basis)), design * window)
        fit[line] = solved[2] + 1j * solved[3]
        mean[line] = window / window.sum()
        whole[line] = window.sum() * STEP / (sigma * np.sqrt(2 * np.pi))
        window = np.exp(-0.5 * (x / _NOISE_SIGMA) ** 2) * inside
        for place, multiple in enumerate(_BETWEEN):
            noise[place, line] = 2 * window / window.sum() * np.exp(1j * multiple * omega * x)
    return fit, noise, mean, whole


def measure_waves(field: FloatMap, readable: FloatMap, sheet: Sheet, sigma: float) -> tuple[Floats, Floats]:
    """Displacement modulo one pitch, px, and clarity in 0..1, each (2, rows, columns).

    The first axis holds the vertical lines (moved along x), then the horizontal ones (along y).
    """
    pitch = sheet.pitch
    flat = _high_passed(field, readable)
    fit_x, noise_x, mean_x, whole_x = _windows(sheet.n_vertical_lines, sheet.x0, pitch, sheet.width, sigma)
    fit_y, noise_y, mean_y, whole_y = _windows(sheet.n_horizontal_lines, sheet.y0, pitch, sheet.height, sigma)
    down, across = mean_y.astype(np.float32), mean_x.astype(np.float32)
    by_row = (down @ flat) / np.maximum(down @ readable, 0.1)
    by_column = (flat @ across.T) / np.maximum(readable @ across.T, 0.1)
    waves = [by_row @ fit_x.T, fit_y @ by_column]
    floors = [np.mean([np.abs(by_row @ n.T) for n in noise_x], axis=0)]
    floors.append(np.mean([np.abs(n @ by_column) for n in noise_y], axis=0))
    # How much of each window lies on the page and is open: a half window measures, but far less well.
    seen = (down @ readable @ across.T) * np.minimum(whole_y[:, None], whole_x)
    displacement, clarity = [], []
    for wave, floor in zip(waves, floors, strict=True):
        displacement.append(np.angle(wave) / (2 * np.pi) * pitch)
        clear = np.abs(wave) / (cv2.GaussianBlur(floor, (0, 0), 1.0) + 1e-6)
        clarity.append(np.clip((clear - 1.5) / 4, 0, 1) * np.clip(2 * seen - 0.6, 0, 1))
    return np.stack(displacement), np.stack(clarity).astype(np.float64)


def unwrap(wrapped: Floats, quality: Floats, pitch: float, seeds: NDArray[np.bool_], floor: float = 0.1) -> Floats:
    """Undo the modulus of displacements on a lattice, following the best nodes first.

    Args:
        wrapped: (rows, columns), modulo ``pitch``.
        quality: (rows, columns); nodes below ``floor`` are not entered.
        pitch: the modulus.
        seeds: (rows, columns) bool: nodes whose displacement is known to be small. Each connected region is shifted so
            that the median over its seeds (over all of it where it has fewer than three) is within half a pitch of 0.
        floor: see ``quality``.

    Returns:
        (rows, columns) float64, NaN where the quality is below the floor.
    """
    rows, columns = wrapped.shape
    valid = quality >= floor
    calm = all(
        np.abs(np.diff(wrapped, axis=axis))[np.minimum(np.roll(valid, -1, axis), valid)[_but_last(axis)]].max(initial=0)
        < pitch / 2
        for axis in (0, 1)
    )
    if calm and np.abs(wrapped).max(initial=0) <= pitch / 2:
        return np.where(valid, wrapped, np.nan)  # nothing leaps, so nothing was wrapped
    known, goodness, done = wrapped.ravel().tolist(), quality.ravel().tolist(), [False] * wrapped.size
    result = np.full(wrapped.size, np.nan)
    for first in np.argsort(-quality, axis=None, kind="stable").tolist():
        if goodness[first] < floor:
            break
        if done[first]:
            continue
        region, values = [], []
        queue = [(-goodness[first], first, known[first])]
        while queue:
            _, node, near = heapq.heappop(queue)
            if done[node]:
                continue
            done[node] = True
            here = known[node] + pitch * round((near - known[node]) / pitch)
            region.append(node)
            values.append(here)
            j, i = divmod(node, columns)
            for beside, exists in (
                (node - columns, j > 0),
                (node + columns, j < rows - 1),
                (node - 1, i > 0),
                (node + 1, i < columns - 1),
            ):
                if exists and not done[beside] and goodness[beside] >= floor:
                    heapq.heappush(queue, (-goodness[beside], beside, here))
        heights = np.array(values)
        certain = seeds.ravel()[region]
        middle = np.median(heights[certain] if certain.sum() >= 3 else heights)
        result[region] = heights - pitch * np.round(middle / pitch)
    return result.reshape(rows, columns)


def _but_last(axis: int) -> tuple[slice, slice]:
    return (slice(None, -1), slice(None)) if axis == 0 else (slice(None), slice(None, -1))
