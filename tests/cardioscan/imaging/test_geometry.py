from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioscan.imaging import geometry as g

coordinates = st.floats(-2000, 3000, allow_nan=False)
SQUARE = np.array([[0, 0], [2199, 0], [2199, 1699], [0, 1699]], float)


def random_homography(seed: int):
    rng = np.random.default_rng(seed)
    corners = SQUARE * 0.6 + 100 + rng.uniform(-120, 120, (4, 2))
    matrix = g.homographies_from_quads(SQUARE[None], corners[None])[0]
    return matrix / matrix[2, 2], corners


@pytest.mark.parametrize("k", range(8))
@pytest.mark.parametrize("shape", [(3, 5), (4, 4), (1, 6)])
def test_orientation_matrix_says_where_each_pixel_goes(k, shape):
    upright = np.arange(np.prod(shape)).reshape(shape)
    seen = g.orient(upright, k)
    ys, xs = np.mgrid[: shape[0], : shape[1]]
    moved = g.transform_points(g.orientation_matrix(k, shape[1], shape[0]), np.stack([xs, ys], axis=-1))
    assert np.array_equal(moved, np.rint(moved))
    x, y = moved[..., 0].astype(int), moved[..., 1].astype(int)
    assert np.array_equal(seen[y, x], upright)


@pytest.mark.parametrize("k", [-1, 8])
def test_unknown_orientations_are_errors(k):
    with pytest.raises(ValueError, match="0..7"):
        g.orientation_matrix(k, 4, 4)
    with pytest.raises(ValueError, match="0..7"):
        g.orient(np.zeros((2, 2)), k)


@pytest.mark.parametrize("k", range(8))
def test_dominant_orientation_of_a_slightly_turned_page(k):
    angle = np.deg2rad(30)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert g.dominant_orientation(0.4 * turn @ g.orientation_matrix(k, 9, 9)[:2, :2]) == k


@given(seed=st.integers(0, 200), x=coordinates, y=coordinates)
@settings(max_examples=50, deadline=None)
def test_jacobian_is_the_derivative(seed, x, y):
    matrix, _ = random_homography(seed)
    jacobian, depth = g.jacobians(matrix, np.array([[x, y]]))
    if abs(depth[0]) < 0.3:
        return
    step, here = 1e-3, np.array([x, y])
    numeric = [
        (g.transform_points(matrix, here + d) - g.transform_points(matrix, here - d)) / (2 * step)
        for d in (np.array([step, 0]), np.array([0, step]))
    ]
    assert np.allclose(jacobian[0], np.array(numeric).T, atol=1e-4, rtol=1e-4)


@given(seed=st.integers(0, 500))
@settings(max_examples=40, deadline=None)
def test_four_points_fix_a_homography(seed):
    matrix, corners = random_homography(seed)
    assert np.allclose(g.transform_points(matrix, SQUARE), corners, atol=1e-6)
    fitted = g.homography_dlt(SQUARE, corners)
    assert np.allclose(g.transform_points(fitted, SQUARE), corners, atol=1e-6)


def test_affine_maps_from_three_points_and_from_many():
    matrix = np.array([[0.5, 0.1, 20], [-0.2, 0.7, 5], [0, 0, 1]])
    target = g.transform_points(matrix, SQUARE)
    assert np.allclose(g.affinities_from_triangles(SQUARE[None, :3], target[None, :3])[0], matrix)
    assert np.allclose(g.affinity_lstsq(SQUARE, target), matrix)


@pytest.mark.parametrize(("scale", "ratio"), [((2.0, 2.0), 1.0), ((1.0, 4.0), 4.0), ((3.0, 0.0), np.inf)])
def test_stretch(scale, ratio):
    size, flatness = g.stretch(np.diag(scale)[None])
    assert size[0] == pytest.approx(np.sqrt(scale[0] * scale[1]))
    assert flatness[0] == pytest.approx(ratio)


def test_shrinking_keeps_places():
    y, x = np.mgrid[:300, :400]
    image = np.clip(x / 2, 0, 255).astype(np.uint8)
    small, matrix = g.shrink(image, 2.5)
    assert small.shape == (150, 200)
    place = g.transform_points(np.linalg.inv(matrix), np.array([[80.0, 60.0]]))[0]
    assert abs(small[60, 80] - place[0] / 2) <= 1
    assert g.shrink(image, 1.0)[0] is image


@given(st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_bilinear_sampling_is_exact_on_planes(seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:12, :17]
    field = np.stack([2 * x - y, 0.5 * y + 3])
    points = rng.uniform(0, [16, 11], (20, 2))
    expected = np.stack([2 * points[:, 0] - points[:, 1], 0.5 * points[:, 1] + 3], axis=1)
    assert np.allclose(g.sample_bilinear(field, points), expected)


def test_spline_matrix_is_exact_at_knots_and_on_cubics_and_straight_outside():
    matrix = g.spline_matrix(12, 10.0, 20.0, 260)
    knots = 10.0 + 20.0 * np.arange(12)
    values = 1e-4 * knots**3 - 0.02 * knots**2 + knots
    result = matrix @ values
    assert np.allclose(result[10:231:20], values)
    x = np.arange(10, 231)
    assert np.allclose(result[10:231], 1e-4 * x**3 - 0.02 * x**2 + x)
    assert np.allclose(np.diff(result[231:], 2), 0, atol=1e-9)
    assert np.array_equal(g.spline_matrix(12, 10.0, 20.0, 260, 4), matrix[::4])


@pytest.mark.parametrize("size", [(401, 303), (400, 300), (257, 1030)])
@pytest.mark.parametrize("factor", [1.0, 1.6, 2.0, 2.7, 4.4, 9.0])
def test_area_resize_says_exactly_where_pixels_go(size, factor):
    """A plane of brightness is averaged to the value at the centre of each cell, however it is halved on the way.

    But for what halving bytes rounds up by, which is up to 0.4 of a level each time, everywhere alike.
    """
    width, height = size
    y, x = np.mgrid[:height, :width]
    plane = np.rint(20 + 200 * x / width + 20 * y / height).astype(np.uint8)
    new = max(1, round(width / factor)), max(1, round(height / factor))
    small, matrix = g.area_resize(plane, *new)
    assert small.shape == new[::-1]
    v, u = np.mgrid[: new[1], : new[0]]
    back = g.transform_points(np.linalg.inv(matrix), np.stack([u, v], axis=-1))
    expected = 20 + 200 * back[..., 0] / width + 20 * back[..., 1] / height
    error = (small - expected)[1:-1, 1:-1]
    assert -0.1 < error.mean() < 1.2
    assert np.abs(error - error.mean()).max() < 1.5
    corner = g.transform_points(matrix, np.array([[-0.5, -0.5]]))
    assert np.allclose(corner, -0.5)


@pytest.mark.parametrize("factor", [1.1, 1.5, 1.8, 2.5, 3.7])
def test_area_resize_is_close_to_the_area_average(factor):
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (900, 1200, 3), dtype=np.uint8), (0, 0), 2.0)
    size = round(1200 / factor), round(900 / factor)
    exact = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(float)
    apart = g.area_resize(image, *size)[0] - exact
    contrast = exact.std()
    assert abs(apart.mean()) < 1.0
    assert np.std(apart) < 0.2 * contrast


@pytest.mark.parametrize(("factor", "halvings"), [(1.0, 0), (1.9, 0), (2.0, 1), (3.9, 1), (4.0, 2), (1e9, 7)])
def test_halving_goes_as_often_as_the_factor_holds_two(factor, halvings):
    image = np.zeros((131, 260, 3), np.uint8)
    small, matrix = g.halve(image, factor)
    assert small.shape == (131 >> halvings, 260 >> halvings, 3)
    assert matrix[0, 0] == matrix[1, 1] == 0.5**halvings
    assert (small is image) == (halvings == 0)


@given(st.integers(0, 1000), st.integers(0, 1))
@settings(max_examples=30, deadline=None)
def test_the_median_of_known_values_is_numpys(seed, axis):
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, (7, 9, 3))
    values[rng.random(values.shape) < 0.4] = np.nan
    values[2, 3, 1] = values[3, 2, 1] = 0.0  # no slice without a number in it
    values[0], values[:, 0] = 1.0, 1.0
    assert np.array_equal(g.median_of_known(values, axis), np.nanmedian(values, axis=axis))
    assert np.isnan(g.median_of_known(np.full((3, 4), np.nan), axis)).all()
