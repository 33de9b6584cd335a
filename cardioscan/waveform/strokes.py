"""The stroke of every row: the ink that belongs to its path, where enough of it is readable."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cardioscan.arrays import Floats, Image, Mask
from cardioscan.page.read_page import ReadPage, Segment
from cardioscan.waveform.bands import Bands, inked_rows
from cardioscan.waveform.pen import Stroke, find_stroke, flat_stroke, local_contrast

__all__ = ["MAX_GAP_S", "MIN_ROW_SHARE", "RowStroke", "find_strokes"]

MAX_GAP_S = 0.04
"""Longest gap that is bridged; longer ones are not read."""
MIN_ROW_SHARE = 0.1
"""A row counts as read if this share of its columns shows the stroke."""
_MIN_INK = 0.25  # a column whose ink near the path stays below this coverage shows no stroke
_BEYOND_PX = 5  # rows of a band that are kept above and below its ink, for edges


@dataclass(frozen=True, eq=False)
class RowStroke:
    """The stroke of a row and what is needed to read it.

    Attributes:
        stroke: heights in px of a band; only what is readable.
        top: the page's y of that band's first pixel.
        columns: (W,) float64, the page's x of the columns.
        readable: (W,) bool.
        flat: thickness where it runs flat, by its edges and by the amount of its ink, see ``flat_stroke``.
        segments: the leads printed in the row.
    """

    stroke: Stroke
    top: int
    columns: Floats
    readable: Mask
    flat: tuple[Floats, Floats]
    segments: tuple[Segment, ...]


def find_strokes(coverage: Image, bands: Bands, paths: Floats, page: ReadPage) -> list[RowStroke | None]:
    """The stroke of every row; None for a row that does not show enough of one.

    Args:
        coverage: (rows, height, width) uint8, each row's own ink.
        bands: in which the paths were found.
        paths: (rows, columns) px of the bands.
        page: where leads stand, and the paper speed.
    """
    columns = np.arange(bands.left, bands.right).astype(np.float64)
    longest_gap_px = MAX_GAP_S * page.scale.px_per_s
    rows: list[RowStroke | None] = []
    for row, (band, path, entry) in enumerate(zip(bands.cut(coverage), paths, bands.entries(paths), strict=True)):
        segments = page.row_segments(row)
        # Bands are as high as the one with the tallest waves; few rows need that much.
        inked = inked_rows(band, _BEYOND_PX)
        high, band = inked.start, band[inked]
        stroke = find_stroke(band, local_contrast(band), entry - high, path - high)
        inside = np.zeros(columns.size, bool)
        for segment in segments:
            inside |= (columns >= segment.x_start) & (columns <= segment.x_end)
        readable = _without_islands(np.isfinite(stroke.top) & (stroke.ink >= _MIN_INK) & inside, longest_gap_px)
        if not segments or readable.sum() < max(2.0, MIN_ROW_SHARE * inside.sum()):
            rows.append(None)
            continue
        stroke = stroke.only(readable)
        flat = flat_stroke(band, stroke)
        rows.append(RowStroke(stroke, bands.tops[row] + high, columns, readable, flat, segments))
    return rows


def _without_islands(readable: Mask, gap_px: float) -> Mask:
    """Drop readable stretches that are shorter than the longest gap and have long gaps on both sides: specks."""
    kept = np.array(readable)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], readable, [False]]).astype(np.int8)))
    starts, stops = edges[::2], edges[1::2]
    before = starts - np.concatenate([[-np.inf], stops[:-1]])
    after = np.concatenate([starts[1:], [np.inf]]) - stops
    for i in np.flatnonzero((stops - starts < gap_px) & (before > gap_px) & (after > gap_px)):
        kept[starts[i] : stops[i]] = False
    return kept
