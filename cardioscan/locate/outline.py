"""Where the printed grid lies in a picture, from its texture alone: the outline of the page, and the page straightened.

Stage 0 looks for lead names in the whole picture. A page that lies askew, or small on a desk, is easier to read once
it fills the picture upright, and the grid says where it lies before anything is recognised: in a window on ruled
paper, gradients point in two directions at right angles and in both alike. With gradients ``g`` of angle ``phi`` that
is a high fourfold coherence ``|sum g^2 exp(4i phi)| / sum g^2`` together with a low twofold one, which is high on wood,
cloth and edges (structure tensors of double and quadruple angle).
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cardioscan.arrays import Floats
from cardioscan.imaging.channels import channel_range
from cardioscan.imaging.geometry import area_resize, halve, resize_matrix, shrink, transform_points
from cardioscan.imaging.warping import SmoothMap

__all__ = ["find_outline", "straighten"]

_WORK_PX: Final = 1800
"""Longer side of the picture that is searched: a square of a page that fills a third of it is still 8 px wide."""
_CELL_PX: Final = 4
_WINDOW_PX: Final = 71
_WINDOW_CELLS: Final = _WINDOW_PX // _CELL_PX
_BACKGROUND_PX: Final = 6.0
_MIN_ENERGY: Final = 3.0
_ANISOTROPY_COST: Final = 1.5
_MIN_SCORE: Final = 0.08
_MIN_AREA: Final = 0.02
_MIN_FILL: Final = 0.6
_MARGIN: Final = 0.04
_PAGE_ASPECT: Final = 11 / 8.5


def find_outline(image: NDArray[np.uint8]) -> Floats | None:
    """Find the ruled sheet in a picture.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        Its corners (4, 2) float64 (x, y) px of the picture, clockwise as seen, from the one that is upper left when the
        longer sides lie across; which of the two ends is up, the grid cannot say. None where no connected region looks
        ruled.
    """
    if min(image.shape[:2]) < _WINDOW_PX:
        return None
    score, to_map = _ruledness(image)
    level = (np.clip(score, 0, 1) * 255).astype(np.uint8)
    threshold, _ = cv2.threshold(level, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    mask = (level > max(float(threshold) * 0.6, 255 * _MIN_SCORE)).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((_WINDOW_CELLS // 4 + 1,) * 2, np.uint8))
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((_WINDOW_CELLS,) * 2, np.uint8))
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:
        return None
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    part = (parts == largest).astype(np.uint8)
    contours, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    middles = max(contours, key=cv2.contourArea).reshape(-1, 1, 2)
    rims = middles + np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])  # a cell is four pixels wide
    hull = cv2.convexHull(rims.reshape(-1, 2).astype(np.float32))[:, 0].astype(np.float64)
    corners = _quadrilateral(hull)
    area = cv2.contourArea(corners.astype(np.float32))
    if area / part.size < _MIN_AREA or part.sum() / max(area, 1.0) < _MIN_FILL:
        return None
    return transform_points(np.linalg.inv(to_map), corners)


def straighten(
    image: NDArray[np.uint8], corners: Floats, width: int = 1440, height: int = 1152, fill: int = 128
) -> tuple[NDArray[np.uint8], Floats]:
    """See the outlined sheet from above: its quadrilateral becomes a rectangle that all but fills the result.

    Args:
        image: (H, W, 3) uint8.
        corners: (4, 2) px, of the sheet.
        width: of the result, px.
        height: of the result, px.
        fill: grey level of what lies outside the picture.

    Returns:
        (height, width, 3) uint8, and the 3x3 homography from picture px to px of the result (pixel centres).
    """
    free = np.array([width, height]) * (1 - 2 * _MARGIN)
    size = np.minimum(free, [free[1] * _PAGE_ASPECT, free[0] / _PAGE_ASPECT])
    low = (np.array([width - 1, height - 1]) - size) / 2
    target = low + size * np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), target.astype(np.float32))
    matrix = np.asarray(matrix, np.float64)
    reduction = float(np.sqrt(cv2.contourArea(corners.astype(np.float32)) / np.prod(size)))
    small, shrinking = shrink(image, reduction)  # a warp alone aliases the grid
    through = matrix @ np.linalg.inv(shrinking)
    return SmoothMap.of_matrix(through, width, height).sample(small, fill), matrix


def _ruledness(image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], Floats]:
    """(h, w) float32, 0..1: how much each place looks like ruled paper; and the 3x3 matrix from the picture to it.

    Gradients are those of the working picture; only what windows sum up is taken together by cells first. In every
    cell the first and the last row and column are looked at, which leaves a window 1,260 gradients; with every second
    one instead, lines that are a pixel wide might all fall between.
    """
    scale = min(1.0, _WORK_PX / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    halved, halving = halve(image, 1 / scale)
    # A line of any colour is dark in one channel; one channel is resized in a third of the time of three.
    dark, resizing = area_resize(channel_range(halved)[0], *size)
    cells = (size[0] // _CELL_PX, size[1] // _CELL_PX)
    dark = dark[: cells[1] * _CELL_PX, : cells[0] * _CELL_PX]
    coarse = cv2.resize(dark, cells, interpolation=cv2.INTER_AREA).astype(np.float32)
    coarse = cv2.GaussianBlur(coarse, (0, 0), _BACKGROUND_PX / _CELL_PX)
    level = cv2.subtract(dark, cv2.resize(coarse, dark.shape[::-1]), dtype=cv2.CV_16S)

    def at_corners(gradient: NDArray[Any]) -> NDArray[np.float32]:
        """Those of a gradient (h, w) in the four corners of every cell, (2 h / cell, 2 w / cell)."""
        inside = gradient.reshape(cells[1], _CELL_PX, cells[0], _CELL_PX)[:, :: _CELL_PX - 1, :, :: _CELL_PX - 1]
        return inside.astype(np.float32).reshape(2 * cells[1], 2 * cells[0])

    gx, gy = (at_corners(cv2.Sobel(level, cv2.CV_16S, *order, ksize=3)) for order in ((1, 0), (0, 1)))
    along_x, along_y = cv2.multiply(gx, gx), cv2.multiply(gy, gy)
    energy = cv2.add(along_x, along_y)
    cos2, sin2 = cv2.subtract(along_x, along_y), cv2.multiply(gx, gy, scale=2)
    # The square root keeps a black trace from outweighing the pale grid around it.
    weight = 1 / np.sqrt(energy + 1)
    turn = weight / (energy + 1e-3)  # fourfold terms are squares of twofold ones over the energy

    def pooled(values: NDArray[Any], by: NDArray[np.float32]) -> NDArray[np.float32]:
        small = cv2.resize(cv2.multiply(values, by), cells, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.blur(small, (_WINDOW_CELLS, _WINDOW_CELLS)), np.float32)

    total = pooled(energy, weight)
    fourfold = np.hypot(pooled((cos2 - sin2) * (cos2 + sin2), turn), pooled(2 * cos2 * sin2, turn)) / (total + 1e-3)
    twofold = np.hypot(pooled(cos2, weight), pooled(sin2, weight)) / (total + 1e-3)
    score = fourfold * np.clip(1 - _ANISOTROPY_COST * twofold, 0, 1) * (total > _MIN_ENERGY)
    return np.asarray(score, np.float32), resize_matrix(1 / _CELL_PX, 1 / _CELL_PX) @ resizing @ halving


def _quadrilateral(hull: Floats) -> Floats:
    """The corners (4, 2) of a convex region, as its outermost points along the diagonals of its tightest rectangle."""
    centre, size, angle = cv2.minAreaRect(hull.astype(np.float32))
    turn = np.deg2rad(angle)
    across, down = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    if size[0] < size[1]:
        across, down, size = down, -across, size[::-1]
    if across[0] < 0:
        across, down = -across, -down
    local = (hull - centre) @ np.stack([across, down], axis=1) / (np.array(size) / 2)
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    return hull[np.argmax(local @ signs.T, axis=0)]
