"""The bands of the page in which the rows' traces are looked for, and the paths found there."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from cardioscan.page import PageTemplate
from cardioscan.waveform.options import DecodingOptions
from cardioscan.waveform.path import LENT_WORTH, path_cost, trace_paths

__all__ = ["Bands"]

Maps = NDArray[np.uint8]
Floats = NDArray[np.float64]
Reach = NDArray[np.bool_]

_PEN_REACH_PX = 4  # ink this far above or below a path is along it
_BESIDE = 5  # columns that are along a path, its own in their middle
_INK = 100
_STEEP_PX = 15  # ink in a vertical run of this many px is steep; a flat stroke is 3 to 6 px thick


def _steep_places(ink: Maps) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where a plane (height, width) uint8 has vertical runs of ``_STEEP_PX`` of ink: y of their middles, x."""
    dark = cv2.threshold(ink, _INK - 1, 1, cv2.THRESH_BINARY)[1]
    kernel = np.ones((_STEEP_PX, 1), np.uint8)
    middles = cv2.findNonZero(cv2.erode(dark, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0))
    if middles is None:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    x, y = middles.reshape(-1, 2).astype(np.intp).T  # OpenCV 4 puts an axis in between
    return y, x


@dataclass(frozen=True, eq=False)
class Bands:
    """One band of equal height per row; bands overlap, and reach beyond the page where a row lies near its edge.

    Attributes:
        tops: the page's y of each band's first pixel.
        height: px.
        left: the page's x of the first column.
        begins: (rows, columns) bool, columns in which a lead begins.
        options: what the search for paths costs.
    """

    tops: tuple[int, ...]
    height: int
    left: int
    begins: NDArray[np.bool_]
    options: DecodingOptions

    @classmethod
    def of(cls, template: PageTemplate, options: DecodingOptions) -> Bands:
        """The bands of a page, from its first printed column to its last."""
        left = math.ceil(min(segment.x_start for segment in template.segments))
        right = min(math.floor(max(segment.x_end for segment in template.segments)), template.width - 1)
        half = min(round(options.band_mv * template.px_per_mv), template.height)
        begins = np.zeros((template.n_rows, right + 1 - left), bool)
        for segment in template.segments:
            begins[segment.row, max(math.ceil(segment.x_start) - left, 0)] = True
        return cls(tuple(round(zero) - half for zero in template.zero_mv_y), 2 * half, left, begins, options)

    @property
    def right(self) -> int:
        """The page's x behind the last column."""
        return self.left + self.begins.shape[1]

    def part(self, row: int, left: int, right: int) -> Bands:
        """The band of one row alone between two columns of the page, as far as there are bands."""
        left, right = max(left, self.left), min(right, self.right)
        begins = self.begins[row : row + 1, left - self.left : right - self.left]
        return replace(self, tops=self.tops[row : row + 1], left=left, begins=begins)

    def cut(self, maps: Maps) -> Maps:
        """(rows, page height, page width) to (rows, height, columns); 0 beyond the page."""
        bands = np.zeros((len(self.tops), self.height, self.begins.shape[1]), np.uint8)
        for row, top in enumerate(self.tops):
            a, b = max(top, 0), min(top + self.height, maps.shape[1])
            bands[row, a - top : b - top] = maps[row, a:b, self.left : self.right]
        return bands

    def paths(
        self,
        own: Maps,
        lent: Maps | None = None,
        crossable: Maps | None = None,
        lent_worth: tuple[float, float] = LENT_WORTH,
    ) -> Floats:
        """Each row's path (rows, columns), px of its band; as ``trace_paths``, with maps of the page."""
        options = self.options
        costs = (options.jump_cost, options.blank_probability, options.ink_gain)
        lent, crossable = (None if maps is None else self.cut(maps) for maps in (lent, crossable))
        return trace_paths(self.cut(own), self.begins, *costs, lent, crossable, lent_worth)

    def explaining_paths(self, own: Maps) -> Floats:
        """Each row's path (rows, columns), px of its band, through the steep ink of its row (rows, height, width).

        A short cut past the tip of a wave, over a letter that joins its two strokes, leaves much ink unexplained. Rows
        whose path does are looked at again: there running through ink gains more, but not through such ink as another
        row's path runs along, or rows would climb along each other's waves.
        """
        paths = self.paths(own)
        first, last = self._ends(paths, own.shape[1])
        first, last = minimum_filter1d(first, _BESIDE, axis=1), maximum_filter1d(last, _BESIDE, axis=1)
        rows = [row for row, plane in enumerate(own) if self._misses(plane, first, last)]
        if not rows or self.options.missed_gain <= self.options.ink_gain:
            return paths
        along = self.along(paths, own.shape[1:])
        contested = np.stack([np.delete(along, row, axis=0).any(axis=0) for row in rows])
        free, shared = np.where(contested, 0, own[rows]), np.where(contested, own[rows], 0)
        options = replace(self.options, ink_gain=self.options.missed_gain)
        tops = tuple(self.tops[row] for row in rows)
        again = replace(self, tops=tops, begins=self.begins[rows], options=options)
        paths[rows] = again.paths(free, shared, lent_worth=(1.0, self.options.ink_gain))
        return paths

    def _misses(self, plane: Maps, first: NDArray[np.int64], last: NDArray[np.int64]) -> bool:
        """Whether a row's plane (height, width) shows steep ink outside all of first..last y (rows, columns)."""
        y, x = _steep_places(plane)
        inside = (x >= self.left) & (x < self.right)
        y, x = y[inside], x[inside] - self.left
        return bool(((y < first[:, x]) | (y > last[:, x])).all(axis=0).any())

    def cost(self, paths: Floats, own: Maps, crossable: Maps | None = None) -> Floats:
        """What paths (rows, columns) cost, (rows,), without what running through ink gains; maps as in ``paths``."""
        options = self.options
        other = None if crossable is None else self.cut(crossable)
        return path_cost(self.cut(own), self.begins, paths, options.jump_cost, options.blank_probability, other)

    def reach(self, own: Maps, lent: Maps, lent_worth: tuple[float, float] = LENT_WORTH) -> Reach:
        """The pixels of the page along each row's path; none for a row to which nothing is lent."""
        reach = np.zeros(own.shape, bool)
        rows = np.flatnonzero(lent.any(axis=(1, 2)))
        if rows.size:
            asked = replace(self, tops=tuple(self.tops[row] for row in rows), begins=self.begins[rows])
            reach[rows] = asked.along(asked.paths(own[rows], lent[rows], lent_worth=lent_worth), own.shape[1:])
        return reach

    def entries(self, paths: Floats) -> Floats:
        """Where each path enters its columns: where it left the one before, and where a lead begins, at once."""
        return np.where(self.begins, paths, np.concatenate([paths[:, :1], paths[:, :-1]], axis=1))

    def along(self, paths: Floats, shape: tuple[int, int]) -> Reach:
        """(rows, *shape): the pixels of the page within about a pen of each path, moves inside columns included."""
        first, last = self._ends(paths, shape[0])
        steps = np.zeros((len(self.tops), shape[0] + 1, shape[1]), np.int8)
        rows, columns = np.indices(paths.shape)
        steps[rows, first, self.left + columns] += 1
        steps[rows, last + 1, self.left + columns] -= 1
        inside = np.cumsum(steps, axis=1, dtype=np.int8)[:, :-1].astype(np.uint8)
        return np.stack([cv2.dilate(row, np.ones((1, _BESIDE), np.uint8)) for row in inside]).astype(bool)

    def _ends(self, paths: Floats, height: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First and last y (rows, columns) of a page's column that is along a path, moves inside columns included."""
        entry = self.entries(paths)
        top = np.asarray(self.tops)[:, None]
        first = np.clip(np.minimum(entry, paths) + top - _PEN_REACH_PX, 0, height - 1).astype(np.int64)
        last = np.clip(np.maximum(entry, paths) + top + _PEN_REACH_PX, 0, height - 1).astype(np.int64)
        return first, last
