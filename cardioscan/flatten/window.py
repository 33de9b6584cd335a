"""The window that the grid rectifier sees."""

from __future__ import annotations

import numpy as np

from cardioscan.arrays import Floats, Image
from cardioscan.backends.specs import MARGIN_GREY, RectifierWindow
from cardioscan.imaging.geometry import jacobians, shrink, stretch
from cardioscan.imaging.warping import SmoothMap

__all__ = ["warp_to_window", "window_matrix"]


def window_matrix(reference_to_image: Floats, window: RectifierWindow) -> Floats:
    """The matrix image px -> window, given the homography reference frame -> image px."""
    matrix = window.matrix @ np.linalg.inv(reference_to_image)
    return np.asarray(matrix / matrix[2, 2], np.float64)


def warp_to_window(image: Image, image_to_window: Floats, window: RectifierWindow) -> Image:
    """Warp a picture (H, W, 3) uint8 into the window: (1152, 1440, 3) uint8 for the released network.

    A picture with more than 1.25 px for a px of the window is shrunk or blurred first: thin grid lines would alias
    otherwise.
    """
    middle = window.from_reference(np.array([[window.sheet.width / 2, window.sheet.height / 2]]))
    scale = float(stretch(jacobians(np.linalg.inv(image_to_window), middle)[0])[0][0])
    small, shrinking = shrink(image, scale)
    matrix = image_to_window @ np.linalg.inv(shrinking)
    return SmoothMap.of_matrix(matrix, window.width, window.height).sample(small, MARGIN_GREY)
