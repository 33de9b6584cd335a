"""The bands of the page in which the rows' traces are looked for, and the paths found there."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from cardioscan.page import PageTemplate
from cardioscan.waveform.options import DecodingOptions
from cardioscan.waveform.path import LENT_WORTH, path_cost, trace_paths

__all__ = ["Bands"]

Maps = NDArray[np.uint8]
Floats = NDArray[np.float64]
Reach = NDArray[np.bool_]

_PEN_REACH_PX = 4  # ink this far above or below a path is along it


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
        entry = self.entries(paths)
        top = np.asarray(self.tops)[:, None]
        first = np.clip(np.minimum(entry, paths) + top - _PEN_REACH_PX, 0, shape[0] - 1).astype(np.int64)
        last = np.clip(np.maximum(entry, paths) + top + _PEN_REACH_PX, 0, shape[0] - 1).astype(np.int64)
        steps = np.zeros((len(self.tops), shape[0] + 1, shape[1]), np.int8)
        rows, columns = np.indices(paths.shape)
        steps[rows, first, self.left + columns] += 1
        steps[rows, last + 1, self.left + columns] -= 1
        inside = np.cumsum(steps, axis=1, dtype=np.int8)[:, :-1].astype(np.uint8)
        return np.stack([cv2.dilate(row, np.ones((1, 5), np.uint8)) for row in inside]).astype(bool)
