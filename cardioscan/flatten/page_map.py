"""Stage 1: from the grid rectifier's maps to a flat page, sampled once from the original picture.

1. :func:`read_nodes` reads the crossings of the printed 5 mm lines from the maps, in the aligned frame.
2. :func:`resolve_lattice` says which crossing each one is, all together, drops the false and fills in the missing.
3. :class:`PageMap` runs a bicubic spline through the lattice, now in px of the original picture, and
   :func:`rectify` samples the picture through it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cardioscan.arrays import FloatMap, Floats, Image
from cardioscan.flatten.lattice import Lattice, NodeDetections, read_nodes, resolve_lattice
from cardioscan.imaging.geometry import sampling_blur, spline_matrix
from cardioscan.imaging.warping import SmoothMap
from cardioscan.page.sheet import Sheet

__all__ = [
    "Lattice",
    "NodeDetections",
    "PageMap",
    "read_nodes",
    "rectify",
    "resolve_lattice",
    "soften",
]


_CELL_PX: Final = 4
_BILINEAR_VARIANCE: Final = 1 / 6
"""Variance, px^2, of the triangle that bilinear interpolation blurs by, in the mean over all places between pixels."""


@dataclass(frozen=True, eq=False)
class PageMap(SmoothMap):
    """Where each pixel of the flat page lies in the picture: a bicubic spline through the lattice.

    The spline is evaluated in the middle of cells of 4 x 4 px of the reference frame and is bilinear in between, which
    on paper that bends a line by a pixel from one node to the next is 0.03 px away from it. Beyond the outermost lines
    it goes straight on.
    """

    @classmethod
    def of(cls, nodes: Floats, sheet: Sheet, step: int = 1) -> PageMap:
        """The map of a lattice.

        Args:
            nodes: (n_horizontal_lines, n_vertical_lines, 2) float64, (x, y) px of the picture.
            sheet: the printed page; its lattice is regular in the reference frame.
            step: of the flat page only every ``step``-th pixel is wanted.
        """
        nodes = np.asarray(nodes, np.float64)
        cell = max(1, _CELL_PX // step)
        rows, columns = -(-sheet.height // step), -(-sheet.width // step)
        pitch = sheet.pitch
        down = _cell_matrix(nodes.shape[0], sheet.y0, pitch, rows, cell, step)
        across = _cell_matrix(nodes.shape[1], sheet.x0, pitch, columns, cell, step)
        # Around the mean, so that float32 keeps a thousandth of a pixel in pictures of any size.
        centre = nodes.mean(axis=(0, 1))
        around = (nodes - centre).astype(np.float32)
        x, y = (down @ around[..., axis] @ across.T + np.float32(centre[axis]) for axis in (0, 1))
        return cls(x, y, cell, rows, columns)


@lru_cache(maxsize=16)
def _cell_matrix(n_knots: int, start: float, pitch: float, pixels: int, cell: int, step: int) -> FloatMap:
    """Spline interpolation to the middles of cells of so many pixels, one cell before the first pixel and one after."""
    before = (cell + 1) / 2 * step
    cells = -(-pixels // cell) + 2
    return spline_matrix(n_knots, start + before, pitch, cells * cell * step, cell * step).astype(np.float32)


def rectify(image: Image, page_map: PageMap, fill: int = 255) -> tuple[Image, NDArray[np.bool_]]:
    """Sample the original picture once into the flat page: ``soften``, ``sample``.

    Args:
        image: (H, W, 3) uint8.
        page_map: of the lattice.
        fill: grey level outside the picture.

    Returns:
        The page (h, w, 3) uint8, and (h, w) bool: True where it comes from the picture.
    """
    return page_map.sample(soften(image, page_map), fill=fill), page_map.inside(image.shape)


def soften(image: Image, page_map: PageMap) -> Image:
    """Make a picture ready to be sampled bilinearly, without aliases and as sharp as by bicubic interpolation.

    Where the picture has more than 1.25 px for a px of the page, what the page cannot carry needs a Gaussian of
    0.4 sqrt(r^2 - 1) px (r the ratio). Bilinear interpolation blurs by a variance of 1/6 px^2 itself; what the Gaussian
    lacks of that is sharpened by three pixels of as much negative variance. Maps that differ by the refinement of a
    lattice ask for the same.

    Returns:
        (H, W, 3) uint8.
    """
    variance = sampling_blur(page_map.ratio) ** 2 - _BILINEAR_VARIANCE
    if variance > 0:
        soft = cv2.GaussianBlur(image, (0, 0), variance**0.5)
    else:
        kernel = np.array([variance / 2, 1 - variance, variance / 2], np.float32)
        soft = cv2.sepFilter2D(image, -1, kernel, kernel)
    return np.asarray(soft, np.uint8)
