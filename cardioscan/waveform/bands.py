"""The bands of the page in which the rows' traces are looked for."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from cardioscan.arrays import Floats, Image, Ints, Mask
from cardioscan.page.read_page import ReadPage
from cardioscan.page.sheet import PX_PER_MM
from cardioscan.waveform.path import BEYOND_PX, FAINT, VERTICAL_STEP

__all__ = ["COLUMNS_ALONG", "Bands", "inked_rows"]

COLUMNS_ALONG = 5
"""Columns that are along a path, its own in their middle."""
_BAND_MM = 60.0  # a trace stays so near its row's zero line: 6 mV at 10 mm/mV
_PEN_REACH_PX = 4  # ink this far above or below a path is along it


def inked_rows(plane: Image, beyond: int = 0) -> slice:
    """The rows of a plane (height, width) uint8 from the first to the last that is not 0, and some beyond them."""
    there = np.flatnonzero(plane.any(axis=1))
    if there.size == 0:
        return slice(0, 1)
    return slice(max(int(there[0]) - beyond, 0), min(int(there[-1]) + 1 + beyond, len(plane)))


@dataclass(frozen=True, eq=False)
class Bands:
    """One band of equal height per row; bands overlap, and reach beyond the page where a row lies near its edge.

    Attributes:
        tops: the page's y of each band's first pixel.
        height: px.
        left: the page's x of the first column.
        begins: (rows, columns) bool, columns in which a lead begins.
    """

    tops: tuple[int, ...]
    height: int
    left: int
    begins: Mask

    @classmethod
    def of(cls, page: ReadPage) -> Bands:
        """The bands of a page, from its first printed column to its last."""
        left = math.ceil(min(segment.x_start for segment in page.segments))
        right = min(math.floor(max(segment.x_end for segment in page.segments)), page.sheet.width - 1)
        half = min(round(_BAND_MM * PX_PER_MM), page.sheet.height)
        begins = np.zeros((page.n_rows, right + 1 - left), bool)
        for segment in page.segments:
            begins[segment.row, max(math.ceil(segment.x_start) - left, 0)] = True
        return cls(tuple(round(zero) - half for zero in page.zero_y), 2 * half, left, begins)

    def around(self, ink: Image) -> Bands:
        """The same bands without the heights, above and below, at which no row has any of its ink (rows, h, w).

        Paths cost what there is to search, and a path never gains by leaving all ink behind.
        """
        ranges = []
        for row, top in enumerate(self.tops):
            a, b = max(top, 0), min(top + self.height, ink.shape[1])
            darkest = ink[row, a:b, self.left : self.right].max(axis=1, initial=0)
            inked = np.flatnonzero(darkest >= FAINT) + a - top
            low, high = (inked[0], inked[-1] + 1) if inked.size else (self.height // 2, self.height // 2)
            # Whole steps of the paths, or these would take other pixels together.
            first = max(low - BEYOND_PX, 0) // VERTICAL_STEP * VERTICAL_STEP
            ranges.append((first, min(high + BEYOND_PX, self.height)))
        tallest = -(-max(high - low for low, high in ranges) // VERTICAL_STEP) * VERTICAL_STEP
        height = min(tallest, self.height // VERTICAL_STEP * VERTICAL_STEP)
        lowest = (self.height - height) // VERTICAL_STEP * VERTICAL_STEP
        tops = (top + min(low, lowest) for top, (low, _) in zip(self.tops, ranges, strict=True))
        return replace(self, tops=tuple(int(top) for top in tops), height=height)

    @property
    def right(self) -> int:
        """The page's x behind the last column."""
        return self.left + self.begins.shape[1]

    def rows(self, rows: Ints) -> Bands:
        """The bands of some rows alone."""
        return replace(self, tops=tuple(self.tops[row] for row in rows), begins=self.begins[rows])

    def part(self, row: int, left: int, right: int) -> Bands:
        """The band of one row alone between two columns of the page, as far as there are bands."""
        left, right = max(left, self.left), min(right, self.right)
        begins = self.begins[row : row + 1, left - self.left : right - self.left]
        return replace(self, tops=self.tops[row : row + 1], left=left, begins=begins)

    def cut(self, maps: Image) -> Image:
        """(rows, page height, page width) to (rows, height, columns); 0 beyond the page."""
        bands = np.zeros((len(self.tops), self.height, self.begins.shape[1]), np.uint8)
        for row, top in enumerate(self.tops):
            a, b = max(top, 0), min(top + self.height, maps.shape[1])
            bands[row, a - top : b - top] = maps[row, a:b, self.left : self.right]
        return bands

    def entries(self, paths: Floats) -> Floats:
        """Where each path enters its columns: where it left the one before, and where a lead begins, at once."""
        return np.where(self.begins, paths, np.concatenate([paths[:, :1], paths[:, :-1]], axis=1))

    def ends(self, paths: Floats, height: int) -> tuple[Ints, Ints]:
        """First and last y (rows, columns) of a page's column that is along a path, moves inside columns included."""
        entry = self.entries(paths)
        top = np.asarray(self.tops)[:, None]
        first = np.clip(np.minimum(entry, paths) + top - _PEN_REACH_PX, 0, height - 1).astype(np.int64)
        last = np.clip(np.maximum(entry, paths) + top + _PEN_REACH_PX, 0, height - 1).astype(np.int64)
        return first, last

    def along(self, paths: Floats, shape: tuple[int, int]) -> Mask:
        """(rows, *shape): the pixels of the page within about a pen of each path, moves inside columns included."""
        first, last = self.ends(paths, shape[0])
        steps = np.zeros((len(self.tops), shape[0] + 1, shape[1]), np.int8)
        rows, columns = np.indices(paths.shape)
        steps[rows, first, self.left + columns] += 1
        steps[rows, last + 1, self.left + columns] -= 1
        inside = np.cumsum(steps, axis=1, dtype=np.int8)[:, :-1].astype(np.uint8)
        return np.stack([cv2.dilate(row, np.ones((1, COLUMNS_ALONG), np.uint8)) for row in inside]).astype(bool)
