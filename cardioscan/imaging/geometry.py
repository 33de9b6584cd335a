"""Geometry shared by the stages: homographies, orientations, resizing, and interpolation on lattices.

Every 3x3 matrix here takes homogeneous column vectors (x, y, 1) of one pixel frame to another, float64, with integer
coordinates at pixel centres. Nothing here knows about ECGs, and nothing keeps state except caches of constants.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline

from cardioscan.arrays import Floats, Points

_MAX_UNFILTERED_REDUCTION: Final = 1.25
"""A picture that is made smaller by no more than this factor needs no low-pass filter."""

N_ORIENTATIONS: Final = 8
"""Four quarter turns, each as printed or mirrored; numbered as in :func:`orientation_matrix`."""


def transform_points(matrix: Points, points: Points) -> Floats:
    """Apply a 3x3 matrix to points ``(..., 2)`` (x, y); float64 of the same shape."""
    matrix = np.asarray(matrix, np.float64)
    points = np.asarray(points, np.float64)
    homogeneous = points @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(homogeneous[..., :2] / homogeneous[..., 2:], np.float64)


def resize_matrix(scale_x: float, scale_y: float) -> Floats:
    """The matrix of resizing by (scale_x, scale_y): pixel *edges* coincide, so centres move by half a pixel."""
    shift_x, shift_y = 0.5 * scale_x - 0.5, 0.5 * scale_y - 0.5
    return np.array([[scale_x, 0, shift_x], [0, scale_y, shift_y], [0, 0, 1]], np.float64)


def translation_matrix(x: float, y: float) -> Floats:
    """The matrix that adds (x, y)."""
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


def orientation_matrix(k: int, width: int, height: int) -> Floats:
    """Matrix from an upright image of ``width`` x ``height`` px to the same image as seen in orientation ``k``.

    ``k`` counts as in ``np.rot90(np.fliplr(upright) if k >= 4 else upright, k % 4)``: mirrored left-right first where
    ``k >= 4``, then ``k % 4`` quarter turns counterclockwise. Raises ValueError outside 0..7.
    """
    if not 0 <= k < N_ORIENTATIONS:
        raise ValueError(f"orientation must be 0..7, not {k}")
    matrix = np.eye(3)
    if k >= 4:
        matrix = np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1]], np.float64)
    for _ in range(k % 4):
        quarter = np.array([[0, 1, 0], [-1, 0, width - 1], [0, 0, 1]], np.float64)
        matrix = quarter @ matrix
        width, height = height, width
    return matrix


def orient(image: NDArray[Any], k: int) -> NDArray[Any]:
    """Show an upright image ``(H, W, ...)`` in orientation ``k`` (0..7), see :func:`orientation_matrix`."""
    if not 0 <= k < N_ORIENTATIONS:
        raise ValueError(f"orientation must be 0..7, not {k}")
    return np.rot90(np.fliplr(image) if k >= 4 else image, k % 4)


def jacobians(matrices: Points, points: Points) -> tuple[Floats, Floats]:
    """Local linear maps of homographies.

    Args:
        matrices: (..., 3, 3).
        points: (n, 2).

    Returns:
        Jacobians (..., n, 2, 2), and the third homogeneous coordinate (..., n), whose sign differs on the two sides of
        the horizon.
    """
    matrices = np.asarray(matrices, np.float64)
    homogeneous = np.concatenate([np.asarray(points, np.float64), np.ones((len(points), 1))], axis=1)
    mapped = homogeneous @ np.swapaxes(matrices, -1, -2)
    depth = mapped[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        position = mapped[..., :2] / depth[..., None]
        top = matrices[..., None, :2, :2] - position[..., :, None] * matrices[..., None, 2:, :2]
        return np.asarray(top / depth[..., None, None], np.float64), np.asarray(depth, np.float64)


def stretch(jacobian: Floats) -> tuple[Floats, Floats]:
    """Scale and anisotropy of Jacobians (..., 2, 2): geometric mean of the singular values, and their ratio.

    The ratio is >= 1, and inf where a Jacobian is singular.
    """
    determinant = np.abs(jacobian[..., 0, 0] * jacobian[..., 1, 1] - jacobian[..., 0, 1] * jacobian[..., 1, 0])
    energy = np.sum(jacobian**2, axis=(-1, -2))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (energy + np.sqrt(np.maximum(energy**2 - 4 * determinant**2, 0))) / (2 * determinant)
    return np.sqrt(determinant), np.where(np.isfinite(ratio), ratio, np.inf)


def dominant_orientation(jacobian: Points) -> NDArray[np.int64]:
    """The orientation 0..7 nearest to the linear part (..., 2, 2) of a map from an upright page to the picture."""
    linear = np.stack([orientation_matrix(k, 1, 1)[:2, :2] for k in range(N_ORIENTATIONS)])
    agreement = np.einsum("...ab,kab->...k", np.asarray(jacobian, np.float64), linear)
    mirrored = np.linalg.det(jacobian) < 0
    # A turn by 45 degrees agrees equally with a mirrored and a plain orientation; the determinant tells them apart.
    allowed = (np.arange(N_ORIENTATIONS) >= 4) == mirrored[..., None]
    return np.asarray(np.argmax(np.where(allowed, agreement, -np.inf), axis=-1), np.int64)


def normalising_matrix(points: Points) -> Floats:
    """The matrix that moves the centroid of points (n, 2) to the origin and scales their mean distance to sqrt(2)."""
    points = np.asarray(points, np.float64)
    centre = points.mean(axis=0)
    scale = np.sqrt(2) / max(float(np.linalg.norm(points - centre, axis=1).mean()), 1e-12)
    return np.array([[scale, 0, -scale * centre[0]], [0, scale, -scale * centre[1]], [0, 0, 1]], np.float64)


def _adjugate(columns: Floats) -> Floats:
    a, b, c = columns[..., :, 0], columns[..., :, 1], columns[..., :, 2]
    return np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=-2)


def homographies_from_quads(source: Points, target: Points) -> Floats:
    """Exact homographies from four point pairs each: ``(n, 4, 2)`` twice -> ``(n, 3, 3)``, scaled to unit norm.

    Solved in closed form by the projective basis of each quadruple. Degenerate points give a useless matrix, no error.
    """

    def basis(points: Points) -> Floats:
        homogeneous = np.concatenate([np.asarray(points, np.float64), np.ones((*points.shape[:2], 1))], axis=2)
        columns = np.swapaxes(homogeneous[:, :3], 1, 2)
        weights = np.einsum("nij,nj->ni", _adjugate(columns), homogeneous[:, 3])
        return np.asarray(columns * weights[:, None, :], np.float64)

    matrices = basis(target) @ _adjugate(basis(source))
    norm = np.linalg.norm(matrices, axis=(1, 2), keepdims=True)
    return np.asarray(matrices / np.where(norm > 0, norm, 1), np.float64)


def affinities_from_triangles(source: Points, target: Points) -> Floats:
    """Exact affine maps from three point pairs each, no source on a line: ``(n, 3, 2)`` twice -> ``(n, 3, 3)``."""

    def columns(points: Points) -> Floats:
        homogeneous = np.concatenate([np.asarray(points, np.float64), np.ones((*points.shape[:2], 1))], axis=2)
        return np.asarray(np.swapaxes(homogeneous, 1, 2), np.float64)

    source_columns = columns(source)
    inverse = _adjugate(source_columns) / np.linalg.det(source_columns)[:, None, None]
    return np.asarray(columns(target) @ inverse, np.float64)


def homography_dlt(source: Points, target: Points) -> Floats:
    """Normalised direct linear transform (Hartley 1997): least-squares 3x3 from ``n >= 4`` point pairs ``(n, 2)``."""
    normal_source, normal_target = normalising_matrix(source), normalising_matrix(target)
    p, q = transform_points(normal_source, source), transform_points(normal_target, target)
    homogeneous = np.concatenate([p, np.ones((len(p), 1))], axis=1)
    zeros = np.zeros_like(homogeneous)
    rows = np.concatenate(
        [
            np.concatenate([homogeneous, zeros, -q[:, :1] * homogeneous], axis=1),
            np.concatenate([zeros, homogeneous, -q[:, 1:] * homogeneous], axis=1),
        ]
    )
    null = np.linalg.svd(rows)[2][-1].reshape(3, 3)
    matrix = np.linalg.inv(normal_target) @ null @ normal_source
    return np.asarray(matrix / matrix[2, 2] if abs(matrix[2, 2]) > 1e-12 else matrix, np.float64)


def affinity_lstsq(source: Points, target: Points) -> Floats:
    """Least-squares affine 3x3 from ``n >= 3`` point pairs ``(n, 2)``."""
    design = np.concatenate([np.asarray(source, np.float64), np.ones((len(source), 1))], axis=1)
    solution = np.linalg.lstsq(design, np.asarray(target, np.float64), rcond=None)[0]
    return np.vstack([solution.T, [0.0, 0.0, 1.0]])


def halve(image: NDArray[np.uint8], factor: float) -> tuple[NDArray[np.uint8], Floats]:
    """Halve an image by area averaging as long as ``factor`` stays 1 or more; a last odd row or column is left out.

    Returns the image (the input itself for factors below 2) and the exact matrix from the old to the new frame.
    """
    matrix = np.eye(3)
    while factor >= 2 and min(image.shape[:2]) >= 2:
        size = image.shape[1] // 2, image.shape[0] // 2
        whole = image[: 2 * size[1], : 2 * size[0]]
        image = np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)
        matrix, factor = resize_matrix(0.5, 0.5) @ matrix, factor / 2
    return image, matrix


def sampling_blur(factor: float) -> float:
    """Sigma, px, of the Gaussian blur that an image needs before it is sampled every ``factor`` px; 0 up to 1.25."""
    return 0.4 * float(np.sqrt(factor**2 - 1)) if factor > _MAX_UNFILTERED_REDUCTION else 0.0


def shrink(image: NDArray[np.uint8], factor: float) -> tuple[NDArray[np.uint8], Floats]:
    """Low-pass an image for a warp that makes it ``factor`` >= 1 times smaller, so that the warp does not alias.

    The image is halved (:func:`halve`) and blurred for the rest, in a quarter of the time of area averaging.

    Returns the image (the input itself for factors up to 1.25) and the exact matrix from the old to the new frame.
    """
    small, matrix = halve(image, factor)
    deviation = sampling_blur(factor * float(matrix[0, 0]))
    if deviation > 0:
        small = np.asarray(cv2.GaussianBlur(small, (0, 0), deviation), np.uint8)
    return small, matrix


def area_resize(image: NDArray[np.uint8], new_width: int, new_height: int) -> tuple[NDArray[np.uint8], Floats]:
    """Resize an image (H, W, ...) to a smaller size, close to area averaging.

    It is halved (:func:`halve`), then resized bilinearly to twice the new size and halved again: less than one level
    of 255 from the area average, in two fifths of its time. A remaining factor of at most 1.25 is resized bilinearly.

    Returns:
        The image (new_height, new_width, ...) uint8, and the exact 3x3 matrix from the old frame to the new one.
    """
    image, matrix = halve(image, min(image.shape[1] / new_width, image.shape[0] / new_height))
    last = resize_matrix(new_width / image.shape[1], new_height / image.shape[0]) @ matrix
    if image.shape[:2] == (new_height, new_width):
        return image, last
    if max(image.shape[1] / new_width, image.shape[0] / new_height) <= _MAX_UNFILTERED_REDUCTION:
        return np.asarray(cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR), np.uint8), last
    twice = cv2.resize(image, (2 * new_width, 2 * new_height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.resize(twice, (new_width, new_height), interpolation=cv2.INTER_AREA), np.uint8), last


def median_of_known(values: Floats, axis: int) -> Floats:
    """Median along an axis without NaN: ``np.nanmedian`` in a fifth of its time; NaN where there are only NaN."""
    count = np.isfinite(values).sum(axis=axis, keepdims=True)
    ordered = np.sort(values, axis=axis)  # NaN comes last
    low, high = (np.take_along_axis(ordered, np.maximum((count - odd) // 2, 0), axis=axis) for odd in (1, 0))
    return np.asarray(np.squeeze(low + high, axis=axis) / 2, np.float64)


def sample_bilinear(field: Points, points: Points) -> Floats:
    """Sample ``field`` (C, h, w) at ``points`` (n, 2) (x, y) in its own cells, clamped to the border: (n, C)."""
    height, width = field.shape[-2:]
    x = np.clip(np.asarray(points, np.float64)[:, 0], 0, width - 1)
    y = np.clip(np.asarray(points, np.float64)[:, 1], 0, height - 1)
    x0 = np.minimum(x.astype(np.int64), max(width - 2, 0))
    y0 = np.minimum(y.astype(np.int64), max(height - 2, 0))
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = x - x0, y - y0
    top = field[:, y0, x0] * (1 - fx) + field[:, y0, x1] * fx
    bottom = field[:, y1, x0] * (1 - fx) + field[:, y1, x1] * fx
    return np.asarray((top * (1 - fy) + bottom * fy).T, np.float64)


def slide_nodes(nodes: Floats, move: Floats, pitch: float) -> Floats:
    """Convert displacements on the flat page into displacements of a lattice's nodes in the picture.

    Args:
        nodes: (rows, columns, 2) float64, (x, y) px of the picture.
        move: same shape, (x, y) px of the flat page.
        pitch: distance of the nodes on the flat page, px.

    Returns:
        (rows, columns, 2) float64, px of the picture, to be added to ``nodes``.
    """
    down, across = np.gradient(nodes, pitch, axis=(0, 1), edge_order=2)
    return np.asarray(across * move[..., :1] + down * move[..., 1:], np.float64)


@lru_cache(maxsize=32)
def spline_matrix(n_knots: int, start: float, pitch: float, size: int, step: int = 1) -> Floats:
    """Cubic-spline interpolation as a matrix: from values at ``start + pitch * k`` to those at 0, step, 2 step...

    ``(ceil(size / step), n_knots)`` float64, read-only; exact at the knots (not-a-knot ends), straight outside them.
    One such matrix for the rows and one for the columns interpolate a lattice on a whole image.
    """
    knots = start + pitch * np.arange(n_knots)
    spline = make_interp_spline(knots, np.eye(n_knots), k=3)
    places = np.arange(0, size, step, dtype=np.float64)
    inside = np.clip(places, knots[0], knots[-1])
    slopes = spline.derivative()(np.array([knots[0], knots[-1]]))
    beyond = places - inside
    matrix = spline(inside) + beyond[:, None] * np.where(beyond[:, None] < 0, slopes[0], slopes[1])
    matrix = np.asarray(matrix, np.float64)
    matrix.flags.writeable = False
    return matrix
