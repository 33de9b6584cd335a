"""Smoothing splines on a lattice: they fill in missing values, show outliers, and remove noise.

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

from cardioscan.arrays import Floats, Points

__all__ = ["geman_mcclure", "robust_lattice", "smooth_lattice", "cross_validated_smoothness"]

_KNOT_SPACING_NODES: Final = ((1e4, 5), (30.0, 3), (0.25, 2))
"""(smoothness, nodes): from this smoothness on, knots are this many nodes apart instead of one at every node."""
_MIN_SPLINE_NODES: Final = 12
"""A lattice with fewer nodes on a side is solved at all nodes, whatever the smoothness."""
_MAX_FLOAT32_GAP_NODES: Final = 6.0
"""Solved at all nodes, none of them farther than this from one with weight, float32 is exact to 2e-4 of the values: no
node depends on others far away."""
_SPLINE_DEGREE: Final = 3
"""B-splines more than this many knots apart do not overlap."""
_NEGLIGIBLE_WEIGHT: Final = 1e-6
"""Nodes with no more weight than this count as unknown when gaps are measured: it only steadies the surface."""
_RIDGE_WEIGHT: Final = 1e-10
"""Added to the weight of every unknown. Planes have no roughness, so without it the system may be singular."""
_THIRD_ORDER_TERMS: Final = ((3, 0, 1.0), (2, 1, 3.0), (1, 2, 3.0), (0, 3, 1.0))
_SECOND_ORDER_TERMS: Final = ((2, 0, 1.0), (1, 1, 2.0), (0, 2, 1.0))
"""Order of the difference across, order down, and binomial weight, as in ``_roughness_terms``."""


@lru_cache(maxsize=16)
def _penalty_bands(
    rows: int, columns: int, crossover: float, dtype: type[np.float32 | np.float64] = np.float64
) -> NDArray[np.floating[Any]]:
    """Lower-form bands (3 rows + 1, rows x columns) of the roughness matrix; nodes are numbered down the columns."""

    def difference(n: int, order: int) -> sparse.csr_matrix:
        matrix = sparse.identity(n, format="csr")
        for _ in range(order):
            size = matrix.shape[0]
            step = sparse.diags([-np.ones(size - 1), np.ones(size - 1)], [0, 1], shape=(size - 1, size))
            matrix = step @ matrix
        return sparse.csr_matrix(matrix)

    penalty = sparse.csr_matrix((rows * columns, rows * columns))
    for across, down, weight in _roughness_terms(crossover):
        operator = sparse.kron(difference(columns, across), difference(rows, down))
        penalty = penalty + weight * (operator.T @ operator)
    band = 3 * rows
    bands = np.zeros((band + 1, rows * columns), dtype)
    for offset in range(band + 1):
        bands[offset, : rows * columns - offset] = penalty.diagonal(-offset)
    bands.flags.writeable = False
    return bands


def _roughness_terms(crossover: float) -> list[tuple[int, int, float]]:
    """Terms of the roughness: order of the difference across, order down, and weight."""
    return [
        *_THIRD_ORDER_TERMS,
        *((across, down, weight / crossover**2) for across, down, weight in _SECOND_ORDER_TERMS),
    ]


@dataclass(frozen=True, eq=False)
class _SplineBasis:
    """Cubic splines with fewer knots than nodes; coefficients are numbered down the columns of knots.

    Attributes:
        down, across: (rows, n) and (columns, m) float64, the values of each direction's B-splines at the nodes.
        roughness: lower-form bands of the roughness matrix for the coefficients.
        pairs_down, pairs_across: ((2 q + 1) n, rows) and ((q + 1) m, columns) float64, products of B-splines that are
            -q to q and 0 to q knots apart, q = 3. They make the weights' part of the system two matrix products.
    """

    down: Floats
    across: Floats
    roughness: Floats
    pairs_down: Floats
    pairs_across: Floats

    def fit(self, data: Floats, weights: Floats, smoothness: float) -> Floats:
        """Fit a surface (rows, columns, d) to ``data``, the values times their weights (rows, columns, d)."""
        n, m, depth = self.down.shape[1], self.across.shape[1], data.shape[2]
        bands = smoothness * self.roughness
        products = (self.pairs_down @ weights @ self.pairs_across.T).reshape(-1, n, _SPLINE_DEGREE + 1, m)
        for beside in range(_SPLINE_DEGREE + 1):
            for below in range(-_SPLINE_DEGREE, _SPLINE_DEGREE + 1):
                offset = beside * n + below
                if offset >= 0:
                    bands[offset] += products[below + _SPLINE_DEGREE, :, beside].T.ravel()
        bands[0] += _RIDGE_WEIGHT
        right = np.stack([(self.down.T @ data[..., k] @ self.across).T.ravel() for k in range(depth)], axis=1)
        found = solveh_banded(bands, right, overwrite_ab=True, lower=True, check_finite=False)
        surface = [self.down @ found[:, k].reshape(m, n).T @ self.across.T for k in range(depth)]
        return np.stack(surface, axis=-1)


@lru_cache(maxsize=16)
def _spline_basis(rows: int, columns: int, every: int, crossover: float) -> _SplineBasis:
    """The splines of a lattice with a knot at every ``every``-th node."""
    down, across = _b_splines(rows, every), _b_splines(columns, every)
    n, m = down.shape[1], across.shape[1]

    def gram_matrices(splines: Floats) -> list[Floats]:
        """Inner products of the differences of order 0 to 3 of all pairs of B-splines."""
        return [differences.T @ differences for differences in (np.diff(splines, k, axis=0) for k in range(4))]

    def bandwidth(matrices: list[Floats]) -> int:
        return max(int(np.abs(np.subtract(*np.nonzero(matrix))).max()) for matrix in matrices)

    by_row, by_column = gram_matrices(down), gram_matrices(across)
    furthest = bandwidth(by_column), bandwidth(by_row)
    roughness = np.zeros((furthest[0] * n + furthest[1] + 1, m, n))
    for order_across, order_down, weight in _roughness_terms(crossover):
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
        blocks = np.zeros((_SPLINE_DEGREE + 1 - least, count, len(splines)))
        for place, distance in enumerate(range(least, _SPLINE_DEGREE + 1)):
            first = np.arange(max(-distance, 0), count - max(distance, 0))
            blocks[place, first] = (splines[:, first] * splines[:, first + distance]).T
        return blocks.reshape(-1, len(splines))

    return _SplineBasis(down, across, bands, pairs(down, -_SPLINE_DEGREE), pairs(across, 0))


def _b_splines(nodes: int, every: int) -> Floats:
    """Cubic B-splines at the nodes, (nodes, count): knots at most ``every`` nodes apart, one on either end node."""
    spans = -(-(nodes - 1) // every)
    knots = np.arange(-_SPLINE_DEGREE, spans + _SPLINE_DEGREE + 1) * ((nodes - 1) / spans)
    places = np.arange(nodes, dtype=np.float64)
    columns = [
        BSpline.basis_element(knots[k : k + 5], extrapolate=False)(places) for k in range(spans + _SPLINE_DEGREE)
    ]
    return np.nan_to_num(np.stack(columns, axis=1))


def smooth_lattice(values: Points, weights: Points, smoothness: float, crossover: float = 8.0) -> Floats:
    """Fit the smoothest surface to values on a regular lattice, filling what is missing and reaching to the border.

    Minimises ``sum w (u - v)^2 + smoothness * roughness``: a discrete smoothing spline. The roughness is the sum of
    squared third differences plus ``1 / crossover^2`` times that of squared second differences. So gaps narrower than
    ``crossover`` nodes are filled as by a quintic; wider ones and the outside as by a thin plate, which goes on
    straight. A wave of ``L`` nodes is halved where ``smoothness = (L / 2 pi)^6``.

    To save four fifths of the time or more, knots are two nodes apart from a smoothness of 0.25 on, three from 30 and
    five from 1e4. The error is a twentieth of the values' noise at 0.3, where waves of six nodes are damped too much,
    and less than a hundredth from 3 on. Below 0.25, a lattice without wide gaps is solved in float32, exact to 2e-4 of
    the values.

    Args:
        values: (rows, columns, d); ignored where the weight is 0 (may be NaN there).
        weights: (rows, columns), >= 0.
        smoothness: > 0.
        crossover: nodes.

    Returns:
        (rows, columns, d) float64; meaningless unless at least three nodes that are not on one line have weight.

    Raises:
        ValueError: fewer than 4 x 4 nodes.
    """
    values = np.asarray(values, np.float64)
    weight: Floats = np.asarray(weights, np.float64)
    rows, columns, depth = values.shape
    if rows < 4 or columns < 4:
        raise ValueError(f"a lattice needs at least 4 x 4 nodes, not {rows} x {columns}")
    data: Floats = np.where(weight[..., None] > 0, values, 0.0) * weight[..., None]
    every = next((nodes for least, nodes in _KNOT_SPACING_NODES if smoothness >= least), 1)
    if every > 1 and min(rows, columns) >= _MIN_SPLINE_NODES:
        return _spline_basis(rows, columns, every, crossover).fit(data, weight, smoothness)
    right = data.transpose(1, 0, 2).reshape(rows * columns, depth)
    added = weight.T.ravel() + _RIDGE_WEIGHT
    dtype = np.float32 if every == 1 and _max_gap_nodes(weight) <= _MAX_FLOAT32_GAP_NODES else np.float64
    bands = _penalty_bands(rows, columns, crossover, dtype) * dtype(smoothness)
    bands[0] += added
    solution = solveh_banded(bands, right.astype(dtype), overwrite_ab=True, lower=True, check_finite=False)
    return np.asarray(solution.reshape(columns, rows, depth).transpose(1, 0, 2), np.float64)


def _max_gap_nodes(weights: Floats) -> float:
    """Largest distance of a node from the nearest one with weight, in nodes; weights are (rows, columns)."""
    unknown = np.asarray(weights <= _NEGLIGIBLE_WEIGHT, np.uint8)
    return float(cv2.distanceTransform(unknown, cv2.DIST_L2, 3).max()) if not unknown.all() else np.inf


def geman_mcclure(weights: Points, residual: Points, scale: float | Points) -> Floats:
    """Weights times ``1 / (1 + (r / scale)^2)^2``: a residual of the scale leaves a quarter, one of a few next to none.

    The weight function of Geman and McClure (1987). All shapes broadcast; ``residual`` and ``scale`` in one unit.
    """
    return np.asarray(weights / (1 + (residual / scale) ** 2) ** 2, np.float64)


def robust_lattice(
    values: Points,
    weights: Points,
    smoothness: float,
    scales: tuple[float, ...],
    crossover: float = 8.0,
) -> tuple[Floats, Floats]:
    """:func:`smooth_lattice` with iteratively reweighted values: those far from the surface lose their weight.

    Args:
        values: (rows, columns, d).
        weights: (rows, columns).
        smoothness: as there; large enough that one node cannot bend the surface to itself.
        scales: distances from the surface, in units of the values, at which a value keeps a quarter of its weight; one
            per round, falling.
        crossover: as there.

    Returns:
        The surface (rows, columns, d), and the distance of each value from it (rows, columns; inf without weight).
    """
    base = np.asarray(weights, np.float64)
    surface = smooth_lattice(values, base, smoothness, crossover)
    distance = _residual_norms(values, surface, base)
    for scale in scales:
        robust = np.where(base > 0, geman_mcclure(base, np.minimum(distance, 1e6), scale), 0.0)
        surface = smooth_lattice(values, robust, smoothness, crossover)
        distance = _residual_norms(values, surface, base)
    return surface, distance


def cross_validated_smoothness(
    values: Points,
    weights: Points,
    fold: NDArray[np.integer[Any]],
    candidates: tuple[float, ...],
    max_error: float = np.inf,
    tolerance: float = 1.05,
    first_tried: int | None = None,
    both_folds: bool = True,
) -> float:
    """Choose the smoothness by cross-validation: of those that predict left-out nodes about equally well, the largest.

    The error is assumed to fall and then rise along the ladder, so only the smoothnesses around the best are tried.

    Args:
        values: (rows, columns, d).
        weights: (rows, columns).
        fold: (rows, columns), 0 or 1: the nodes of one fold are predicted from those of the other.
        candidates: smoothnesses to choose from, rising.
        max_error: the error of one value counts at most this much, in units of the values.
        tolerance: errors up to this factor of the smallest count as equally good.
        first_tried: index in ``candidates`` of the likeliest smoothness, which is tried first; None for the middle.
        both_folds: predict each fold from the other; False predicts fold 0 only, which is enough where nodes are many.
    """
    errors: dict[int, float] = {}

    def error_at(place: int) -> float:
        if place not in errors:
            errors[place] = 0.0
            for part in (0, 1) if both_folds else (0,):
                guess = smooth_lattice(values, np.where(fold == part, 0.0, weights), candidates[place])
                squared = np.minimum(((guess - values) ** 2).sum(axis=-1), max_error**2)
                errors[place] += float((weights * (fold == part) * squared).sum())
        return errors[place]

    place = len(candidates) // 2 if first_tried is None else first_tried
    error_at(place)
    while place + 1 < len(candidates) and error_at(place + 1) <= tolerance * min(errors.values()):
        place += 1
    place = min(errors)
    while place > 0 and min(errors.values()) == errors[place] and tolerance * error_at(place - 1) < errors[place]:
        place -= 1
    return candidates[
        max(place for place, error in errors.items() if error <= tolerance * min(errors.values()) + 1e-12)
    ]


def _residual_norms(values: Points, surface: Floats, weights: Floats) -> Floats:
    """Distance of each value from the surface, (rows, columns), in units of the values; infinite without weight."""
    norms = np.linalg.norm(np.where(weights[..., None] > 0, values, 0.0) - surface, axis=-1)
    return np.where(weights > 0, norms, np.inf)
