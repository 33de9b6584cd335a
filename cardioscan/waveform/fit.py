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

from cardioscan.waveform.options import DecodingOptions
from cardioscan.waveform.pen import Floats, Stroke

_PLACES = 4  # places across a column whose middle stands for it
_CONTACTS = 11  # points of the pen's disc that may touch, at equal angles
_FAR = 1e6
_ONE, _OTHER = np.triu_indices(4)  # pairs of the samples that an edge is made of
_BOUNDARY_TRUST = 0.1  # weight of edges to which the pen of the neighbouring lead, or a bar, may have contributed
_BOUNDARY_PX = 0.5  # how far beyond the pen's radius the neighbour's goes
_BAR_PX = 1.6  # how far beyond it a bar goes
_HIDDEN_PX = 1.4  # half of the width of a bar under which nothing at all is seen
_HIDDEN_INK = 0.98  # coverage below is a guess: nine in ten of 162 bars of photographs have less than 0.67
_HELD_FROM = 3  # samples whose mean is held


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
class _Edge:
    """A drawn edge: its height in each column (W,), and the samples (W, 4) and weights (W, 4) it is made of."""

    height: Floats
    sample: NDArray[np.int64]
    weight: Floats


class _Pen:
    """Draws samples: the edges of the stroke in given columns, and which samples they come from."""

    def __init__(self, curves: Curves, columns: Floats, radius: float, blur_px: float) -> None:
        places = ndtri((np.arange(_PLACES) + 0.5) / _PLACES) * np.sqrt(blur_px**2 + 1 / 12)
        angle = np.linspace(-np.pi / 2, np.pi / 2, _CONTACTS)
        owner = curves.owner(columns)
        begin, end = curves.first[owner], curves.last[owner]
        low, high = curves.x[begin][:, None], curves.x[end][:, None]
        x = np.clip(columns[:, None] + places, low, np.maximum(low, high))[..., None] + radius * np.sin(angle)
        below = np.searchsorted(curves.x, x) - 1
        below = np.clip(below, begin[:, None, None], np.maximum(begin, end - 1)[:, None, None])
        self._sample = below
        self._share = np.clip((x - curves.x[below]) / (curves.x[below + 1] - curves.x[below]), 0, 1)
        beyond = (x < low[..., None] - 1e-9) | (x > high[..., None] + 1e-9)
        self._inside = radius * np.cos(angle) - np.where(beyond, _FAR, 0.0)
        self._columns = np.arange(columns.size)[:, None]

    def draw(self, y: Floats) -> tuple[_Edge, _Edge]:
        """Upper and lower edge of the stroke of samples at heights ``y`` (n,)."""
        centre = np.diff(y).take(self._sample)
        centre *= self._share
        centre += y.take(self._sample)
        return (self._edge(centre - self._inside, sign=1), self._edge(centre + self._inside, sign=-1))

    def _edge(self, touching: Floats, sign: int) -> _Edge:
        contact = touching.argmin(axis=2) if sign > 0 else touching.argmax(axis=2)
        height = np.take_along_axis(touching, contact[..., None], axis=2)[..., 0]
        # Coverage averaged over a column crosses one half at the median of the edge across it: the middle two.
        middle = np.argsort(height, axis=1)[:, _PLACES // 2 - 1 : _PLACES // 2 + 1]
        contact = np.take_along_axis(contact, middle, axis=1)
        sample = self._sample[self._columns, middle, contact]
        share = self._share[self._columns, middle, contact]
        return _Edge(
            np.take_along_axis(height, middle, axis=1).mean(axis=1),
            np.concatenate([sample, sample + 1], axis=1),
            np.concatenate([1 - share, share], axis=1) / 2,
        )


def fit_samples(
    stroke: Stroke, columns: Floats, curves: Curves, start: Floats, radius: float, options: DecodingOptions
) -> tuple[Floats, Floats]:
    """Heights of the samples, and how badly each column fits.

    Args:
        stroke: measured edges in each column; NaN where not found.
        columns: (W,) x of the columns' centres, px.
        curves: places of the samples.
        start: (n,) heights to start from, px.
        radius: of the pen, px.
        options: weights and the number of rounds.

    Returns:
        (n,) float64 heights, px; (W,) float64 distance between drawn and measured edges in standard errors (the mean of
        both edges), NaN where there are none.
    """
    pen = _Pen(curves, columns, radius, options.blur_px)
    seen = np.isfinite(stroke.top)
    where = np.flatnonzero(seen)
    centre = np.interp(np.arange(columns.size), where, stroke.centre[where])
    steep = maximum_filter1d(np.abs(np.gradient(centre)), 3)
    sigma = np.hypot(options.edge_sigma_px, options.edge_sigma_x_px * steep)
    trust = np.where(seen, 1 / sigma**2, 0.0)
    trust[_near(curves, columns, radius + np.where(curves.hidden, _BAR_PX, _BOUNDARY_PX))] *= _BOUNDARY_TRUST
    measured = [np.where(seen, edge, 0.0) for edge in (stroke.top, stroke.bottom)]

    stiff = _stiffness(curves, start, radius, options)
    y = start.copy()
    for _ in range(options.rounds):
        y = y + _step(y, pen.draw(y), measured, trust, stiff, options.outlier)
    miss = sum(np.abs(edge.height - seen_at) for edge, seen_at in zip(pen.draw(y), measured, strict=True)) / 2
    return y, np.where(seen, miss / sigma, np.nan)


def under_bars(ink: Floats, columns: Floats, begins: Floats, bar_dx: float) -> NDArray[np.bool_]:
    """Whether the ink is hidden where curves begin (k,) bool: the network does not know where the trace is there.

    Args:
        ink: (W,) coverage of the stroke in each column, [0, 1].
        columns: (W,) x of the columns, px.
        begins: (k,) x of the first sample of each curve but the first, px.
        bar_dx: where the middle of a bar would stand, px to the right of that.
    """
    inside = np.abs(columns - (begins + bar_dx)[:, None]) < _HIDDEN_PX
    return np.asarray(np.where(inside, ink, 1.0).min(axis=1) < _HIDDEN_INK)


def _near(curves: Curves, x: Floats, reach: Floats) -> NDArray[np.bool_]:
    """Which of the places ``x`` (k,) px lie within ``reach`` (m - 1,) px of the lifts."""
    return np.asarray((np.abs(x[:, None] - curves.x[curves.first[1:]]) < reach).any(axis=1))


def hold_under_bars(y: Floats, curves: Curves, bar_dx: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Hold each curve level where a bar between it and its neighbour hides it.

    What is read there is the bar, not the trace: on photographs it is off by 0.13 to 0.17 mV (rms), elsewhere by 0.02.

    Args:
        y: (n,) heights of the samples.
        curves: their places.
        bar_dx: where the middle of a bar stands, px to the right of the beginning of a curve.

    Returns:
        (n,) heights, and (n,) bool: which were held.
    """
    level, held = y.copy(), np.zeros(y.size, bool)
    lifts = zip(curves.last[:-1][curves.hidden], curves.first[1:][curves.hidden], strict=True)
    for end, begin in lifts:
        under = np.flatnonzero(np.abs(curves.x - (curves.x[begin] + bar_dx)) < _HIDDEN_PX)
        before, after = under[under <= end], under[under >= begin]
        if before.size and before[0] >= _HELD_FROM:
            level[before] = y[before[0] - _HELD_FROM : before[0]].mean()
        if after.size and after[-1] + _HELD_FROM < y.size:
            level[after] = y[after[-1] + 1 : after[-1] + 1 + _HELD_FROM].mean()
        held[under] = True
    return level, held


def _stiffness(curves: Curves, start: Floats, radius: float, options: DecodingOptions) -> Floats:
    """(n,) weight of the squared second difference centred on each sample; 0 where it would reach across a lift."""
    bend = np.zeros(start.size)
    bend[1:-1] = np.abs(start[2:] - 2 * start[1:-1] + start[:-2])
    bend[curves.first] = bend[curves.last] = 0
    bend[_near(curves, curves.x, np.where(curves.hidden, radius + _BAR_PX, 0.0))] = 0
    expected = options.bend_sigma_px + options.bend_share * maximum_filter1d(bend, 9)
    stiff: Floats = 1 / expected**2
    stiff[curves.first] = stiff[curves.last] = 0
    return stiff


def _step(
    y: Floats, edges: tuple[_Edge, _Edge], measured: list[Floats], trust: Floats, stiff: Floats, outlier: float
) -> Floats:
    """One Gauss-Newton step (n,): solve the banded normal equations of edges and stiffness."""
    n = y.size
    width = max(int((edge.sample.max(axis=1) - edge.sample.min(axis=1)).max()) for edge in edges)
    width = max(width, 2)
    band = np.zeros((width + 1) * n)
    right = np.zeros(n)
    for edge, target in zip(edges, measured, strict=True):
        residual = np.where(trust > 0, target - edge.height, 0.0)
        weight = trust / (1 + residual**2 * trust / outlier**2)
        right += np.bincount(edge.sample.ravel(), (edge.weight * (weight * residual)[:, None]).ravel(), n)
        one, other = edge.sample[:, _ONE], edge.sample[:, _OTHER]
        apart = np.abs(one - other)
        value = edge.weight[:, _ONE] * edge.weight[:, _OTHER] * weight[:, None]
        value[(apart == 0) & (_ONE != _OTHER)] *= 2  # on the diagonal either order of the two counts
        place = (width - apart) * n + np.maximum(one, other)
        band += np.bincount(place.ravel(), value.ravel(), band.size)
    matrix = band.reshape(width + 1, n)

    k = np.flatnonzero(stiff)
    s = stiff[k]
    bend = y[k + 1] - 2 * y[k] + y[k - 1]
    for offset, factor in ((-1, 1.0), (0, -2.0), (1, 1.0)):
        right[k + offset] -= factor * s * bend
        matrix[width, k + offset] += factor**2 * s
    matrix[width - 1, k] += -2 * s
    matrix[width - 1, k + 1] += -2 * s
    matrix[width - 2, k + 1] += s
    matrix[width] += 1e-6  # samples that nothing speaks about stay where they are
    return np.asarray(solveh_banded(matrix, right, check_finite=False), np.float64)
