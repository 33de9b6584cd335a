"""Sampling a picture through a smooth map, fast: the map in coarse cells, the picture in four channels, by tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cardioscan.geometry import Floats, sample_bilinear, transform_points

__all__ = ["SmoothMap", "four_channels"]

Image = NDArray[np.uint8]
FloatMap = NDArray[np.float32]

_TILE_PX: Final = 256
"""A picture is sampled by square tiles of so many pixels: maps and pixels stay in the processor's cache, also
where the page lies askew in the picture."""
_CELL_PX: Final = 8
_FARTHEST_PX: Final = 1e5
"""Places farther away than this, as near a horizon, are as far outside any picture; OpenCV's fixed point ends there."""


def four_channels(image: Image) -> Image:
    """A picture (H, W, 3) uint8 with a fourth channel to fill up; one with four as it is.

    OpenCV interpolates four channels by vector instructions and three one by one: in a third of the time.
    """
    return image if image.shape[2] == 4 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA), np.uint8)


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

    def sample(self, image: Image, fill: int | None = 255, columns: slice = slice(None)) -> Image:
        """The page as seen in a picture, by bilinear interpolation.

        Args:
            image: (H, W, 3) uint8, or with a fourth channel that is left out, see :func:`four_channels`.
            fill: grey level outside the picture; None lets the picture's rim go on.
            columns: which are wanted.

        Returns:
            (rows, n, 3) uint8.
        """
        image = four_channels(image)
        first, last, _ = columns.indices(self.columns)
        page = np.empty((self.rows, last - first, 3), np.uint8)
        border = cv2.BORDER_REPLICATE if fill is None else cv2.BORDER_CONSTANT
        high, cells = -(-self.rows // self.cell), _TILE_PX // self.cell
        for top in range(0, high, cells):
            bottom = min(top + cells, high)
            for left in range(first, last, _TILE_PX):
                right = min(left + _TILE_PX, last)
                maps = self._part(top, bottom, left, right)
                tile = cv2.remap(image, *maps, cv2.INTER_LINEAR, borderMode=border, borderValue=(fill or 0,) * 4)
                part = page[top * self.cell : bottom * self.cell, left - first : right - first]
                cv2.cvtColor(tile, cv2.COLOR_RGBA2RGB, dst=part)
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
        """Where points (n, 2) (x, y) of the page lie in the picture, (n, 2) float64; NaN stays NaN."""
        places = self._in_cells(np.asarray(points, np.float64))
        known = np.isfinite(places).all(axis=1)
        result = np.full(places.shape, np.nan)
        result[known] = sample_bilinear(np.stack([self.x, self.y]), places[known])
        return result

    def _in_cells(self, points: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Where points (..., 2) (x, y) px of the page lie in ``x`` and ``y``, in cells from their first middle."""
        return (points + (self.cell + 1) / 2) / self.cell

    @property
    def ratio(self) -> float:
        """Px of the picture for a px of the map, the median over the page of the geometric mean of both directions."""
        every = max(1, 32 // self.cell)
        x, y = self.x[::every, ::every].astype(np.float64), self.y[::every, ::every].astype(np.float64)
        across, down = (np.stack([np.diff(x, axis=k), np.diff(y, axis=k)]) for k in (1, 0))
        across, down = across[:, :-1], down[:, :, :-1]
        area = across[0] * down[1] - down[0] * across[1]
        return float(np.sqrt(np.median(np.abs(area)))) / (every * self.cell)
