from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioscan.backends.specs import MARGIN_GREY
from cardioscan.imaging.geometry import orient, transform_points
from cardioscan.locate.views import average_flips, flips, letterbox, undo_orientation


@pytest.mark.parametrize("shape", [(1700, 2200), (2000, 1500), (300, 400), (900, 900), (500, 2000)])
def test_the_matrix_of_the_letterbox_follows_the_content(shape):
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    image = np.stack([255 * x / shape[1], 255 * y / shape[0], np.full(shape, 90)], axis=-1).astype(np.uint8)
    canvas, matrix = letterbox(image)
    assert canvas.shape == (1152, 1440, 3)
    assert canvas.dtype == np.uint8
    places = np.array([[0.3, 0.4], [0.5, 0.5], [0.7, 0.2], [0.9, 0.9]]) * (shape[1], shape[0])
    for (px, py), (cx, cy) in zip(places, transform_points(matrix, places), strict=True):
        seen = canvas[round(cy), round(cx)].astype(float)
        assert abs(seen[0] - 255 * px / shape[1]) < 2
        assert abs(seen[1] - 255 * py / shape[0]) < 2


@pytest.mark.parametrize("shape", [(1700, 2200), (2200, 1700)])
def test_the_letterbox_fills_the_input_and_never_mirrors(shape):
    canvas, matrix = letterbox(np.zeros((*shape, 3), np.uint8))
    assert np.linalg.det(matrix) > 0
    assert (canvas == 0).mean() > 0.9
    assert set(np.unique(canvas)) == {0, MARGIN_GREY}
    edges = transform_points(matrix, np.array([[-0.5, -0.5], [shape[1] - 0.5, shape[0] - 0.5]]))
    assert np.isclose(np.abs(edges[1] - edges[0])[0], 1440)


def test_a_portrait_picture_is_not_turned_unless_asked_for():
    canvas, matrix = letterbox(np.zeros((2200, 1700, 3), np.uint8), turn=False)
    assert np.allclose(matrix[[0, 1], [1, 0]], 0)
    assert (canvas[:, 720] == 0).all() and (canvas[576, [0, -1]] == MARGIN_GREY).all()


def test_a_picture_of_the_right_size_passes_the_letterbox():
    image = np.random.default_rng(0).integers(0, 256, (1152, 1440, 3), dtype=np.uint8)
    canvas, matrix = letterbox(image)
    assert np.array_equal(canvas, image)
    assert np.allclose(matrix, np.eye(3))


@pytest.mark.parametrize("view", range(4))
def test_what_is_said_of_each_flip_is_turned_back(view):
    image = np.random.default_rng(0).random((6, 9, 3)).astype(np.float32)
    seen = np.moveaxis(flips(image), -1, 1)
    assert seen.shape == (4, 3, 6, 9)
    alone = np.zeros_like(seen)
    alone[view] = seen[view]
    assert np.array_equal(np.moveaxis(average_flips(alone), 0, -1), image / 4)


def test_flips_are_averaged():
    rng = np.random.default_rng(1)
    labels, noise = rng.random((14, 5, 7)).astype(np.float32), rng.normal(0, 0.1, (4, 14, 5, 7)).astype(np.float32)
    said = np.stack([flips(np.moveaxis(labels + own, 0, -1))[view] for view, own in enumerate(noise)])
    mean = average_flips(np.moveaxis(said, -1, 1))
    assert np.allclose(mean, labels + noise.mean(axis=0), atol=1e-6)
    assert mean.dtype == np.float32


def test_bytes_are_probabilities():
    assert np.allclose(average_flips(np.full((1, 14, 2, 2), 255, np.uint8)), 1)


def test_there_are_four_flips():
    with pytest.raises(ValueError, match="view"):
        average_flips(np.zeros((5, 1, 2, 2)))


@given(k=st.integers(0, 7), height=st.integers(1, 6), width=st.integers(1, 6))
@settings(deadline=None)
def test_every_orientation_is_undone_exactly(k, height, width):
    upright = np.arange(height * width * 3).reshape(height, width, 3)
    seen = orient(upright, k)
    back, matrix = undo_orientation(seen, k)
    assert np.array_equal(back, upright)
    ys, xs = np.mgrid[: seen.shape[0], : seen.shape[1]]
    moved = transform_points(matrix, np.stack([xs, ys], axis=-1)).astype(int)
    assert np.array_equal(back[moved[..., 1], moved[..., 0]], seen)
