"""The paths of the rows' traces through maps of the page, and what ink they leave unexplained."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from cardioscan.arrays import Floats, Image, Ints, Mask
from cardioscan.waveform.bands import COLUMNS_ALONG, Bands, inked_rows
from cardioscan.waveform.path import INK_GAIN, LENT_WORTH, path_cost, trace_paths

__all__ = ["INK", "STEEP_PX", "borrowed_reach", "cost", "explaining_paths", "paths"]

INK = 100
"""Coverage from which a pixel is ink."""
STEEP_PX = 15
"""Ink in a vertical run at least so long is steep; a flat stroke is 3 to 6 px thick. Odd, for symmetry."""

_MISSED_GAIN = 0.3
"""In place of ``INK_GAIN`` where a path has missed steep ink of its row that no other row's path runs along."""
_SAME_COURSE_PX = 4  # where the ends of two paths are farther apart, they follow different traces
_AROUND_PX = 60  # columns to either side of missed ink that are looked at again


def paths(
    bands: Bands,
    own: Image,
    lent: Image | None = None,
    crossable: Image | None = None,
    lent_worth: tuple[float, float] = LENT_WORTH,
) -> Floats:
    """Each row's path (rows, columns), px of its band; as ``trace_paths``, with maps of the page (rows, h, w)."""
    lent, crossable = (None if maps is None else bands.cut(maps) for maps in (lent, crossable))
    return trace_paths(bands.cut(own), bands.begins, lent, crossable, lent_worth)


def cost(bands: Bands, found: Floats, own: Image, crossable: Image | None = None) -> Floats:
    """What paths (rows, columns) cost, (rows,), without what running through ink gains; maps as in ``paths``."""
    other = None if crossable is None else bands.cut(crossable)
    return path_cost(bands.cut(own), bands.begins, found, other)


def borrowed_reach(bands: Bands, own: Image, lent: Image, lent_worth: tuple[float, float] = LENT_WORTH) -> Mask:
    """The pixels of the page along each row's path through its own and lent ink; none for rows with nothing lent."""
    reach = np.zeros(own.shape, bool)
    rows = np.flatnonzero(lent.any(axis=(1, 2)))
    if rows.size:
        asked = bands.rows(rows)
        found = paths(asked, own[rows], lent[rows], lent_worth=lent_worth)
        reach[rows] = asked.along(found, own.shape[1:])
    return reach


def explaining_paths(bands: Bands, own: Image) -> Floats:
    """Each row's path (rows, columns), px of its band, through the steep ink of its row (rows, height, width).

    A short cut past the tip of a wave, over a letter that joins its two strokes, leaves much ink unexplained. Near
    such ink the path is sought again: there running through ink gains more, but not through such ink as another
    row's path runs along, or rows would climb along each other's waves.
    """
    found = paths(bands, own)
    first, last = bands.ends(found, own.shape[1])
    first, last = minimum_filter1d(first, COLUMNS_ALONG, axis=1), maximum_filter1d(last, COLUMNS_ALONG, axis=1)
    for row, plane in enumerate(own):
        for columns in _missed(bands, plane, first, last):
            near = bands.part(row, columns[0] - _AROUND_PX, columns[-1] + _AROUND_PX + 1)
            span = slice(near.left - bands.left, near.right - bands.left)
            others = [(first[k, span], last[k, span]) for k in range(len(own)) if k != row]
            again = _explaining_path(near, plane, others)
            before = found[row, span]
            # Where it has come to another course at the ends, it is not the same trace that is followed.
            if np.abs(again - before)[[0, -1]].max() <= _SAME_COURSE_PX:
                found[row, span] = again
    return found


def _explaining_path(bands: Bands, plane: Image, others: list[tuple[Ints, Ints]]) -> Floats:
    """The path (columns,) of the one row of these bands, with more gain for ink that no other path runs along.

    ``plane`` is the row's ink (height, width), ``others`` the first and last y of the page, by column, along the
    paths of other rows.
    """
    ink = bands.cut(plane[None])
    y = bands.tops[0] + np.arange(bands.height)[:, None]
    contested = np.zeros(ink.shape[1:], bool)
    for first, last in others:
        contested |= (y >= first) & (y <= last)
    free, shared = np.where(contested, 0, ink), np.where(contested, ink, 0)
    return trace_paths(free, bands.begins, shared, lent_worth=(1.0, INK_GAIN), ink_gain=_MISSED_GAIN)[0]


def _missed(bands: Bands, plane: Image, first: Ints, last: Ints) -> Iterator[NDArray[np.intp]]:
    """Columns of the page with steep ink of a row's plane (height, width) outside all of first..last y.

    Those near each other together, from left to right; first and last are (rows, columns).
    """
    y, x = _steep_places(plane)
    inside = (x >= bands.left) & (x < bands.right)
    y, x = y[inside], x[inside]
    column = x - bands.left
    missed = np.unique(x[((y < first[:, column]) | (y > last[:, column])).all(axis=0)])
    for columns in np.split(missed, np.flatnonzero(np.diff(missed) > _AROUND_PX) + 1):
        if columns.size:
            yield columns


def _steep_places(ink: Image) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where a plane (height, width) uint8 has vertical runs of ``STEEP_PX`` of ink: y of their middles, x."""
    rows = inked_rows(ink)
    dark = cv2.threshold(ink[rows], INK - 1, 1, cv2.THRESH_BINARY)[1]
    kernel = np.ones((STEEP_PX, 1), np.uint8)
    middles = np.asarray(cv2.erode(dark, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0), np.uint8)
    y, x = np.divmod(np.flatnonzero(middles.view(bool)), ink.shape[1])
    return y + rows.start, x
