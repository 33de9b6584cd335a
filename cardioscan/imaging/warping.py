"""Fast sampling of a picture through a smooth map, which is stored in coarse cells and applied tile by tile.

OpenCV interpolates four channels by vector instructions but three channels one by one, in three times the time. On a
page that is turned by a degree or two, a row crosses many rows of the picture, so most time is spent on cache misses.
Therefore the part of the picture that a tile needs is copied, with a fourth channel, and sampled from the copy, which
fits the cache. The time does not depend on how the page is turned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cardioscan.arrays import FloatMap, Floats, Image
from cardioscan.imaging.geometry import sample_bilinear, transform_points

__all__ = ["SmoothMap"]


_TILE_PX: Final = 256
"""Side of a tile: its part of the picture, its map and its pixels fit the cache together."""
_CELL_PX: Final = 8
_MAX_COORDINATE_PX: Final = 1e5
"""Coordinates are clipped here, far outside any picture: near a horizon they exceed OpenCV's fixed-point numbers."""


@dataclass(frozen=True, eq=False)
class SmoothMap:
    """The place in a picture of each pixel of a page, stored at the centres of cells and bilinear in between.

    Attributes:
        x: (rows / cell + 2, columns / cell + 2) float32, px of the picture at the cells' centres, with one more cell
            on every side of the page.
        y: same shape.
        cell: side of a cell, px of the page.
        rows: height of the page, px.
        columns: width of the page, px.
    """

    x: FloatMap
    y: FloatMap
    cell: int
    rows: int
    columns: int

    @classmethod
    def of_matrix(cls, matrix: Floats, width: int, height: int) -> SmoothMap:
        """The map of a homography; the error of the cells is below 0.01 px even at a strong perspective.

        Args:
            matrix: 3x3, px of the picture to px of the page (pixel centres).
            width: of the page, px.
            height: of the page, px.
        """
        down, across = (
            np.arange(-(-size // _CELL_PX) + 2) * float(_CELL_PX) - (_CELL_PX + 1) / 2 for size in (height, width)
        )
        middles = np.stack(np.broadcast_arrays(across, down[:, None]), axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            places = transform_points(np.linalg.inv(matrix), middles)
        places = np.clip(np.nan_to_num(places, nan=_MAX_COORDINATE_PX), -_MAX_COORDINATE_PX, _MAX_COORDINATE_PX)
        x, y = (np.ascontiguousarray(places[..., axis], np.float32) for axis in (0, 1))
        return cls(x, y, _CELL_PX, height, width)

    def dense(self) -> tuple[FloatMap, FloatMap]:
        """``map_x``, ``map_y`` of all pixels, (rows, columns) float32 each, as ``cv2.remap`` takes them."""
        whole = _Tile(0, self.rows, 0, self.columns, self.cell)
        return whole.enlarged(whole.cells(self.x)), whole.enlarged(whole.cells(self.y))

    def _tiles(self) -> Iterator[_Tile]:
        """The page in tiles."""
        side = _TILE_PX // self.cell * self.cell
        for top in range(0, self.rows, side):
            for left in range(0, self.columns, _TILE_PX):
                bottom, right = min(top + side, self.rows), min(left + _TILE_PX, self.columns)
                yield _Tile(top, bottom, left, right, self.cell)

    def sample(self, image: Image, fill: int | None = 255) -> Image:
        """Sample the page from a picture by bilinear interpolation.

        Args:
            image: (H, W, 3) uint8.
            fill: grey level outside the picture; None repeats the picture's border.
            columns: columns of the page to sample; the step is ignored.

        Returns:
            (rows, columns, 3) uint8.
        """
        page = np.empty((self.rows, self.columns, 3), np.uint8)
        border = cv2.BORDER_REPLICATE if fill is None else cv2.BORDER_CONSTANT
        for tile in self._tiles():
            x, y = tile.cells(self.x), tile.cells(self.y)
            # A place outside this part is outside the picture too, on the same side, so the border is the same.
            across, down = _interpolation_range(x, image.shape[1]), _interpolation_range(y, image.shape[0])
            near = cv2.cvtColor(image[down, across], cv2.COLOR_RGB2RGBA)
            maps = tile.enlarged(x - np.float32(across.start)), tile.enlarged(y - np.float32(down.start))
            seen = cv2.remap(near, *maps, cv2.INTER_LINEAR, borderMode=border, borderValue=(fill or 0,) * 4)
            part = page[tile.top : tile.bottom, tile.left : tile.right]
            cv2.cvtColor(seen, cv2.COLOR_RGBA2RGB, dst=part)
        return page

    def inside(self, shape: tuple[int, ...], rim: float = 0.5) -> NDArray[np.bool_]:
        """Pixels whose place is in a picture (H, W, ...) or at most ``rim`` px outside it: (rows, columns) bool."""
        high_x, high_y = shape[1] - 1 + rim, shape[0] - 1 + rim
        # Distance, px, from the nearest side of the picture, positive inside; bilinear in the cells, as the map is.
        margin = np.minimum(np.minimum(self.x + rim, high_x - self.x), np.minimum(self.y + rim, high_y - self.y))
        found = np.ones((self.rows, self.columns), bool)
        for tile in self._tiles():
            near = tile.cells(margin)
            if near.min() < 0:
                found[tile.top : tile.bottom, tile.left : tile.right] = tile.enlarged(near) >= 0
        return found

    def at(self, points: Floats) -> Floats:
        """Map points (n, 2) (x, y) px of the page to px of the picture, (n, 2) float64; NaN stays NaN."""
        places = (
            np.asarray(points, np.float64) + (self.cell + 1) / 2
        ) / self.cell  # in cells from the centre of the first
        known = np.isfinite(places).all(axis=1)
        result = np.full(places.shape, np.nan)
        result[known] = sample_bilinear(np.stack([self.x, self.y]), places[known])
        return result

    @property
    def ratio(self) -> float:
        """Px of the picture per px of the page: geometric mean of both directions, median over the page."""
        every = max(1, 32 // self.cell)
        x, y = self.x[::every, ::every].astype(np.float64), self.y[::every, ::every].astype(np.float64)
        across, down = (np.stack([np.diff(x, axis=k), np.diff(y, axis=k)]) for k in (1, 0))
        across, down = across[:, :-1], down[:, :, :-1]
        area = across[0] * down[1] - down[0] * across[1]
        return float(np.sqrt(np.median(np.abs(area)))) / (every * self.cell)


@dataclass(frozen=True)
class _Tile:
    """Pixels of a page from ``top`` and ``left`` to before ``bottom`` and ``right``; a cell begins at ``top``."""

    top: int
    bottom: int
    left: int
    right: int
    cell: int

    def cells(self, plane: FloatMap) -> FloatMap:
        """The cells of a plane that contain the tile's pixels, and one more on every side."""
        down = slice(self.top // self.cell, -(-self.bottom // self.cell) + 2)
        return plane[down, self.left // self.cell : -(-self.right // self.cell) + 2]

    def enlarged(self, cells: FloatMap) -> FloatMap:
        """Interpolate what :meth:`cells` gave at each pixel: (bottom - top, right - left) float32."""
        size = (cells.shape[1] * self.cell, cells.shape[0] * self.cell)
        fine = cv2.resize(cells, size, interpolation=cv2.INTER_LINEAR)
        left = self.cell + self.left % self.cell
        part = fine[self.cell : self.cell + self.bottom - self.top, left : left + self.right - self.left]
        return np.asarray(part, np.float32)


def _interpolation_range(places: FloatMap, size: int) -> slice:
    """Pixels that interpolation at ``places`` needs on an axis of ``size`` pixels; at least one."""
    first = min(max(int(places.min()) - 1, 0), size - 1)
    return slice(first, max(min(int(places.max()) + 3, size), first + 1))
