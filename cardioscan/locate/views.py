"""Views of a picture: what the label detector is shown, and its answers turned back.

Frames here: *image*, the picture as given, px; *network input*, the picture fitted into 1440 x 1152 px.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cardioscan.arrays import Floats, Image
from cardioscan.backends.specs import DETECTOR_INPUT, MARGIN_GREY
from cardioscan.imaging.geometry import area_resize, orient, orientation_matrix, resize_matrix, translation_matrix
from cardioscan.locate.names import as_probability

__all__ = ["N_FLIPS", "average_flips", "flips", "letterbox", "undo_orientation"]

N_FLIPS: Final = 4
"""Views of flip test-time augmentation: as is, left-right, upside-down, both."""


def letterbox(
    image: Image, width: int = DETECTOR_INPUT[0], height: int = DETECTOR_INPUT[1], turn: bool = True
) -> tuple[Image, Floats]:
    """Fit a picture into the network's input, aspect kept, centred, the rest filled with grey.

    With ``turn``, a portrait picture is turned a quarter turn counterclockwise first, so that it fills the landscape
    input.

    Args:
        image: (H, W, 3) uint8.
        width: of the input, px.
        height: of the input, px.
        turn: whether portrait pictures are turned.

    Returns:
        (height, width, 3) uint8 and the exact 3x3 matrix from image px to network-input px, the turn included.
    """
    rows, columns = image.shape[:2]
    matrix = np.eye(3)
    if turn and (rows > columns) == (width > height) and rows != columns:
        matrix = orientation_matrix(1, columns, rows)
        image = orient(image, 1)
        rows, columns = columns, rows
    scale = min(width / columns, height / rows)
    new_width, new_height = min(width, max(1, round(columns * scale))), min(height, max(1, round(rows * scale)))
    image = np.ascontiguousarray(image)
    if scale < 1:
        small, resizing = area_resize(image, new_width, new_height)
    else:
        small = np.asarray(cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_CUBIC), np.uint8)
        resizing = resize_matrix(new_width / columns, new_height / rows)
    left, top = (width - new_width) // 2, (height - new_height) // 2
    canvas = np.full((height, width, *image.shape[2:]), MARGIN_GREY, np.uint8)
    canvas[top : top + new_height, left : left + new_width] = small
    return canvas, translation_matrix(left, top) @ resizing @ matrix


def flips(image: NDArray[Any]) -> NDArray[Any]:
    """The four flipped views of an image (H, W, ...): as is, left-right, upside-down, both; (4, H, W, ...)."""
    return np.stack([_flip(image, view, (0, 1)) for view in range(N_FLIPS)])


def average_flips(label_probability: NDArray[Any]) -> NDArray[np.float32]:
    """Average what the network said of the views of :func:`flips`, each turned back first.

    Args:
        label_probability: (n, 14, h, w), n <= 4 views in order; uint8 as p/255, or float.

    Returns:
        (14, h, w) float32.
    """
    labels = [_flip(as_probability(p), view, (-2, -1)) for view, p in enumerate(label_probability)]
    return np.mean(labels, axis=0).astype(np.float32)


def undo_orientation(image: NDArray[Any], k: int) -> tuple[NDArray[Any], Floats]:
    """Turn a picture (H, W, ...) that is seen in orientation ``k`` (0..7) upright.

    Returns the upright picture and the exact matrix from px of the picture as seen to px of the upright one.
    """
    rows, columns = image.shape[:2]
    width, height = (rows, columns) if k % 2 else (columns, rows)
    matrix = np.rint(np.linalg.inv(orientation_matrix(k, width, height)))
    turned = np.rot90(image, -(k % 4))
    return np.ascontiguousarray(np.fliplr(turned) if k >= 4 else turned), matrix


def _flip(image: NDArray[Any], view: int, axes: tuple[int, int]) -> NDArray[Any]:
    if not 0 <= view < N_FLIPS:
        raise ValueError(f"view must be 0..{N_FLIPS - 1}, not {view}")
    down, across = axes
    image = np.flip(image, across) if view & 1 else image
    return np.flip(image, down) if view & 2 else image
