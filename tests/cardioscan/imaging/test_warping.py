from __future__ import annotations

import cv2
import numpy as np
import pytest

from cardioscan.imaging.geometry import transform_points
from cardioscan.imaging.warping import SmoothMap

MATRICES = {
    "shift": np.array([[1, 0, 12.5], [0, 1, -7.25], [0, 0, 1]]),
    "quarter turn": np.array([[0, 0.9, 5], [-0.9, 0, 1100], [0, 0, 1]]),
    "perspective": np.array([[0.9, 0.05, 10], [-0.03, 0.92, 20], [1e-4, 2e-5, 1]]),
}


@pytest.mark.parametrize("name", MATRICES)
def test_a_homography_is_sampled_as_opencv_does(name: str) -> None:
    """To a level, but for the grey around the picture: OpenCV rounds places to a thirty-second of a pixel."""
    rng = np.random.default_rng(1)
    image = cv2.GaussianBlur(rng.integers(0, 256, (1100, 1500, 3), dtype=np.uint8), (0, 0), 2.0)
    wanted = cv2.warpPerspective(image, MATRICES[name], (1440, 1152), flags=cv2.INTER_LINEAR, borderValue=(128,) * 3)
    found = SmoothMap.of_matrix(MATRICES[name], 1440, 1152).sample(image, fill=128)
    assert found.shape == wanted.shape
    assert np.mean(np.abs(found.astype(int) - wanted) > 1) < 1e-3


@pytest.mark.parametrize("name", MATRICES)
def test_points_of_the_page_lie_where_the_inverse_has_them(name: str) -> None:
    points = np.random.default_rng(0).uniform(0, (1439, 1151), (200, 2))
    there = SmoothMap.of_matrix(MATRICES[name], 1440, 1152).at(points)
    assert np.abs(there - transform_points(np.linalg.inv(MATRICES[name]), points)).max() < 0.01


def test_a_horizon_in_the_page_is_outside_the_picture() -> None:
    matrix = np.linalg.inv(np.array([[1, 0, 0], [0, 1, 0], [0, -1 / 400, 1.0]]))
    page_map = SmoothMap.of_matrix(matrix, 640, 800)
    assert np.isfinite(page_map.x).all()
    assert np.isfinite(page_map.y).all()
    image = np.full((300, 640, 3), 7, np.uint8)
    assert (page_map.sample(image, fill=200)[390:] == 200).mean() > 0.99
    assert page_map.inside(image.shape)[:100].mean() > 0.5


@pytest.mark.parametrize("fill", [90, None])
@pytest.mark.parametrize("degrees", [0.0, 2.0, 37.0, 90.0, 180.0])
def test_a_page_that_hangs_over_every_side_of_the_picture(degrees: float, fill: int | None) -> None:
    """Tiles across a side, beside it and far from it: all as OpenCV does it on the whole picture."""
    rng = np.random.default_rng(2)
    image = cv2.GaussianBlur(rng.integers(0, 256, (350, 420, 3), dtype=np.uint8), (0, 0), 2.0)
    turned = np.vstack([cv2.getRotationMatrix2D((210.0, 175.0), degrees, 1.3), (0, 0, 1)])
    matrix = np.array([[1, 0, 390], [0, 1, 425], [0, 0, 1]]) @ turned
    border = cv2.BORDER_REPLICATE if fill is None else cv2.BORDER_CONSTANT
    wanted = cv2.warpPerspective(image, matrix, (1200, 1200), borderMode=border, borderValue=(fill or 0,) * 3)
    page_map = SmoothMap.of_matrix(matrix, 1200, 1200)
    found = page_map.sample(image, fill)
    assert np.mean(np.abs(found.astype(int) - wanted) > 1) < 2e-3
    x, y = page_map.dense()
    inside = (x >= -0.5) & (x <= 419.5) & (y >= -0.5) & (y <= 349.5)
    assert np.mean(page_map.inside(image.shape) != inside) < 1e-4
    assert 0.1 < inside.mean() < 0.3


def test_a_picture_that_the_page_does_not_touch() -> None:
    image = np.full((30, 40, 3), 7, np.uint8)
    page_map = SmoothMap.of_matrix(np.array([[1, 0, 5000], [0, 1, -9000], [0, 0, 1.0]]), 320, 300)
    assert (page_map.sample(image, fill=200) == 200).all()
    assert (page_map.sample(image, fill=None) == 7).all()
    assert not page_map.inside(image.shape).any()
