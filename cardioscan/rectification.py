"""Stage 1: from the grid rectifier's maps to a flat page, sampled once from the original picture.

1. :func:`read_nodes` reads the crossings of the printed 5 mm lines from the maps, in the aligned frame.
2. :func:`resolve_lattice` says which crossing each one is, all together, drops the false and fills in the missing.
3. :class:`PageMap` runs a bicubic spline through the lattice, now in px of the original picture, and
   :func:`rectify` samples the picture through it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cardioscan.geometry import Floats, sample_bilinear, sampling_blur, spline_matrix
from cardioscan.lattice import Lattice, NodeDetections, read_nodes, resolve_lattice
from cardioscan.page import STANDARD_PAGE, PageTemplate

__all__ = [
    "Lattice",
    "NodeDetections",
    "PageMap",
    "map_between",
    "read_nodes",
    "rectify",
    "resolve_lattice",
    "soften",
]

Image = NDArray[np.uint8]
FloatMap = NDArray[np.float32]

_CELL_PX: Final = 4
_STRIP_CELLS: Final = 32
"""A picture is sampled by strips of so many cells, whose maps stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class PageMap:
    """Where each pixel of the flat page lies in the picture: a bicubic spline through the lattice.

    The spline is evaluated in the middle of cells of 4 x 4 px of the reference frame and is bilinear in between, which
    on paper that bends a line by a pixel from one node to the next is 0.03 px away from it. Beyond the outermost lines
    it goes straight on.

    Attributes:
        x: (rows / cell + 2, columns / cell + 2) float32, px of the picture at the cells' middles, one more cell on
            every side of the page.
        y: same shape.
        cell: pixels of the flat page to a side of a cell.
        rows: of the flat page that is wanted.
        columns: likewise.
    """

    x: FloatMap
    y: FloatMap
    cell: int
    rows: int
    columns: int

    @classmethod
    def of(cls, nodes: Floats, template: PageTemplate = STANDARD_PAGE, step: int = 1) -> PageMap:
        """The map of a lattice.

        Args:
            nodes: (n_horizontal_lines, n_vertical_lines, 2) float64, (x, y) px of the picture.
            template: the printed page; its lattice is regular in the reference frame.
            step: of the flat page only every ``step``-th pixel is wanted.
        """
        nodes = np.asarray(nodes, np.float64)
        cell = max(1, _CELL_PX // step)
        rows, columns = -(-template.height // step), -(-template.width // step)
        pitch = template.grid_pitch
        down = _cell_matrix(nodes.shape[0], template.grid_y0, pitch, rows, cell, step)
        across = _cell_matrix(nodes.shape[1], template.grid_x0, pitch, columns, cell, step)
        # Around the mean, so that float32 keeps a thousandth of a pixel in pictures of any size.
        centre = nodes.mean(axis=(0, 1))
        around = (nodes - centre).astype(np.float32)
        x, y = (down @ around[..., axis] @ across.T + np.float32(centre[axis]) for axis in (0, 1))
        return cls(x, y, cell, rows, columns)

    def dense(self) -> tuple[FloatMap, FloatMap]:
        """``map_x``, ``map_y`` of all pixels, (rows, columns) float32 each, as ``cv2.remap`` takes them."""
        return self._part(0, -(-self.rows // self.cell), 0, self.columns)

    def _part(self, top: int, bottom: int, first: int, last: int) -> tuple[FloatMap, FloatMap]:
        """Maps of the cells ``top`` to ``bottom`` downwards, and of the pixels ``first`` to ``last`` across."""
        cell = self.cell
        left, right = first // cell, -(-last // cell)
        size = ((right - left + 2) * cell, (bottom - top + 2) * cell)
        inner = slice(cell, cell + min(bottom * cell, self.rows) - top * cell)
        wanted = slice(cell + first - left * cell, cell + last - left * cell)
        x, y = (
            cv2.resize(plane[top : bottom + 2, left : right + 2], size, interpolation=cv2.INTER_LINEAR)
            for plane in (self.x, self.y)
        )
        return np.asarray(x[inner, wanted], np.float32), np.asarray(y[inner, wanted], np.float32)

    def sample(
        self,
        image: Image,
        sharp: bool = True,
        fill: int | None = 255,
        columns: slice = slice(None),
    ) -> Image:
        """The flat page as seen in a picture that :func:`soften` gave.

        Args:
            image: (H, W, 3) uint8.
            sharp: interpolate bicubically. Bilinear interpolation is enough to measure printed lines on, and takes a
                third of the time.
            fill: grey level outside the picture; None lets the picture's rim go on.
            columns: which are wanted.

        Returns:
            (rows, n, 3) uint8.
        """
        first, last, _ = columns.indices(self.columns)
        page = np.empty((self.rows, last - first, *image.shape[2:]), np.uint8)
        border = cv2.BORDER_REPLICATE if fill is None else cv2.BORDER_CONSTANT
        way = cv2.INTER_CUBIC if sharp else cv2.INTER_LINEAR
        cells = -(-self.rows // self.cell)
        for top in range(0, cells, _STRIP_CELLS):
            bottom = min(top + _STRIP_CELLS, cells)
            strip, maps = page[top * self.cell : bottom * self.cell], self._part(top, bottom, first, last)
            cv2.remap(image, *maps, way, dst=strip, borderMode=border, borderValue=(fill or 0,) * 3)
        return page

    def inside(self, shape: tuple[int, ...], rim: float = 0.5) -> NDArray[np.bool_]:
        """(rows, columns) bool: where the map points into a picture (H, W, ...) or at most ``rim`` px beside it."""
        high_x, high_y = shape[1] - 1 + rim, shape[0] - 1 + rim
        # Px from the nearest side of the picture; bilinear in the cells, as the map is.
        margin = np.minimum(np.minimum(self.x + rim, high_x - self.x), np.minimum(self.y + rim, high_y - self.y))
        if margin.min() >= 0:
            return np.ones((self.rows, self.columns), bool)
        rows, columns = margin.shape
        cell = self.cell
        margin = cv2.resize(margin, (columns * cell, rows * cell), interpolation=cv2.INTER_LINEAR)
        return np.asarray(margin[cell : cell + self.rows, cell : cell + self.columns] >= 0)

    def at(self, points: Floats) -> Floats:
        """Where points (n, 2) (x, y) of the flat page lie in the picture, (n, 2) float64; NaN stays NaN."""
        places = self._in_cells(np.asarray(points, np.float64))
        known = np.isfinite(places).all(axis=1)
        result = np.full(places.shape, np.nan)
        result[known] = sample_bilinear(np.stack([self.x, self.y]), places[known])
        return result

    def _in_cells(self, points: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Where points (..., 2) (x, y) px of the flat page lie in ``x`` and ``y``, in cells from their first middle."""
        return (points + (self.cell + 1) / 2) / self.cell

    def near(self, points: NDArray[np.integer[Any]]) -> FloatMap:
        """As ``at``, fast and to 0.01 px, for a map that moves pixels by a few px only.

        ``points`` is (m, n, 2), n and m less than 32,767 as OpenCV wants it; so is what comes back, float32.
        """
        cell = self.cell
        down, across = (np.arange(n) * cell - np.float32(cell + 1) / 2 for n in self.x.shape)
        moved = np.stack([self.x - across, self.y - down[:, None]], axis=-1).astype(np.float32)
        pixels = np.asarray(points, np.float32)
        places = self._in_cells(pixels).astype(np.float32, copy=False)
        return pixels + cv2.remap(moved, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    @property
    def ratio(self) -> float:
        """Px of the picture for a px of the map, the median over the page of the geometric mean of both directions."""
        every = max(1, 32 // self.cell)
        x, y = self.x[::every, ::every].astype(np.float64), self.y[::every, ::every].astype(np.float64)
        across, down = (np.stack([np.diff(x, axis=k), np.diff(y, axis=k)]) for k in (1, 0))
        across, down = across[:, :-1], down[:, :, :-1]
        area = across[0] * down[1] - down[0] * across[1]
        return float(np.sqrt(np.median(np.abs(area)))) / (every * self.cell)


@lru_cache(maxsize=16)
def _cell_matrix(n_knots: int, start: float, pitch: float, pixels: int, cell: int, step: int) -> FloatMap:
    """Spline interpolation to the middles of cells of so many pixels, one cell before the first pixel and one after."""
    before = (cell + 1) / 2 * step
    cells = -(-pixels // cell) + 2
    return spline_matrix(n_knots, start + before, pitch, cells * cell * step, cell * step).astype(np.float32)


def rectify(image: Image, page_map: PageMap, fill: int = 255) -> tuple[Image, NDArray[np.bool_]]:
    """Sample the original picture once, by bicubic interpolation, into the flat page: ``soften``, ``sample``.

    Args:
        image: (H, W, 3) uint8.
        page_map: of the lattice.
        fill: grey level outside the picture.

    Returns:
        The page (h, w, 3) uint8, and (h, w) bool: True where it comes from the picture.
    """
    return page_map.sample(soften(image, page_map), fill=fill), page_map.inside(image.shape)


def soften(image: Image, page_map: PageMap) -> Image:
    """Take out of a picture what the flat page cannot carry and would alias.

    Where the picture has more than 1.25 px for a px of the page it is blurred by a Gaussian of 0.4 sqrt(r^2 - 1) px (r
    the ratio), else it is returned as it is. Maps that differ by the refinement of a lattice ask for the same blur.
    """
    deviation = sampling_blur(page_map.ratio)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), deviation), np.uint8) if deviation > 0 else image


def map_between(nodes: Floats, other: Floats, template: PageTemplate = STANDARD_PAGE) -> PageMap:
    """Where each pixel of the flat page by one lattice lies in the flat page by another one close to it.

    What a network answered on the second page is carried to the first by it, without asking again.

    Args:
        nodes: (n_horizontal_lines, n_vertical_lines, 2) float64, (x, y) px of the picture: the lattice of the page
            that is wanted.
        other: same shape, the lattice of the page that is there; within a few px of ``nodes``.
        template: the printed page.
    """
    down, across = np.gradient(np.asarray(other, np.float64), template.grid_pitch, axis=(0, 1), edge_order=2)
    stretch = np.stack([across, down], axis=-1)
    apart = np.linalg.solve(stretch, (np.asarray(nodes, np.float64) - other)[..., None])[..., 0]
    return PageMap.of(template.lattice() + apart, template)
