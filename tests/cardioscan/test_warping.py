from __future__ import annotations

import cv2
import numpy as np
import pytest

from cardioscan.geometry import transform_points
from cardioscan.warping import SmoothMap, four_channels

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


def test_a_fourth_channel_changes_nothing_else() -> None:
    image = np.random.default_rng(2).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    four = four_channels(image)
    assert four.shape == (40, 50, 4)
    assert np.array_equal(four[..., :3], image)
    assert four_channels(four) is four
