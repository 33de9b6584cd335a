"""The stroke around a path: its edges to a fraction of a pixel, the pen's radius, and a first undoing of the pen.

A trace is the signal drawn with a round pen: in every column the stroke covers exactly one interval, from the lowest
``y(x + d) - sqrt(r^2 - d^2)`` to the highest ``y(x + d) + sqrt(r^2 - d^2)`` over the pen's radius. Undoing it is
morphology: the highest centre whose disc fits under the upper edge, and the lowest that fits over the lower edge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cardioscan.arrays import Floats

CONTRAST_PX = 5  # diameter of the neighbourhood whose darkest ink counts as 1; odd
_CONTRAST_FLOOR = 0.3  # ink fainter than this is not amplified to 1
_SMOOTHING_PX = 1.0
_HOLE_PX = 2  # holes of a stroke up to this height are closed
_REACH_PX = 4  # where no ink lies on the path, ink up to this far is taken
_EDGE_LEVEL = 0.5  # an edge is where the coverage crosses one half
_FLAT_SLOPE = 0.2  # px per px: below, a stroke counts as flat
_PEN_QUANTILE = 0.25
_MIN_RADIUS_PX = 0.5
_PROFILE_REACH_PX = 7
_SUBCOLUMNS = 4  # sub-columns per column of the morphological decoding
_PEAK_DISTANCE_RADII = 2.5  # peaks and troughs are told by the heights this many radii away


@dataclass(frozen=True)
class Stroke:
    """The stroke of one row. All arrays are (W,), one entry a column; heights in px of the band.

    Attributes:
        top, bottom: upper and lower edge, float64, NaN where no stroke was found.
        ink: highest coverage of the stroke in the column, [0, 1], 0 where none was found.
        rival: highest coverage of ink in the column that is not joined to the stroke, [0, 1].
    """

    top: Floats
    bottom: Floats
    ink: Floats
    rival: Floats

    @property
    def centre(self) -> Floats:
        """Middle of the stroke, px."""
        return (self.top + self.bottom) / 2

    def only(self, readable: NDArray[np.bool_]) -> Stroke:
        """The stroke without the columns that are not readable (W,)."""
        return Stroke(
            np.where(readable, self.top, np.nan),
            np.where(readable, self.bottom, np.nan),
            np.where(readable, self.ink, 0.0),
            self.rival,
        )


def local_contrast(band: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Coverage relative to the darkest ink around: (H, W) float32 in [0, 1].

    The edge of faint ink lies at half of *its* darkness. Smoothing goes along y only, where a steep stroke is long: it
    closes the holes of a noisy map and costs no resolution in time.
    """
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (CONTRAST_PX, CONTRAST_PX))
    darkest = cv2.dilate(band, kernel)
    reach = math.ceil(3 * _SMOOTHING_PX)
    band = cv2.GaussianBlur(band, (1, 2 * reach + 1), sigmaX=_SMOOTHING_PX, sigmaY=_SMOOTHING_PX)
    relative: NDArray[np.float32] = band / np.maximum(darkest, np.float32(_CONTRAST_FLOOR * 255))
    return np.clip(relative, 0, 1, out=relative)


def find_stroke(
    band: NDArray[np.uint8],
    contrast: NDArray[np.float32],
    entry: Floats,
    leave: Floats,
) -> Stroke:
    """Edges of the ink that is joined to the path, column by column.

    Args:
        band: (H, W) uint8 coverage.
        contrast: (H, W) from ``local_contrast``.
        entry, leave: (W,) heights where the path enters and leaves each column, px.
    """
    height, width = band.shape
    rows = np.asarray(cv2.transpose(contrast), np.float32)
    # One blank pixel above and below every column, so that no run of ink goes on in the next one.
    ink = np.zeros((width, height + 2), np.uint8)
    cv2.compare(rows, _EDGE_LEVEL, cv2.CMP_GE, dst=ink[:, 1:-1])
    ink[:, 1:-1] = cv2.morphologyEx(ink[:, 1:-1], cv2.MORPH_CLOSE, np.ones((1, _HOLE_PX + 1), np.uint8))
    changes = np.flatnonzero(ink.ravel()[1:] != ink.ravel()[:-1])
    begins, ends = changes[::2], changes[1::2]  # the pixel before each run, and its last one

    columns = np.arange(width)
    low = np.clip(np.floor(np.minimum(entry, leave)), 0, height - 1).astype(np.int64)
    high = np.clip(np.ceil(np.maximum(entry, leave)), 0, height - 1).astype(np.int64)
    top, bottom = np.full(width, height), np.full(width, -1)

    def join(y: NDArray[np.int64], wanted: NDArray[np.bool_]) -> None:
        on = np.flatnonzero((ink[columns, y + 1] > 0) & wanted)
        run = np.searchsorted(begins, on * (height + 2) + y[on] + 1) - 1
        top[on] = np.minimum(top[on], begins[run] - on * (height + 2))
        bottom[on] = np.maximum(bottom[on], ends[run] - on * (height + 2) - 1)

    for share in np.linspace(0, 1, 8):
        join(np.round(low + (high - low) * share).astype(np.int64), np.ones(width, bool))
    for distance in range(1, _REACH_PX + 1):
        lost = bottom < 0
        join(np.maximum(low - distance, 0), lost)
        join(np.minimum(high + distance, height - 1), lost)

    found = bottom >= 0
    a = np.clip(np.where(found, top, 1), 1, height - 1)
    b = np.clip(np.where(found, bottom, 0), 0, height - 2)
    outside, inside = rows[columns, a - 1], rows[columns, a]
    upper = a - np.clip((inside - _EDGE_LEVEL) / np.maximum(inside - outside, 1e-3), 0, 1)
    inside, outside = rows[columns, b], rows[columns, b + 1]
    lower = b + np.clip((inside - _EDGE_LEVEL) / np.maximum(inside - outside, 1e-3), 0, 1)
    raw = np.zeros((width, height + 2), np.uint8)
    raw[:, 1:-1] = cv2.transpose(band)
    # The darkest of what is above, around and below the stroke in every column; none of the three is empty.
    around = np.clip(np.stack([a - 2, b + 5], axis=1), 1, height + 1)
    bounds = columns[:, None] * (height + 2) + np.column_stack([np.zeros(width, np.int64), around])
    above, own, below = (np.maximum.reduceat(raw.ravel(), bounds.ravel()) / 255.0).reshape(width, 3).T
    darkest, rival = np.where(found, own, 0.0), np.maximum(above, below)
    rival = np.where(found, rival, np.maximum(rival, own))
    return Stroke(np.where(found, upper, np.nan), np.where(found, lower, np.nan), darkest, rival)


def flat_stroke(band: NDArray[np.uint8], stroke: Stroke) -> tuple[Floats, Floats]:
    """Thickness of the stroke where it runs flat: (n,) px by its edges and (n,) px by the amount of its ink.

    On sharp coverage they agree. Blur pushes the edges at one half apart but leaves the amount of ink.
    """
    slope = np.abs(np.gradient(stroke.centre))
    flat = np.flatnonzero(np.isfinite(stroke.top) & (slope < _FLAT_SLOPE))
    reach = np.arange(-_PROFILE_REACH_PX, _PROFILE_REACH_PX + 1)
    y = np.clip(np.round(stroke.centre[flat]).astype(np.int64)[:, None] + reach, 0, band.shape[0] - 1)
    return (stroke.bottom - stroke.top)[flat], band[y, flat[:, None]].sum(axis=1) / 255.0


def pen_radii(by_edges: Floats, by_amount: Floats) -> tuple[float, float]:
    """The pen's radius, px, and the one that fits the edges best, from pooled ``flat_stroke`` thicknesses of a page.

    A low quantile, for what looks flat may be a tremor that the pen has filled in. Edges of blurred coverage lie too
    far out, but they are what is fitted: the best radius is measured to lie half way between the two.
    """
    if by_edges.size == 0:
        return _MIN_RADIUS_PX, _MIN_RADIUS_PX
    edges, amount = np.quantile(by_edges, _PEN_QUANTILE) / 2, np.quantile(by_amount, _PEN_QUANTILE) / 2
    pen = max(_MIN_RADIUS_PX, float(min(edges, amount)))
    return pen, max(pen, float(edges + min(edges, amount)) / 2)


def undo_pen(stroke: Stroke, radius: float) -> tuple[Floats, Floats, Floats]:
    """The centre of the pen, by the discs that fit between the edges.

    The highest centre under the upper edge and the lowest over the lower one agree wherever the signal bends no more
    than the pen; where they do not, a peak follows the upper edge and a trough the lower one.

    Args:
        stroke: edges with at least one found column; columns without are interpolated.
        radius: of the pen, px.

    Returns:
        (4 W - 3,) float64 x in columns and (4 W - 3,) float64 centre in px, at quarter columns; (W,) float64 how far
        the two discs disagree, px.
    """
    width = stroke.top.size
    seen = np.flatnonzero(np.isfinite(stroke.top))
    x = np.linspace(0, width - 1, _SUBCOLUMNS * (width - 1) + 1)
    top, bottom = np.interp(x, seen, stroke.top[seen]), np.interp(x, seen, stroke.bottom[seen])
    under, over = np.full(x.size, -np.inf), np.full(x.size, np.inf)
    index = np.arange(x.size)
    reach = int(radius * _SUBCOLUMNS)
    for step in range(-reach, reach + 1):
        arch = np.sqrt(radius**2 - (step / _SUBCOLUMNS) ** 2)
        beside = np.clip(index + step, 0, x.size - 1)
        np.maximum(under, top[beside] + arch, out=under)
        np.minimum(over, bottom[beside] - arch, out=over)
    middle = (top + bottom) / 2
    away = max(1, round(_PEAK_DISTANCE_RADII * radius * _SUBCOLUMNS))
    left, right = middle[np.maximum(index - away, 0)], middle[np.minimum(index + away, x.size - 1)]
    torn = np.abs(under - over) > 1
    centre = (under + over) / 2
    peak, trough = torn & (middle < left) & (middle < right), torn & (middle > left) & (middle > right)
    centre[peak], centre[trough] = under[peak], over[trough]
    return x, centre, np.abs(under - over)[::_SUBCOLUMNS]
