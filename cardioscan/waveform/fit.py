"""Analysis by synthesis: the samples whose pen strokes have the edges that were seen.

The unknowns are the heights of a row's samples at 500 Hz. Drawing them with a round pen gives the upper and the lower
edge of the stroke in every column; the fit moves the samples until these match the measured edges. Where an edge comes
from is one contact of the pen's disc with the curve, so the edges are piecewise linear in the unknowns and each round
is a banded linear least squares problem (Gauss-Newton). A penalty on the second difference, loose where the first
decoding bends, carries the curve across what the pen hides; edges that do not fit lose weight (Cauchy).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded
from scipy.ndimage import maximum_filter1d
from scipy.special import ndtri

from cardioscan.arrays import Floats
from cardioscan.waveform.pen import Stroke

ROUNDS = 5  # of analysis by synthesis; 0 leaves the first decoding as it is
OUTLIER = 3.0  # residuals beyond so many standard errors lose weight (Cauchy)
_EDGE_SIGMA_PX = 0.25  # standard error of an edge's height on a flat stroke
_EDGE_SIGMA_X_PX = 0.2  # standard error of an edge's place along x, which weighs by the steepness
_BLUR_PX = 0.4  # standard deviation along x of the blur that the coverage is taken to have
_BEND_SIGMA_PX = 1.0  # expected second difference of a quiet signal from sample to sample
_BEND_SHARE = 0.35  # of the bend found by the first decoding, so much is expected in addition
_POINTS_PER_COLUMN = 4  # places across a column whose middle stands for it
_CONTACT_ANGLES = 11  # points of the pen's disc that may touch, at equal angles
_OUTSIDE_PX = 1e6
_ONE, _OTHER = np.triu_indices(4)  # pairs of the samples that an edge is made of
_DIFFERENT = (_ONE != _OTHER)[:, None]
_BOUNDARY_WEIGHT = 0.1  # weight of edges to which the pen of the neighbouring lead, or a bar, may have contributed
_BOUNDARY_PX = 0.5  # how far beyond the pen's radius the neighbour's goes
_BAR_PX = 1.6  # how far beyond it a bar goes
_HIDDEN_PX = 1.4  # half of the width of a bar under which nothing at all is seen
_HIDDEN_INK = 0.98  # coverage below is a guess: nine in ten of 162 bars of photographs have less than 0.67
_HOLD_SAMPLES = 3  # samples whose mean is held


@dataclass(frozen=True)
class Curves:
    """The samples of a row: curves drawn one after the other, the pen lifted between them.

    Attributes:
        x: (n,) float64 px, rising.
        first: (m,) index of each curve's first sample, rising, ``first[0] == 0``.
        hidden: (m - 1,) bool: whether the lift after each curve lies under a bar that hides the ink.
    """

    x: Floats
    first: NDArray[np.int64]
    hidden: NDArray[np.bool_]

    @property
    def last(self) -> NDArray[np.int64]:
        """(m,) index of each curve's last sample."""
        return np.append(self.first[1:], self.x.size) - 1

    def owner(self, columns: Floats) -> NDArray[np.int64]:
        """Which curve each column (px) belongs to: the last one that has begun."""
        return np.clip(np.searchsorted(self.x[self.first], columns + 1e-6, side="right") - 1, 0, self.first.size - 1)


@dataclass(frozen=True)
class _Edges:
    """Drawn edges (m,): their heights, and the samples (4, m) and weights (4, m) they are made of."""

    height: Floats
    sample: NDArray[np.int64]
    weight: Floats


class _Pen:
    """Draws samples: the edges of the stroke in given columns, and which samples they come from.

    In float32, in which the height of a page is exact to 0.0001 px.
    """

    def __init__(self, curves: Curves, columns: Floats, radius: float) -> None:
        places = ndtri((np.arange(_POINTS_PER_COLUMN) + 0.5) / _POINTS_PER_COLUMN) * np.sqrt(_BLUR_PX**2 + 1 / 12)
        angle = np.linspace(-np.pi / 2, np.pi / 2, _CONTACT_ANGLES)[:, None, None]
        owner = curves.owner(columns)
        begin, end = curves.first[owner], curves.last[owner]
        low, high = curves.x[begin], curves.x[end]
        x = np.clip(columns + places[:, None], low, np.maximum(low, high)) + radius * np.sin(angle)
        below = np.clip(np.searchsorted(curves.x, x) - 1, begin, np.maximum(begin, end - 1))
        share = np.clip((x - curves.x.take(below)) / np.diff(curves.x).take(below), 0, 1)
        beyond = (x < low - 1e-9) | (x > high + 1e-9)
        # (contacts, places, W)
        self._sample, self._share = below, share.astype(np.float32)
        self._inside = (radius * np.cos(angle) - np.where(beyond, _OUTSIDE_PX, 0.0)).astype(np.float32)
        self._columns = np.arange(columns.size)

    def draw(self, y: Floats) -> _Edges:
        """The upper edges of the stroke of samples at heights ``y`` (n,) in all columns, then the lower ones: 2 W."""
        centre: NDArray[np.float32] = np.diff(y).astype(np.float32).take(self._sample)
        centre *= self._share
        centre += y.astype(np.float32).take(self._sample)
        upper, lower = self._edge(centre - self._inside), self._edge(-self._inside - centre)
        return _Edges(
            np.concatenate([upper.height, -lower.height]),
            np.concatenate([upper.sample, lower.sample], axis=1),
            np.concatenate([upper.weight, lower.weight], axis=1),
        )

    def _edge(self, touching: NDArray[np.float32]) -> _Edges:
        """The edges (W,) where ``touching`` (contacts, places, W) is least."""
        height = touching.min(axis=0)
        # Coverage averaged over a column crosses one half at the median of the edge across it: the middle two.
        middle = np.argsort(height, axis=0)[_POINTS_PER_COLUMN // 2 - 1 : _POINTS_PER_COLUMN // 2 + 1]
        contact = touching[:, middle, self._columns].argmin(axis=0)
        sample = self._sample[contact, middle, self._columns]
        share = self._share[contact, middle, self._columns]
        return _Edges(
            height[middle, self._columns].mean(axis=0, dtype=np.float64),
            np.concatenate([sample, sample + 1]),
            np.concatenate([1 - share, share]).astype(np.float64) / 2,
        )


def fit_samples(stroke: Stroke, columns: Floats, curves: Curves, start: Floats, radius: float) -> tuple[Floats, Floats]:
    """Heights of the samples, and how badly each column fits.

    Args:
        stroke: measured edges in each column; NaN where not found.
        columns: (W,) x of the columns' centres, px.
        curves: places of the samples.
        start: (n,) heights to start from, px.
        radius: of the pen, px.

    Returns:
        (n,) float64 heights, px; (W,) float64 distance between drawn and measured edges in standard errors (the mean of
        both edges), NaN where there are none.
    """
    pen = _Pen(curves, columns, radius)
    seen = np.isfinite(stroke.top)
    where = np.flatnonzero(seen)
    centre = np.interp(np.arange(columns.size), where, stroke.centre[where])
    steep = maximum_filter1d(np.abs(np.gradient(centre)), 3)
    sigma = np.hypot(_EDGE_SIGMA_PX, _EDGE_SIGMA_X_PX * steep)
    precision = np.where(seen, 1 / sigma**2, 0.0)
    precision[_near(curves, columns, radius + np.where(curves.hidden, _BAR_PX, _BOUNDARY_PX))] *= _BOUNDARY_WEIGHT
    measured = np.concatenate([np.where(seen, edge, 0.0) for edge in (stroke.top, stroke.bottom)])

    stiff = _stiffness(curves, start, radius)
    y = start.copy()
    for _ in range(ROUNDS):
        y = y + _step(y, pen.draw(y), measured, np.tile(precision, 2), stiff)
    miss = np.abs(pen.draw(y).height - measured).reshape(2, -1).mean(axis=0)
    return y, np.where(seen, miss / sigma, np.nan)


def under_bars(ink: Floats, columns: Floats, begins: Floats, bar_offset: float) -> NDArray[np.bool_]:
    """Whether the ink is hidden where curves begin (k,) bool: the network does not know where the trace is there.

    Args:
        ink: (W,) coverage of the stroke in each column, [0, 1].
        columns: (W,) x of the columns, px.
        begins: (k,) x of the first sample of each curve but the first, px.
        bar_offset: where the middle of a bar would stand, px to the right of that.
    """
    inside = np.abs(columns - (begins + bar_offset)[:, None]) < _HIDDEN_PX
    return np.asarray(np.where(inside, ink, 1.0).min(axis=1) < _HIDDEN_INK)


def _near(curves: Curves, x: Floats, reach: Floats) -> NDArray[np.bool_]:
    """Which of the places ``x`` (k,) px lie within ``reach`` (m - 1,) px of the lifts."""
    return np.asarray((np.abs(x[:, None] - curves.x[curves.first[1:]]) < reach).any(axis=1))


def hold_under_bars(y: Floats, curves: Curves, bar_offset: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Hold each curve level where a bar between it and its neighbour hides it.

    What is read there is the bar, not the trace: on photographs it is off by 0.13 to 0.17 mV (rms), elsewhere by 0.02.

    Args:
        y: (n,) heights of the samples.
        curves: their places.
        bar_offset: where the middle of a bar stands, px to the right of the beginning of a curve.

    Returns:
        (n,) heights, and (n,) bool: which were held.
    """
    level, held = y.copy(), np.zeros(y.size, bool)
    lifts = zip(curves.last[:-1][curves.hidden], curves.first[1:][curves.hidden], strict=True)
    for end, begin in lifts:
        under = np.flatnonzero(np.abs(curves.x - (curves.x[begin] + bar_offset)) < _HIDDEN_PX)
        before, after = under[under <= end], under[under >= begin]
        if before.size and before[0] >= _HOLD_SAMPLES:
            level[before] = y[before[0] - _HOLD_SAMPLES : before[0]].mean()
        if after.size and after[-1] + _HOLD_SAMPLES < y.size:
            level[after] = y[after[-1] + 1 : after[-1] + 1 + _HOLD_SAMPLES].mean()
        held[under] = True
    return level, held


def hold_under_pulse(
    y: Floats, curves: Curves, ink: Floats, columns: Floats, edge_x: float
) -> tuple[Floats, NDArray[np.bool_]]:
    """Hold the first samples level where the falling edge of the calibration pulse hides the ink.

    Without, a row whose edge shows faintly begins on it: at the height of the pulse instead of the trace.

    Args:
        y: (n,) heights of a row's samples.
        curves: their places.
        ink: (W,) coverage of the stroke in each column, [0, 1].
        columns: (W,) x of the columns, px.
        edge_x: where the edge stands, px.

    Returns:
        (n,) heights, and (n,) bool: which were held.
    """
    under = np.flatnonzero(np.abs(curves.x - edge_x) < _HIDDEN_PX)
    level, held = y.copy(), np.zeros(y.size, bool)
    hidden = ink[np.abs(columns - edge_x) < _HIDDEN_PX].min(initial=1.0) < _HIDDEN_INK
    if hidden and under.size and under[-1] + _HOLD_SAMPLES < y.size:
        held[: under[-1] + 1] = True
        level[held] = y[under[-1] + 1 : under[-1] + 1 + _HOLD_SAMPLES].mean()
    return level, held


def _stiffness(curves: Curves, start: Floats, radius: float) -> Floats:
    """(n,) weight of the squared second difference centred on each sample; 0 where it would reach across a lift."""
    bend = np.zeros(start.size)
    bend[1:-1] = np.abs(start[2:] - 2 * start[1:-1] + start[:-2])
    bend[curves.first] = bend[curves.last] = 0
    bend[_near(curves, curves.x, np.where(curves.hidden, radius + _BAR_PX, 0.0))] = 0
    expected = _BEND_SIGMA_PX + _BEND_SHARE * maximum_filter1d(bend, 9)
    stiff: Floats = 1 / expected**2
    stiff[curves.first] = stiff[curves.last] = 0
    return stiff


def _step(y: Floats, edges: _Edges, measured: Floats, precision: Floats, stiff: Floats) -> Floats:
    """One Gauss-Newton step (n,): solve the banded normal equations of edges and stiffness."""
    n = y.size
    width = max(int(np.ptp(edges.sample, axis=0).max()), 2)
    residual = np.where(precision > 0, measured - edges.height, 0.0)
    weight = precision / (1 + residual**2 * precision / OUTLIER**2)
    pull = edges.weight * (weight * residual)
    right = np.asarray(np.bincount(edges.sample.ravel(), pull.ravel(), n), np.float64)
    one, other = edges.sample[_ONE], edges.sample[_OTHER]
    diagonal = np.abs(one - other)
    value = edges.weight[_ONE] * edges.weight[_OTHER] * weight
    value *= np.where((diagonal == 0) & _DIFFERENT, 2.0, 1.0)  # on the diagonal either order of the two counts
    place = diagonal * n + np.minimum(one, other)
    matrix = np.bincount(place.ravel(), value.ravel(), (width + 1) * n).reshape(width + 1, n)

    k = np.flatnonzero(stiff)
    s = stiff[k]
    bend = y[k + 1] - 2 * y[k] + y[k - 1]
    for offset, factor in ((-1, 1.0), (0, -2.0), (1, 1.0)):
        right[k + offset] -= factor * s * bend
        matrix[0, k + offset] += factor**2 * s
    matrix[1, k - 1] += -2 * s
    matrix[1, k] += -2 * s
    matrix[2, k - 1] += s
    matrix[0] += 1e-6  # samples that nothing speaks about stay where they are
    solution = solveh_banded(matrix, right, overwrite_ab=True, overwrite_b=True, lower=True, check_finite=False)
    return np.asarray(solution, np.float64)
