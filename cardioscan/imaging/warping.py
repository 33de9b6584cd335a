"""Sampling a picture through a smooth map, fast: the map in coarse cells, both by tiles.

OpenCV interpolates four channels by vector instructions and three one by one, in three times the time. And where a page
lies askew, be it by a degree or two, its rows cross so many rows of the picture that the processor mostly waits for
them. So what a tile of the page needs of the picture is copied, with a fourth channel, and sampled from that copy,
which lies close together in the cache: the time is the same however the page lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cardioscan.imaging.geometry import Floats, sample_bilinear, transform_points

__all__ = ["SmoothMap"]

Image = NDArray[np.uint8]
FloatMap = NDArray[np.float32]

_TILE_PX: Final = 256
"""A tile's side: its copy of the picture, its map and its pixels stay in the cache together."""
_CELL_PX: Final = 8
_FARTHEST_PX: Final = 1e5
"""Places farther away than this, as near a horizon, are as far outside any picture; OpenCV's fixed point ends there."""


@dataclass(frozen=True, eq=False)
class SmoothMap:
    """Where each pixel of a page lies in a picture: given in the middle of cells, bilinear in between.

    Attributes:
        x: (rows / cell + 2, columns / cell + 2) float32, px of the picture at the cells' middles, one more cell on
            every side of the page.
        y: same shape.
        cell: pixels of the page to a side of a cell.
        rows: of the page that is wanted.
        columns: likewise.
    """

    x: FloatMap
    y: FloatMap
    cell: int
    rows: int
    columns: int

    @classmethod
    def of_matrix(cls, matrix: Floats, width: int, height: int) -> SmoothMap:
        """The map of a homography; a strong perspective departs from it by less than 0.01 px.

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
        places = np.clip(np.nan_to_num(places, nan=_FARTHEST_PX), -_FARTHEST_PX, _FARTHEST_PX)
        x, y = (np.ascontiguousarray(places[..., axis], np.float32) for axis in (0, 1))
        return cls(x, y, _CELL_PX, height, width)

    def dense(self) -> tuple[FloatMap, FloatMap]:
        """``map_x``, ``map_y`` of all pixels, (rows, columns) float32 each, as ``cv2.remap`` takes them."""
        whole = _Tile(0, self.rows, 0, self.columns, self.cell)
        return whole.enlarged(whole.cells(self.x)), whole.enlarged(whole.cells(self.y))

    def _tiles(self, first: int, last: int) -> Iterator[_Tile]:
        """Tiles of the page's columns from ``first`` to before ``last``."""
        side = _TILE_PX // self.cell * self.cell
        for top in range(0, self.rows, side):
            for left in range(first, last, _TILE_PX):
                yield _Tile(top, min(top + side, self.rows), left, min(left + _TILE_PX, last), self.cell)

    def sample(self, image: Image, fill: int | None = 255, columns: slice = slice(None)) -> Image:
        """The page as seen in a picture, by bilinear interpolation.

        Args:
            image: (H, W, 3) uint8.
            fill: grey level outside the picture; None lets the picture's rim go on.
            columns: which are wanted.

        Returns:
            (rows, n, 3) uint8.
        """
        first, last, _ = columns.indices(self.columns)
        page = np.empty((self.rows, last - first, 3), np.uint8)
        border = cv2.BORDER_REPLICATE if fill is None else cv2.BORDER_CONSTANT
        for tile in self._tiles(first, last):
            x, y = tile.cells(self.x), tile.cells(self.y)
            # Where a place lies outside these pixels it lies outside the picture, on the same side.
            across, down = _reached(x, image.shape[1]), _reached(y, image.shape[0])
            near = cv2.cvtColor(image[down, across], cv2.COLOR_RGB2RGBA)
            maps = tile.enlarged(x - np.float32(across.start)), tile.enlarged(y - np.float32(down.start))
            seen = cv2.remap(near, *maps, cv2.INTER_LINEAR, borderMode=border, borderValue=(fill or 0,) * 4)
            part = page[tile.top : tile.bottom, tile.left - first : tile.right - first]
            cv2.cvtColor(seen, cv2.COLOR_RGBA2RGB, dst=part)
        return page

    def inside(self, shape: tuple[int, ...], rim: float = 0.5) -> NDArray[np.bool_]:
        """(rows, columns) bool: where the map points into a picture (H, W, ...) or at most ``rim`` px beside it."""
        high_x, high_y = shape[1] - 1 + rim, shape[0] - 1 + rim
        # Px from the nearest side of the picture; bilinear in the cells, as the map is.
        margin = np.minimum(np.minimum(self.x + rim, high_x - self.x), np.minimum(self.y + rim, high_y - self.y))
        found = np.ones((self.rows, self.columns), bool)
        for tile in self._tiles(0, self.columns):
            near = tile.cells(margin)
            if near.min() < 0:
                found[tile.top : tile.bottom, tile.left : tile.right] = tile.enlarged(near) >= 0
        return found

    def at(self, points: Floats) -> Floats:
        """Where points (n, 2) (x, y) of the page lie in the picture, (n, 2) float64; NaN stays NaN."""
        places = (np.asarray(points, np.float64) + (self.cell + 1) / 2) / self.cell  # from the first cell's middle
        known = np.isfinite(places).all(axis=1)
        result = np.full(places.shape, np.nan)
        result[known] = sample_bilinear(np.stack([self.x, self.y]), places[known])
        return result

    @property
    def ratio(self) -> float:
        """Px of the picture for a px of the map, the median over the page of the geometric mean of both directions."""
        every = max(1, 32 // self.cell)
        x, y = self.x[::every, ::every].astype(np.float64), self.y[::every, ::every].astype(np.float64)
        across, down = (np.stack([np.diff(x, axis=k), np.diff(y, axis=k)]) for k in (1, 0))
        across, down = across[:, :-1], down[:, :, :-1]
        area = across[0] * down[1] - down[0] * across[1]
        return float(np.sqrt(np.median(np.abs(area)))) / (every * self.cell)


@dataclass(frozen=True)
class _Tile:
    """Some pixels of a page, from ``top`` and ``left``, where cells begin, to before ``bottom`` and ``right``."""

    top: int
    bottom: int
    left: int
    right: int
    cell: int

    def cells(self, plane: FloatMap) -> FloatMap:
        """The part of a plane of cells that the tile's pixels lie in, with one cell more on every side."""
        down = slice(self.top // self.cell, -(-self.bottom // self.cell) + 2)
        return plane[down, self.left // self.cell : -(-self.right // self.cell) + 2]

    def enlarged(self, cells: FloatMap) -> FloatMap:
        """What ``cells`` gave, for each pixel: (bottom - top, right - left) float32."""
        size = (cells.shape[1] * self.cell, cells.shape[0] * self.cell)
        fine = cv2.resize(cells, size, interpolation=cv2.INTER_LINEAR)
        left = self.cell + self.left % self.cell
        part = fine[self.cell : self.cell + self.bottom - self.top, left : left + self.right - self.left]
        return np.asarray(part, np.float32)


def _reached(places: FloatMap, size: int) -> slice:
    """The pixels of a picture's axis of so many that interpolation at ``places`` may look at; one at least."""
    first = min(max(int(places.min()) - 1, 0), size - 1)
    return slice(first, max(min(int(places.max()) + 3, size), first + 1))
