"""Stage 1: from the grid rectifier's maps to a flat page, sampled once from the original picture.

1. :func:`read_nodes` reads the crossings of the printed 5 mm lines from the maps, in the aligned frame.
2. :func:`resolve_lattice` says which crossing each one is, all together, drops the false and fills in the missing.
3. :func:`dense_map` runs a bicubic spline through the lattice, now in px of the original picture, and
   :func:`rectify` samples the picture through it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from cardioscan.geometry import Floats, spline_matrix
from cardioscan.lattice import Lattice, NodeDetections, read_nodes, resolve_lattice
from cardioscan.page import STANDARD_PAGE, PageTemplate

__all__ = [
    "Lattice",
    "NodeDetections",
    "dense_map",
    "map_between",
    "map_ratio",
    "read_nodes",
    "rectify",
    "resolve_lattice",
    "sample_page",
    "soften",
]

Image = NDArray[np.uint8]


def dense_map(
    nodes: Floats, template: PageTemplate = STANDARD_PAGE, width: int = 2200, height: int = 1700, step: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where each pixel of the flat page lies in the picture: a bicubic spline through the lattice.

    Args:
        nodes: (n_horizontal_lines, n_vertical_lines, 2) float64, (x, y) px of the picture.
        template: the printed page; its lattice is regular in the reference frame.
        width: of the flat page, px of the reference frame.
        height: likewise.
        step: give every ``step``-th pixel only.

    Returns:
        ``map_x``, ``map_y``, each (ceil(height / step), ceil(width / step)) float32, as ``cv2.remap`` takes them:
        exact at the nodes, straight on beyond the outermost lines.
    """
    nodes = np.asarray(nodes, np.float64)
    down = spline_matrix(nodes.shape[0], template.grid_y0, template.grid_pitch, height, step).astype(np.float32)
    across = spline_matrix(nodes.shape[1], template.grid_x0, template.grid_pitch, width, step).astype(np.float32)
    # Around the mean, so that float32 keeps a thousandth of a pixel in pictures of any size.
    centre = nodes.mean(axis=(0, 1))
    maps = [(down @ (nodes[..., axis] - centre[axis]).astype(np.float32)) @ across.T for axis in (0, 1)]
    return maps[0] + np.float32(centre[0]), maps[1] + np.float32(centre[1])


def rectify(
    image: Image, maps: tuple[NDArray[np.float32], NDArray[np.float32]], fill: int = 255
) -> tuple[Image, NDArray[np.bool_]]:
    """Sample the original picture once, by bicubic interpolation, into the flat page: ``soften``, ``sample_page``.

    Args:
        image: (H, W, 3) uint8.
        maps: from :func:`dense_map`.
        fill: grey level outside the picture.

    Returns:
        The page (h, w, 3) uint8, and (h, w) bool: True where it comes from the picture.
    """
    return sample_page(soften(image, maps), maps, fill)


def soften(image: Image, maps: tuple[NDArray[np.float32], NDArray[np.float32]]) -> Image:
    """Take out of a picture what the flat page cannot carry and would alias.

    Where the picture has more than 1.25 px for a px of the page it is blurred by a Gaussian of 0.4 sqrt(r^2 - 1) px (r
    the ratio), else it is returned as it is. Maps that differ by the refinement of a lattice ask for the same blur.
    """
    ratio = map_ratio(maps)
    if ratio <= 1.25:
        return image
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.4 * float(np.sqrt(ratio**2 - 1))), np.uint8)


def sample_page(
    image: Image, maps: tuple[NDArray[np.float32], NDArray[np.float32]], fill: int = 255, sharp: bool = True
) -> tuple[Image, NDArray[np.bool_]]:
    """As :func:`rectify`, from a picture that :func:`soften` gave.

    Without ``sharp`` the interpolation is bilinear: enough to measure printed lines on, in two fifths of the time.
    """
    map_x, map_y = maps
    height, width = image.shape[:2]
    way = cv2.INTER_CUBIC if sharp else cv2.INTER_LINEAR
    page = cv2.remap(image, map_x, map_y, way, borderMode=cv2.BORDER_CONSTANT, borderValue=(fill,) * 3)
    valid = (map_x >= -0.5) & (map_x <= width - 0.5) & (map_y >= -0.5) & (map_y <= height - 0.5)
    return np.asarray(page, np.uint8), valid


def map_between(
    nodes: Floats, other: Floats, template: PageTemplate = STANDARD_PAGE
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where each pixel of the flat page by one lattice lies in the flat page by another one close to it.

    What a network answered on the second page is carried to the first by it, without asking again.

    Args:
        nodes: (n_horizontal_lines, n_vertical_lines, 2) float64, (x, y) px of the picture: the lattice of the page
            that is wanted.
        other: same shape, the lattice of the page that is there; within a few px of ``nodes``.
        template: the printed page.

    Returns:
        ``map_x``, ``map_y``, each (height, width) float32, as ``cv2.remap`` takes them.
    """
    down, across = np.gradient(np.asarray(other, np.float64), template.grid_pitch, axis=(0, 1), edge_order=2)
    stretch = np.stack([across, down], axis=-1)
    apart = np.linalg.solve(stretch, (np.asarray(nodes, np.float64) - other)[..., None])[..., 0]
    return dense_map(template.lattice() + apart, template, template.width, template.height)


def map_ratio(maps: tuple[NDArray[np.float32], NDArray[np.float32]]) -> float:
    """Px of the picture for a px of the map, the median over the page of the geometric mean of both directions."""
    map_x, map_y = maps
    x, y = map_x[::32, ::32].astype(np.float64), map_y[::32, ::32].astype(np.float64)
    area = np.diff(x, axis=1)[:-1] * np.diff(y, axis=0)[:, :-1] - np.diff(x, axis=0)[:, :-1] * np.diff(y, axis=1)[:-1]
    return float(np.sqrt(np.median(np.abs(area)))) / 32
