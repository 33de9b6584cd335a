"""Smooth surfaces through values on a lattice: what is missing filled in, what is wrong found, noise taken out.

Pure arithmetic on arrays (rows, columns, d) of a regular lattice; nothing here knows what the values are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.interpolate import BSpline
from scipy.linalg import solveh_banded

from cardioscan.imaging.geometry import Floats, Points

__all__ = ["robust_lattice", "smooth_lattice", "stiffest_that_predicts"]

_KNOT_EVERY: Final = ((1e4, 5), (30.0, 3), (0.25, 2))
"""From such a smoothness on, a knot stands at every so many nodes only."""
_FEWEST_NODES: Final = 12
"""A side with fewer nodes has all of them as unknowns."""
_NARROW: Final = 6.0
"""With all nodes as unknowns, and none farther than so many from one that is known, float32 is enough: then no node
hangs on others far away, and the solution is exact to 2e-4 of the values."""
_APART: Final = 3
"""Cubic B-splines that are further apart do not overlap."""
_TINY: Final = 1e-6
"""So little weight holds a surface, but tells nothing."""
_TRACE: Final = 1e-10
"""Planes cost nothing: so much weight everywhere keeps the system regular without being felt."""
_THIRD: Final = ((3, 0, 1.0), (2, 1, 3.0), (1, 2, 3.0), (0, 3, 1.0))
_SECOND: Final = ((2, 0, 1.0), (1, 1, 2.0), (0, 2, 1.0))
"""Terms of third and of second order, as ``_terms`` gives them."""


@lru_cache(maxsize=16)
def _penalty_bands(
    rows: int, columns: int, crossover: float, kind: type[np.float32 | np.float64] = np.float64
) -> NDArray[np.floating[Any]]:
    """Lower-form bands (3 rows + 1, rows x columns) of the roughness matrix on a lattice numbered down its columns."""

    def difference(n: int, order: int) -> sparse.csr_matrix:
        matrix = sparse.identity(n, format="csr")
        for _ in range(order):
            size = matrix.shape[0]
            step = sparse.diags([-np.ones(size - 1), np.ones(size - 1)], [0, 1], shape=(size - 1, size))
            matrix = step @ matrix
        return sparse.csr_matrix(matrix)

    penalty = sparse.csr_matrix((rows * columns, rows * columns))
    for across, down, weight in _terms(crossover):
        operator = sparse.kron(difference(columns, across), difference(rows, down))
        penalty = penalty + weight * (operator.T @ operator)
    band = 3 * rows
    bands = np.zeros((band + 1, rows * columns), kind)
    for offset in range(band + 1):
        bands[offset, : rows * columns - offset] = penalty.diagonal(-offset)
    bands.flags.writeable = False
    return bands


def _terms(crossover: float) -> list[tuple[int, int, float]]:
    """All terms of the roughness: order of the difference across and down, and weight."""
    return [*_THIRD, *((across, down, weight / crossover**2) for across, down, weight in _SECOND)]


@dataclass(frozen=True, eq=False)
class _SplineBasis:
    """Cubic splines with few knots on a lattice; coefficients are numbered down the columns of knots.

    Attributes:
        down, across: (rows, n) and (columns, m), the B-splines of either direction at the nodes.
        roughness: lower-form bands of the roughness of the coefficients' surface.
        pairs_down, pairs_across: ((2 q + 1) n, rows) and ((q + 1) m, columns), the products of B-splines up to q = 3
            apart, from -q and from 0 on: with them the weights' part of the system is two matrix products.
    """

    down: Floats
    across: Floats
    roughness: Floats
    pairs_down: Floats
    pairs_across: Floats

    def fit(self, data: Floats, weights: Floats, smoothness: float) -> Floats:
        """The surface (rows, columns, d) through values times their weights (rows, columns, d)."""
        n, m, depth = self.down.shape[1], self.across.shape[1], data.shape[2]
        bands = smoothness * self.roughness
        products = (self.pairs_down @ weights @ self.pairs_across.T).reshape(-1, n, _APART + 1, m)
        for beside in range(_APART + 1):
            for below in range(-_APART, _APART + 1):
                offset = beside * n + below
                if offset >= 0:
                    bands[offset] += products[below + _APART, :, beside].T.ravel()
        bands[0] += _TRACE
        right = np.stack([(self.down.T @ data[..., k] @ self.across).T.ravel() for k in range(depth)], axis=1)
        found = solveh_banded(bands, right, overwrite_ab=True, lower=True, check_finite=False)
        surface = [self.down @ found[:, k].reshape(m, n).T @ self.across.T for k in range(depth)]
        return np.stack(surface, axis=-1)


@lru_cache(maxsize=16)
def _spline_basis(rows: int, columns: int, every: int, crossover: float) -> _SplineBasis:
    """The splines of a lattice with a knot at every ``every``-th node, and the bands of their roughness."""
    down, across = _b_splines(rows, every), _b_splines(columns, every)
    n, m = down.shape[1], across.shape[1]

    def energies(splines: Floats) -> list[Floats]:
        """Products of the differences of order 0 to 3 of all pairs of B-splines."""
        return [differences.T @ differences for differences in (np.diff(splines, k, axis=0) for k in range(4))]

    def reach(matrices: list[Floats]) -> int:
        return max(int(np.abs(np.subtract(*np.nonzero(matrix))).max()) for matrix in matrices)

    by_row, by_column = energies(down), energies(across)
    furthest = reach(by_column), reach(by_row)
    roughness = np.zeros((furthest[0] * n + furthest[1] + 1, m, n))
    for order_across, order_down, weight in _terms(crossover):
        for beside in range(furthest[0] + 1):
            for below in range(-furthest[1], furthest[1] + 1):
                offset = beside * n + below
                if offset >= 0:
                    column = np.pad(np.diagonal(by_column[order_across], beside), (0, beside))
                    row = np.pad(np.diagonal(by_row[order_down], below), (max(-below, 0), max(below, 0)))
                    roughness[offset] += weight * column[:, None] * row
    bands = roughness.reshape(len(roughness), m * n)
    bands.flags.writeable = False

    def pairs(splines: Floats, least: int) -> Floats:
        count = splines.shape[1]
        blocks = np.zeros((_APART + 1 - least, count, len(splines)))
        for place, apart in enumerate(range(least, _APART + 1)):
            first = np.arange(max(-apart, 0), count - max(apart, 0))
            blocks[place, first] = (splines[:, first] * splines[:, first + apart]).T
        return blocks.reshape(-1, len(splines))

    return _SplineBasis(down, across, bands, pairs(down, -_APART), pairs(across, 0))


def _b_splines(nodes: int, every: int) -> Floats:
    """Cubic B-splines at the nodes, (nodes, count): knots at most ``every`` nodes apart, one on either end node."""
    spans = -(-(nodes - 1) // every)
    knots = np.arange(-_APART, spans + _APART + 1) * ((nodes - 1) / spans)
    places = np.arange(nodes, dtype=np.float64)
    columns = [BSpline.basis_element(knots[k : k + 5], extrapolate=False)(places) for k in range(spans + _APART)]
    return np.nan_to_num(np.stack(columns, axis=1))


def smooth_lattice(values: Points, weights: Points, smoothness: float, crossover: float = 8.0) -> Floats:
    """Fit the smoothest surface to values on a regular lattice, filling what is missing and reaching to the border.

    Minimises ``sum w (u - v)^2 + smoothness * roughness``, where the roughness is the energy of third differences
    plus ``1 / crossover^2`` times that of second differences (a discrete smoothing spline). From a smoothness of 0.25
    on it is minimised among cubic splines with a knot at every second node, from 30 on at every third, from 1e4 on at
    every fifth: in a fifth to a twentieth of the time. From the exact solution they are apart by a twentieth of the
    values' noise at 0.3, where waves of six nodes are damped more than they should be, and by less than a hundredth of
    it from 3 on. Gaps
    narrower than ``crossover`` nodes are bridged as by a quintic, wider ones and the outside like a thin plate, which
    runs on straight. Below a smoothness of 0.25, where few nodes are missing, it is computed in float32, exact to 2e-4
    of the values. A wave of ``L`` nodes is halved where ``smoothness = (L / 2 pi)^6``.

    Args:
        values: (rows, columns, d); ignored where the weight is 0 (may be NaN there).
        weights: (rows, columns), >= 0.
        smoothness: > 0.
        crossover: nodes.

    Returns:
        (rows, columns, d) float64. At least three nodes off one line must carry weight for it to mean anything.
    """
    values = np.asarray(values, np.float64)
    weight: Floats = np.asarray(weights, np.float64)
    rows, columns, depth = values.shape
    if rows < 4 or columns < 4:
        raise ValueError(f"a lattice needs at least 4 x 4 nodes, not {rows} x {columns}")
    data: Floats = np.where(weight[..., None] > 0, values, 0.0) * weight[..., None]
    every = next((nodes for least, nodes in _KNOT_EVERY if smoothness >= least), 1)
    if every > 1 and min(rows, columns) >= _FEWEST_NODES:
        return _spline_basis(rows, columns, every, crossover).fit(data, weight, smoothness)
    right = data.transpose(1, 0, 2).reshape(rows * columns, depth)
    added = weight.T.ravel() + _TRACE
    kind = np.float32 if every == 1 and _widest_gap(weight) <= _NARROW else np.float64
    bands = _penalty_bands(rows, columns, crossover, kind) * kind(smoothness)
    bands[0] += added
    solution = solveh_banded(bands, right.astype(kind), overwrite_ab=True, lower=True, check_finite=False)
    return np.asarray(solution.reshape(columns, rows, depth).transpose(1, 0, 2), np.float64)


def _widest_gap(weights: Floats) -> float:
    """How far a node of a lattice (rows, columns) is from the nearest that carries weight, at most; nodes."""
    unknown = np.asarray(weights <= _TINY, np.uint8)
    return float(cv2.distanceTransform(unknown, cv2.DIST_L2, 3).max()) if not unknown.all() else np.inf


def robust_lattice(
    values: Points,
    weights: Points,
    smoothness: float,
    scales: tuple[float, ...],
    crossover: float = 8.0,
) -> tuple[Floats, Floats]:
    """:func:`smooth_lattice` that distrusts values far from their surroundings (iteratively reweighted).

    Args:
        values: (rows, columns, d).
        weights: (rows, columns).
        smoothness: as there; stiff enough that one node cannot bend the surface to itself.
        scales: the distance, in units of the values, at which a value counts a quarter; one per round, falling.
        crossover: as there.

    Returns:
        The surface (rows, columns, d), and the distance of each value from it (rows, columns; inf without weight).
    """
    base = np.asarray(weights, np.float64)
    trust = base
    surface = smooth_lattice(values, trust, smoothness, crossover)
    distance = _distance(values, surface, base)
    for scale in scales:
        # Geman-McClure weights: beyond a few scales a value has no say at all.
        trust = np.where(base > 0, base / (1 + (np.minimum(distance, 1e6) / scale) ** 2) ** 2, 0.0)
        surface = smooth_lattice(values, trust, smoothness, crossover)
        distance = _distance(values, surface, base)
    return surface, distance


def stiffest_that_predicts(
    values: Points,
    weights: Points,
    fold: NDArray[np.integer[Any]],
    ladder: tuple[float, ...],
    farthest: float = np.inf,
    equally: float = 1.05,
    begin: int | None = None,
    both: bool = True,
) -> float:
    """How smooth a surface has to be to predict nodes that it was not fitted to: cross-validation by two folds.

    Of the ladder the stiffest is taken that predicts about as well as any. How well they do is taken to fall and then
    to rise along it, so only those around the best are tried.

    Args:
        values: (rows, columns, d).
        weights: (rows, columns).
        fold: (rows, columns), 0 or 1: those of one fold are predicted from the other.
        ladder: smoothnesses to choose from, rising.
        farthest: what a value is missed by counts at most this much, in units of the values.
        equally: factor on the error that still counts as about as well.
        begin: the place in the ladder that is tried first, the likeliest; None for the middle.
        both: whether each fold is predicted from the other, or the first alone: with many nodes that tells as much.
    """
    errors: dict[int, float] = {}

    def missed(place: int) -> float:
        if place not in errors:
            errors[place] = 0.0
            for part in (0, 1) if both else (0,):
                guess = smooth_lattice(values, np.where(fold == part, 0.0, weights), ladder[place])
                squared = np.minimum(((guess - values) ** 2).sum(axis=-1), farthest**2)
                errors[place] += float((weights * (fold == part) * squared).sum())
        return errors[place]

    place = len(ladder) // 2 if begin is None else begin
    missed(place)
    while place + 1 < len(ladder) and missed(place + 1) <= equally * min(errors.values()):
        place += 1
    place = min(errors)
    while place > 0 and min(errors.values()) == errors[place] and equally * missed(place - 1) < errors[place]:
        place -= 1
    return ladder[max(place for place, error in errors.items() if error <= equally * min(errors.values()) + 1e-12)]


def _distance(values: Points, surface: Floats, weights: Floats) -> Floats:
    apart = np.linalg.norm(np.where(weights[..., None] > 0, values, 0.0) - surface, axis=-1)
    return np.where(weights > 0, apart, np.inf)
