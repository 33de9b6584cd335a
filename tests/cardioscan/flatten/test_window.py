from __future__ import annotations

import numpy as np
import pytest

from cardioscan.backends.specs import MARGIN_GREY, RECTIFIER_WINDOW
from cardioscan.flatten.window import warp_to_window, window_matrix
from cardioscan.imaging.geometry import transform_points


@pytest.mark.parametrize("k", [1.0, 0.37, -2.0])
def test_the_matrix_takes_the_picture_to_the_window(k):
    to_image = np.array([[1.4, 0.1, 100], [-0.08, 1.5, 300], [2e-5, -1e-5, 1]])
    places = np.array([[0.0, 0.0], [2199, 1699], [900, 400]])
    there = transform_points(window_matrix(k * to_image, RECTIFIER_WINDOW), transform_points(to_image, places))
    assert np.allclose(there, RECTIFIER_WINDOW.from_reference(places))


def test_the_window_shows_the_page_where_it_says():
    image = np.full((3400, 4400, 3), 7, np.uint8)
    image[..., 0] = np.arange(4400) / 4400 * 255
    image[..., 1] = (np.arange(3400) / 3400 * 255)[:, None]
    window = RECTIFIER_WINDOW
    seen = warp_to_window(image, window_matrix(np.diag([2.0, 2.0, 1.0]), window), window)
    assert seen.shape == (1152, 1440, 3) and seen.dtype == np.uint8
    for place in ([300.0, 300.0], [1100.0, 850.0], [2000.0, 1600.0]):
        cx, cy = window.from_reference(np.array(place))
        at = seen[round(float(cy)), round(float(cx))].astype(float)
        assert abs(at[0] - 2 * place[0] / 4400 * 255) < 2
        assert abs(at[1] - 2 * place[1] / 3400 * 255) < 2
    assert (seen[:40] == MARGIN_GREY).all()


def test_fine_stripes_do_not_alias_in_the_window():
    image = np.zeros((3400, 4400, 3), np.uint8)
    image[:, ::2] = 200
    seen = warp_to_window(image, window_matrix(np.diag([2.0, 2.0, 1.0]), RECTIFIER_WINDOW), RECTIFIER_WINDOW)
    assert np.abs(seen[200:900, 200:1200].astype(int) - 100).max() < 20
