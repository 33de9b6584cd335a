"""Refining the lattice by the phase of the printed grid.

On a page flattened by the lattice at hand, the 5 mm lines should stand exactly one pitch apart. Around every node a
wave of that pitch is fitted to the page in a Gaussian window (a windowed Fourier transform); its phase says by how
much the lines there are displaced, to a tenth of a pixel where the grid is visible. The nodes move by it, the page is
flattened anew, with a smaller window, until nothing moves.

What is measured is a displacement modulo one pitch, so the lattice must come within half a square of the truth, or at
least do so somewhere from where the phase can be followed (unwrapped) to the rest.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cardioscan.geometry import Floats, robust_lattice, shrink, smooth_lattice, transform_points
from cardioscan.page import STANDARD_PAGE, PageTemplate
from cardioscan.rectification import dense_map, map_ratio

FloatMap = NDArray[np.float32]

_STEP: Final = 2
"""The phase is measured on every second pixel of the page: a pitch is still 20 of them."""

_MARGIN_PX: Final = 8.0
"""The rim of the page is not read: where paper ends, its edge outshines the line beside it."""

_SIGMAS: Final = (60.0, 28.0)
_SETTLED_PX: Final = 0.5
_HARMONICS: Final = 3
_BETWEEN: Final = (1.5, 2.5)
"""Multiples of the grid's frequency where a grid has nothing: what is found there is noise, text and trace."""

_NOISE_SIGMA: Final = 50.0
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
            text are; they are left out, or every QRS would bend the lines beside it. Without it, colour keeps the ink
            of a coloured grid out and averaging must do on a grey one.
        rounds: at most so many; the window shrinks from 60 to 28 px over them.
        ink_margin_px: how far the ink is grown before it is left out, px of the reference frame.

    Returns:
        The nodes, same shape, and a report.
    """
    start = np.asarray(nodes, np.float64)
    ratio = map_ratio(dense_map(start, template, template.width, template.height, _STEP))
    small, shrinking = shrink(image, ratio / 1.2)
    current = transform_points(shrinking, start)
    flat = template.lattice()
    blocked = None if ink is None else _grown(ink, ink_margin_px, template)
    done: list[PhaseRound] = []
    source = ""
    confidence = np.zeros(flat.shape[:2], np.float32)
    best, best_flat = current, flat
    sigmas = np.geomspace(*_SIGMAS, num=rounds) if rounds > 1 else np.array(_SIGMAS[1:])
    place, converged = 0, False
    while place < len(sigmas):
        sigma = float(sigmas[place])
        maps = dense_map(current, template, template.width, template.height, _STEP)
        page = cv2.remap(small, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        open_ = _inside(maps, small.shape[:2])
        if blocked is not None:
            across, down = dense_map(flat, template, template.width, template.height, _STEP)
            open_ *= 1 - cv2.remap(blocked, across / _STEP, down / _STEP, cv2.INTER_LINEAR)
        candidates = _sources(np.asarray(page, np.uint8))
        names = [source] if source else list(candidates)
        measured = [_measure(candidates[name], open_, template, sigma) for name in names]
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


def measure_displacement(
    page: NDArray[np.uint8],
    template: PageTemplate = STANDARD_PAGE,
    ink: NDArray[Any] | None = None,
    sigma: float = 28.0,
) -> tuple[Floats, Floats]:
    """How far the printed lines of a flat page stand from their nominal places.

    Args:
        page: (height, width, 3) uint8, the flat page in the reference frame.
        template: the printed page.
        ink: (height, width), as for :func:`refine_nodes`, already grown as far as wanted.
        sigma: of the Gaussian window, px.

    Returns:
        Displacement (n_horizontal_lines, n_vertical_lines, 2) float64, (x, y) px, each modulo one pitch into
        -pitch/2..pitch/2 (positive: the line stands to the right, below), and the confidence of each, same shape, 0..1.
    """
    small = cv2.blur(page, (_STEP, _STEP), anchor=(0, 0))[::_STEP, ::_STEP]
    open_ = np.ones(small.shape[:2], np.float32)
    if ink is not None:
        open_ = 1 - _grown(ink, 0.0, template)
    results = [_measure(field, open_, template, sigma) for field in _sources(np.asarray(small, np.uint8)).values()]
    wrapped, trust = max(results, key=lambda result: float(result[1].min(axis=0).mean()))
    pitch = template.grid_pitch
    shifted = wrapped + (_STEP - 1) / 2  # the mean of neighbouring pixels lies between them
    return np.moveaxis((shifted + pitch / 2) % pitch - pitch / 2, 0, -1), np.moveaxis(trust, 0, -1)


def _grown(ink: NDArray[Any], margin_px: float, template: PageTemplate) -> FloatMap:
    """The ink map in 0..1, grown by a margin, at every ``_STEP``-th pixel."""
    values = np.asarray(ink)
    values = values.astype(np.float32) / (255 if values.dtype == np.uint8 else 1)
    if values.shape != (template.height, template.width):
        raise ValueError(f"the ink map is {values.shape}, the page {(template.height, template.width)}")
    small = cv2.dilate(values, np.ones((_STEP, _STEP), np.uint8))[::_STEP, ::_STEP]
    reach = round(margin_px / _STEP)
    if reach > 0:
        small = cv2.dilate(small, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1)))
    return np.clip(small, 0, 1)


def _inside(maps: tuple[FloatMap, FloatMap], shape: tuple[int, ...]) -> FloatMap:
    x, y = maps
    return ((x >= 0) & (x <= shape[1] - 1) & (y >= 0) & (y <= shape[0] - 1)).astype(np.float32)


def _sources(page: NDArray[np.uint8]) -> dict[str, FloatMap]:
    """What a grid may stand out in: colour (black ink has none), and the darkness of the darkest channel."""
    channels = [np.ascontiguousarray(page[..., channel]) for channel in range(page.shape[2])]
    low, high = channels[0], channels[0]
    for channel in channels[1:]:
        low, high = np.minimum(low, channel), np.maximum(high, channel)
    return {"chroma": (high - low).astype(np.float32), "darkness": (255 - low).astype(np.float32)}


def _flattened(field: FloatMap, open_: FloatMap) -> FloatMap:
    """High-passed and locally normalised, 0 where nothing may be read."""
    sigma = 20.0 / _STEP
    share = cv2.GaussianBlur(open_, (0, 0), sigma) + 1e-3
    level = cv2.GaussianBlur(field * open_, (0, 0), sigma) / share
    rest = (field - level) * open_
    wide = (121, 121)
    contrast = cv2.blur(np.abs(rest), wide) / (cv2.blur(open_, wide) + 1e-3)
    return np.asarray(np.clip(rest / (contrast + 0.5), -4, 4), np.float32)


@lru_cache(maxsize=32)
def _windows(
    count: int, start: float, pitch: float, size: int, sigma: float
) -> tuple[NDArray[np.complex128], NDArray[np.complex128], Floats, Floats]:
    """Weights along one axis, per line: the wave's fit, the noise's (per frequency), the mean; how whole a window is.

    The wave of one pitch is fitted together with a level, a trend and its harmonics, so that a window cut by the
    edge of the page, where those are not orthogonal, does not shift the phase.
    """
    places = np.arange(0, size, _STEP, dtype=np.float64)
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
        whole[line] = window.sum() * _STEP / (sigma * np.sqrt(2 * np.pi))
        window = np.exp(-0.5 * (x / _NOISE_SIGMA) ** 2) * inside
        for place, multiple in enumerate(_BETWEEN):
            noise[place, line] = 2 * window / window.sum() * np.exp(1j * multiple * omega * x)
    return fit, noise, mean, whole


def _measure(field: FloatMap, open_: FloatMap, template: PageTemplate, sigma: float) -> tuple[Floats, Floats]:
    """Displacement modulo one pitch and confidence, each (2, rows, columns): x of vertical lines, y of the others."""
    pitch = template.grid_pitch
    flat = _flattened(field, open_)
    fit_x, noise_x, mean_x, whole_x = _windows(
        template.n_vertical_lines, template.grid_x0, pitch, template.width, sigma
    )
    fit_y, noise_y, mean_y, whole_y = _windows(
        template.n_horizontal_lines, template.grid_y0, pitch, template.height, sigma
    )
    down, across = mean_y.astype(np.float32), mean_x.astype(np.float32)
    by_row = (down @ flat) / np.maximum(down @ open_, 0.1)
    by_column = (flat @ across.T) / np.maximum(open_ @ across.T, 0.1)
    waves = [by_row @ fit_x.T, fit_y @ by_column]
    floors = [np.mean([np.abs(by_row @ n.T) for n in noise_x], axis=0)]
    floors.append(np.mean([np.abs(n @ by_column) for n in noise_y], axis=0))
    # How much of each window lies on the page and is open: a half window measures, but far less well.
    seen = (down @ open_ @ across.T) * np.minimum(whole_y[:, None], whole_x)
    displacement, confidence = [], []
    for wave, floor in zip(waves, floors, strict=True):
        displacement.append(np.angle(wave) / (2 * np.pi) * pitch)
        clear = np.abs(wave) / (cv2.GaussianBlur(floor, (0, 0), 1.0) + 1e-6)
        confidence.append(np.clip((clear - 1.5) / 4, 0, 1) * np.clip(2 * seen - 0.6, 0, 1))
    return np.stack(displacement), np.stack(confidence).astype(np.float64)


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
