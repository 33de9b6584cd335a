from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioscan import geometry as g

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
    assert small.shape == (120, 160)
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


class TestSmoothLattice:
    j, i = np.mgrid[:44, :57].astype(float)

    def test_planes_cost_nothing(self):
        plane = np.stack([2 * self.i - self.j, 0.3 * self.j + 7], axis=-1)
        weights = np.zeros((44, 57))
        weights[10:20, 30:45] = 1
        assert np.allclose(g.smooth_lattice(plane, weights, 30.0), plane, atol=1e-3)

    def test_missing_values_may_be_nan(self):
        values = np.stack([self.i, self.j], axis=-1)
        weights = np.ones((44, 57))
        weights[5:12, 6:13] = 0
        values[5:12, 6:13] = np.nan
        filled = g.smooth_lattice(values, weights, 0.1)
        assert np.allclose(filled[..., 0], self.i, atol=1e-4)

    def test_gap_in_a_wave(self):
        wave = 10 * np.sin(self.i / 8) * np.cos(self.j / 9)
        weights = np.ones((44, 57))
        weights[15:21, 20:28] = 0
        assert np.abs(g.smooth_lattice(wave[..., None], weights, 0.05)[..., 0] - wave).max() < 0.1

    def test_one_wild_value_is_found(self):
        wave = 5 * np.sin(self.i / 8)
        wild = wave.copy()
        wild[20, 20] += 30
        surface, distance = g.robust_lattice(wild[..., None], np.ones((44, 57)), 30.0, (10.0, 5.0, 2.0))
        assert np.unravel_index(np.argmax(distance), distance.shape) == (20, 20)
        assert np.abs(surface[..., 0] - wave).max() < 0.1

    def test_needs_a_lattice(self):
        with pytest.raises(ValueError, match="4 x 4"):
            g.smooth_lattice(np.zeros((3, 9, 1)), np.ones((3, 9)), 1.0)


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


@pytest.mark.parametrize(("waves", "noise", "stiffest"), [(0.3, 0.5, True), (3.0, 0.01, False)])
def test_a_surface_is_as_stiff_as_predicting_allows(waves, noise, stiffest):
    rng = np.random.default_rng(4)
    j, i = np.mgrid[:30, :40]
    truth = np.sin(2 * np.pi * waves * i / 40) * np.cos(2 * np.pi * waves * j / 30)
    values = (truth + rng.normal(0, noise, truth.shape))[..., None]
    fold = (i + j) % 2
    ladder = (1e-4, 1e-2, 1.0, 100.0, 1e5)
    chosen = g.stiffest_that_predicts(values, np.ones(truth.shape), fold, ladder)
    assert (chosen >= 100.0) == stiffest

    def missed(smoothness):
        guesses = [g.smooth_lattice(values, (fold != part).astype(float), smoothness)[..., 0] for part in (0, 1)]
        return np.sum((np.where(fold == 0, *guesses) - values[..., 0]) ** 2)

    # What climbing the ladder finds is what trying all of it would have found.
    errors = [missed(smoothness) for smoothness in ladder]
    assert chosen == ladder[max(k for k, error in enumerate(errors) if error <= 1.05 * min(errors))]


def test_single_values_far_off_do_not_decide_how_stiff_a_surface_is():
    rng = np.random.default_rng(5)
    j, i = np.mgrid[:24, :30]
    values = (0.3 * np.sin(i / 2.0) + rng.normal(0, 0.01, i.shape))[..., None]
    spoilt = values.copy()
    spoilt[rng.random(i.shape) < 0.02] += 50
    ladder = (1e-4, 1e-2, 1.0, 100.0, 1e5)
    calm = g.stiffest_that_predicts(values, np.ones(i.shape), (i + j) % 2, ladder, farthest=1.0)
    assert g.stiffest_that_predicts(spoilt, (spoilt < 10)[..., 0] * 1.0, (i + j) % 2, ladder, farthest=1.0) == calm
