"""Stage 0: from the label detector's maps to the homography of the page.

The label detector finds the printed lead names. Each stands at a known node of the page's lattice, so a few of them
fix the homography from the reference frame to the picture, in whatever orientation the page lies. Frames here:

* *image*: the picture as given, px;
* *network input*: the picture fitted into 1440 x 1152 px by :func:`letterbox`;
* *reference* and *aligned*: see :mod:`cardioscan.page.template`.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cardioscan.imaging.geometry import (
    N_ORIENTATIONS,
    Floats,
    area_resize,
    jacobians,
    orient,
    orientation_matrix,
    resize_matrix,
    shrink,
    stretch,
    translation_matrix,
)
from cardioscan.imaging.warping import SmoothMap
from cardioscan.locate.homography import Alignment, LabelKeypoints, fit_homography
from cardioscan.page.template import STANDARD_PAGE, PageTemplate

__all__ = [
    "INPUT_SIZE",
    "MARGIN_GREY",
    "N_VIEWS",
    "Alignment",
    "LabelKeypoints",
    "aligned_matrix",
    "as_probability",
    "average_views",
    "fit_homography",
    "flip_views",
    "label_keypoints",
    "letterbox",
    "undo_orientation",
    "unflip_label_probability",
    "unflip_orientation_probability",
    "warp_to_aligned",
]

Image = NDArray[np.uint8]

INPUT_SIZE: Final = (1440, 1152)
"""Width and height of the label detector's input, px."""
MARGIN_GREY: Final = 128
"""What is put around a picture that does not fill it."""
N_VIEWS: Final = 4
"""Views of flip test-time augmentation: as is, left-right, upside-down, both."""

_LARGE_BLOB = 150
_MAX_PER_CLASS = 3
_CLASS_SHARE = 0.2
_EXPECTED_CELLS = 12.0


def letterbox(
    image: Image, width: int = INPUT_SIZE[0], height: int = INPUT_SIZE[1], fill: int = MARGIN_GREY, turn: bool = True
) -> tuple[Image, Floats]:
    """Fit a picture into the network's input, aspect kept, centred, the rest filled with grey.

    With ``turn``, a portrait picture is turned a quarter turn counterclockwise first, so that it fills the landscape
    input.

    Args:
        image: (H, W, 3) uint8.
        width: of the input, px.
        height: of the input, px.
        fill: grey level of the margins.
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
    canvas = np.full((height, width, *image.shape[2:]), fill, np.uint8)
    canvas[top : top + new_height, left : left + new_width] = small
    return canvas, translation_matrix(left, top) @ resizing @ matrix


def flip_views(image: NDArray[Any]) -> NDArray[Any]:
    """The four flipped views of an image (H, W, ...): as is, left-right, upside-down, both; (4, H, W, ...)."""
    return np.stack([_flip(image, view, (0, 1)) for view in range(N_VIEWS)])


def unflip_label_probability(label_probability: NDArray[Any], view: int) -> NDArray[Any]:
    """Turn the map (..., h, w) that the network gave for a flipped view back to the frame of the unflipped input."""
    return _flip(label_probability, view, (-2, -1))


def unflip_orientation_probability(orientation_probability: NDArray[Any], view: int) -> NDArray[Any]:
    """Reorder the 8 orientation probabilities (..., 8) that belong to a flipped view for the unflipped input.

    Mirroring turns the sense of rotation round: a page seen in orientation ``(turns, mirrored)`` is, after a
    left-right flip, ``(-turns, not mirrored)``, and after an upside-down flip ``(2 - turns, not mirrored)``.
    """
    return np.asarray(orientation_probability)[..., [_flipped_orientation(k, view) for k in range(N_ORIENTATIONS)]]


def average_views(
    label_probability: NDArray[Any], orientation_probability: NDArray[Any]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Average what the network said of the views of :func:`flip_views`, each turned back first.

    Args:
        label_probability: (n, 14, h, w), n <= 4 views in order; uint8 as p/255, or float.
        orientation_probability: (n, 8) float.

    Returns:
        (14, h, w) float32 and (8,) float32.
    """
    labels = [unflip_label_probability(as_probability(p), view) for view, p in enumerate(label_probability)]
    turns = [unflip_orientation_probability(p, view) for view, p in enumerate(orientation_probability)]
    return np.mean(labels, axis=0).astype(np.float32), np.mean(turns, axis=0).astype(np.float32)


def as_probability(values: NDArray[Any]) -> NDArray[np.float32]:
    """Probabilities as float32: uint8 is divided by 255, floats are taken as they are."""
    values = np.asarray(values)
    probability = values.astype(np.float32, copy=False)
    return probability / np.float32(255) if values.dtype == np.uint8 else probability


def undo_orientation(image: NDArray[Any], k: int) -> tuple[NDArray[Any], Floats]:
    """Turn a picture (H, W, ...) that is seen in orientation ``k`` (0..7) upright.

    Returns the upright picture and the exact matrix from px of the picture as seen to px of the upright one.
    """
    rows, columns = image.shape[:2]
    width, height = (rows, columns) if k % 2 else (columns, rows)
    matrix = np.rint(np.linalg.inv(orientation_matrix(k, width, height)))
    turned = np.rot90(image, -(k % 4))
    return np.ascontiguousarray(np.fliplr(turned) if k >= 4 else turned), matrix


def label_keypoints(
    label_probability: NDArray[Any], stride: int = 4, min_probability: float = 0.5, min_area: int = 3
) -> LabelKeypoints:
    """Find the lead names in a class map.

    Connected components of the cells where any name is likely, be it unsure which; the point is their centroid
    weighted by the probability of any name, so that doubt about *which* name it is does not move it. A component gives
    one candidate for each class with at least a fifth of its mass; a class keeps its three best.

    Args:
        label_probability: (classes, h, w), class 0 is the background; uint8 as p/255, or float.
        stride: input px per cell; cell (r, c) is centred at input px (stride * c + (stride - 1) / 2, ...).
        min_probability: cells where the probability of any name is below it do not count.
        min_area: smaller components are dropped, cells.

    Returns:
        Candidates in network-input px, best first.
    """
    import cc3d  # here, so that rendering and training do without it

    probability = as_probability(label_probability)
    foreground = 1 - probability[0]
    inside = foreground >= min_probability
    blobs, count = cc3d.connected_components(inside.astype(np.uint8), connectivity=8, return_N=True)
    areas = np.bincount(blobs.ravel(), minlength=count + 1)
    areas[0] = 0
    if (areas > _LARGE_BLOB).any():
        # Something smeared has swallowed several names: take it apart by class.
        winner = np.argmax(probability[1:], axis=0)
        parted = np.where(areas[blobs] > _LARGE_BLOB, winner + 2, inside).astype(np.uint16)
        blobs, count = cc3d.connected_components(parted, connectivity=8, return_N=True)
    if count == 0:
        return LabelKeypoints(np.empty(0, np.int64), np.empty((0, 2)), np.empty(0))
    rows, columns = np.nonzero(blobs)
    owner = blobs[rows, columns].astype(np.int64) - 1
    weight = foreground[rows, columns].astype(np.float64)
    area = np.bincount(owner, minlength=count)
    total = np.bincount(owner, weight, count)
    x = np.bincount(owner, weight * columns, count) / total
    y = np.bincount(owner, weight * rows, count) / total
    mass = np.stack([np.bincount(owner, layer[rows, columns], count) for layer in probability[1:]], axis=1)
    score = mass / area[:, None] * np.minimum(1, area / _EXPECTED_CELLS)[:, None]
    share = mass / np.maximum(mass.sum(axis=1, keepdims=True), 1e-12)
    blob, column = np.nonzero((share >= _CLASS_SHARE) & (area >= min_area)[:, None])
    order = np.argsort(-score[blob, column], kind="stable")
    rank = [int(np.sum(column[order[:place]] == column[index])) for place, index in enumerate(order)]
    keep = order[np.array(rank, np.int64) < _MAX_PER_CLASS]
    points = np.stack([x, y], axis=1)[blob[keep]] * stride + (stride - 1) / 2
    return LabelKeypoints(column[keep].astype(np.int64) + 1, points, np.clip(score[blob, column][keep], 0, 1))


def aligned_matrix(reference_to_image: Floats, template: PageTemplate = STANDARD_PAGE) -> Floats:
    """The matrix image px -> aligned frame, given the homography reference frame -> image px."""
    matrix = template.aligned.matrix @ np.linalg.inv(reference_to_image)
    return np.asarray(matrix / matrix[2, 2], np.float64)


def warp_to_aligned(
    image: Image, image_to_aligned: Floats, template: PageTemplate = STANDARD_PAGE, fill: int = 128
) -> Image:
    """Warp a picture (H, W, 3) uint8 into the aligned frame: (1152, 1440, 3) uint8 on the standard page.

    A picture with more than 1.25 px for a px of the aligned frame is shrunk or blurred first: thin grid lines would
    alias otherwise.
    """
    aligned = template.aligned
    middle = aligned.from_reference(np.array([[template.width / 2, template.height / 2]]))
    scale = float(stretch(jacobians(np.linalg.inv(image_to_aligned), middle)[0])[0][0])
    small, shrinking = shrink(image, scale)
    matrix = image_to_aligned @ np.linalg.inv(shrinking)
    size = (aligned.width, aligned.height)
    return SmoothMap.of_matrix(matrix, *size).sample(small, fill)


def _flip(image: NDArray[Any], view: int, axes: tuple[int, int]) -> NDArray[Any]:
    if not 0 <= view < N_VIEWS:
        raise ValueError(f"view must be 0..{N_VIEWS - 1}, not {view}")
    down, across = axes
    image = np.flip(image, across) if view & 1 else image
    return np.flip(image, down) if view & 2 else image


def _flipped_orientation(k: int, view: int) -> int:
    """The orientation in which a page seen in ``k`` is seen after the flip of ``view``."""
    mirrored, turns = divmod(k, 4)
    if view & 1:
        mirrored, turns = 1 - mirrored, -turns
    if view & 2:
        mirrored, turns = 1 - mirrored, 2 - turns
    return 4 * mirrored + turns % 4
