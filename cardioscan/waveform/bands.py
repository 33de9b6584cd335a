"""The bands of the page in which the rows' traces are looked for, and the paths found there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from cardioscan.page.template import PageTemplate
from cardioscan.waveform.options import DecodingOptions
from cardioscan.waveform.path import BEYOND_PX, FAINT, LENT_WORTH, VERTICAL_STEP, path_cost, trace_paths

__all__ = ["INK", "STEEP_PX", "Bands", "inked_rows"]

Maps = NDArray[np.uint8]
Floats = NDArray[np.float64]
Reach = NDArray[np.bool_]

INK = 100
"""Coverage from which a pixel is ink."""
STEEP_PX = 15
"""Ink in a vertical run at least so long is steep; a flat stroke is 3 to 6 px thick. Odd, for symmetry."""

_PEN_REACH_PX = 4  # ink this far above or below a path is along it
_BESIDE = 5  # columns that are along a path, its own in their middle
_AROUND_PX = 60  # columns to either side of missed ink that are looked at again


def _steep_places(ink: Maps) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where a plane (height, width) uint8 has vertical runs of ``STEEP_PX`` of ink: y of their middles, x."""
    rows = inked_rows(ink)
    dark = cv2.threshold(ink[rows], INK - 1, 1, cv2.THRESH_BINARY)[1]
    kernel = np.ones((STEEP_PX, 1), np.uint8)
    middles = np.asarray(cv2.erode(dark, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0), np.uint8)
    y, x = np.divmod(np.flatnonzero(middles.view(bool)), ink.shape[1])
    return y + rows.start, x


def inked_rows(plane: Maps, beyond: int = 0) -> slice:
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

    def around(self, ink: Maps) -> Bands:
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

        A short cut past the tip of a wave, over a letter that joins its two strokes, leaves much ink unexplained. Near
        such ink the path is sought again: there running through ink gains more, but not through such ink as another
        row's path runs along, or rows would climb along each other's waves.
        """
        paths = self.paths(own)
        if self.options.missed_gain <= self.options.ink_gain:
            return paths
        first, last = self._ends(paths, own.shape[1])
        first, last = minimum_filter1d(first, _BESIDE, axis=1), maximum_filter1d(last, _BESIDE, axis=1)
        for row, plane in enumerate(own):
            for columns in self._missed(plane, first, last):
                near = self.part(row, columns[0] - _AROUND_PX, columns[-1] + _AROUND_PX + 1)
                span = slice(near.left - self.left, near.right - self.left)
                others = [(first[k, span], last[k, span]) for k in range(len(own)) if k != row]
                again = near._explaining_path(plane, others)
                before = paths[row, span]
                # Where it has come to another course at the ends, it is not the same trace that is followed.
                if np.abs(again - before)[[0, -1]].max() <= _PEN_REACH_PX:
                    paths[row, span] = again
        return paths

    def _explaining_path(self, plane: Maps, others: list[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> Floats:
        """The path (columns,) of the one row of these bands, with more gain for ink that no other path runs along.

        ``plane`` is the row's ink (height, width), ``others`` the first and last y of the page, by column, along the
        paths of other rows.
        """
        ink = self.cut(plane[None])
        y = self.tops[0] + np.arange(self.height)[:, None]
        contested = np.zeros(ink.shape[1:], bool)
        for first, last in others:
            contested |= (y >= first) & (y <= last)
        free, shared = np.where(contested, 0, ink), np.where(contested, ink, 0)
        options = self.options
        costs = (options.jump_cost, options.blank_probability, options.missed_gain)
        return trace_paths(free, self.begins, *costs, shared, lent_worth=(1.0, options.ink_gain))[0]

    def _missed(self, plane: Maps, first: NDArray[np.int64], last: NDArray[np.int64]) -> Iterator[NDArray[np.intp]]:
        """Columns of the page with steep ink of a row's plane (height, width) outside all of first..last y.

        Those near each other together, from left to right; first and last are (rows, columns).
        """
        y, x = _steep_places(plane)
        inside = (x >= self.left) & (x < self.right)
        y, x = y[inside], x[inside]
        column = x - self.left
        missed = np.unique(x[((y < first[:, column]) | (y > last[:, column])).all(axis=0)])
        for columns in np.split(missed, np.flatnonzero(np.diff(missed) > _AROUND_PX) + 1):
            if columns.size:
                yield columns

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
