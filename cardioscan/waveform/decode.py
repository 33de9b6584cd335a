"""From the row coverage of a page to its signals, confidences and traces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from cardioscan.errors import RefusalCode, StageError
from cardioscan.page.template import (
    LEAD_INDEX,
    RECORD_SAMPLES,
    SAMPLING_RATE_HZ,
    STANDARD_PAGE,
    LeadSegment,
    PageTemplate,
)
from cardioscan.waveform.bands import Bands, inked_rows
from cardioscan.waveform.crossing import lendable_ink, share_ink
from cardioscan.waveform.fit import Curves, fit_samples, hold_under_bars, hold_under_pulse, under_bars
from cardioscan.waveform.options import DecodingOptions
from cardioscan.waveform.pen import Floats, Stroke, find_stroke, flat_stroke, local_contrast, pen_radii, undo_pen

_END_TOLERANCE_PX = 2.0  # samples this far outside the first and last readable column are still read
_SMOOTHING_COLUMNS = 5  # ink is judged over this many columns
_HARMLESS_RIVAL = 0.3  # coverage of other ink in the column that says nothing against the trace
_DISC_SCALE_PX = 20.0  # disagreement of the two discs that takes a quarter of the confidence
_EDGE_PX = 5  # so near the photo's edge nothing is read: a trace that leaves the photo would be led on along its edge
_BRIDGED = 0.5  # factor on the confidence of bridged samples


@dataclass(frozen=True, eq=False)
class Reading:
    """One printed segment as read, on the record's time axis.

    Attributes:
        signal: (5000,) float64 mV, NaN where not printed or not readable.
        confidence: (5000,) float32 in [0, 1], 0 exactly where the signal is NaN.
    """

    signal: Floats
    confidence: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class DecodedPage:
    """What stage 2 read.

    Attributes:
        signals: (12, 5000) float64 mV at 500 Hz, leads in the order of ``LEADS``; NaN where not printed or not
            readable. A lead that is printed twice is taken from its longer print (II from the rhythm row).
        confidence: (12, 5000) float32 in [0, 1], 0 exactly where the signal is NaN.
        traces: per printed segment (``"I"``, ..., ``"II (rhythm)"``), (N, 2) float64 (x, y) px in the reference frame,
            one point a sample; NaN in gaps. Segments that were not read are there, all NaN.
        duplicates: the shorter print of leads printed twice, by trace name (``"II"``).
        pen_px: diameter of the pen, px.
    """

    signals: Floats
    confidence: NDArray[np.float32]
    traces: Mapping[str, Floats]
    duplicates: Mapping[str, Reading]
    pen_px: float


@dataclass(frozen=True, eq=False)
class _Row:
    """The stroke of a row and what is needed to read it. ``top`` is the page's y of the band's first pixel."""

    stroke: Stroke
    flat: tuple[Floats, Floats]
    readable: NDArray[np.bool_]
    segments: tuple[LeadSegment, ...]
    columns: Floats
    top: int


def segment_samples(segment: LeadSegment, template: PageTemplate) -> tuple[int, int]:
    """First and one-past-last sample of a printed segment in its record.

    Printed lengths are whole tenths of a second; the segment's bounds on paper are rounded to pixels.
    """
    start = round(segment.t_start * SAMPLING_RATE_HZ)
    seconds = round((segment.x_end - segment.x_start) / template.px_per_s, 1)
    return start, min(start + round(seconds * SAMPLING_RATE_HZ), RECORD_SAMPLES)


def decode_rows(
    row_coverage: NDArray[np.uint8],
    template: PageTemplate = STANDARD_PAGE,
    valid: NDArray[np.bool_] | None = None,
    options: DecodingOptions | None = None,
    shift: Floats | None = None,
) -> DecodedPage:
    """Read the signals from the stroke coverage of the printed rows.

    Args:
        row_coverage: (rows, height, width) uint8 in the reference frame, 255 where the row's stroke covers the pixel.
        template: the page's geometry.
        valid: (height, width) bool, pixels that were inside the photo; None = all. What lies outside, or within 5 px
            of its edge, is never read.
        options: settings; None = ``DecodingOptions()``.
        shift: (width,) px by which the trace stands to the right of its nominal place, in each column; None = nowhere.

    Returns:
        The decoded page. Stretches of more than ``max_gap_s`` without ink are NaN; shorter ones are bridged.

    Raises:
        StageError: ``TRACE_NOT_FOUND`` when in no row the stroke was found in at least ``min_row_share`` (a tenth) of
            the row's columns. A single row below it is NaN and the others are read.
        ValueError: an array has another shape or type than the template asks for.
    """
    options = options or DecodingOptions()
    coverage = _checked(row_coverage, template, valid)
    rows = _find_rows(coverage, template, options)
    found = [row for row in rows if row is not None]
    if not found:
        raise StageError(
            RefusalCode.TRACE_NOT_FOUND,
            f"no row shows a trace on {options.min_row_share:.0%} of its length; "
            "take the picture closer, sharper and with even light",
        )
    by_edges, by_amount = (np.concatenate([row.flat[i] for row in found]) for i in (0, 1))
    pen, radius = pen_radii(by_edges, by_amount)
    columns = np.arange(template.width)

    def places(segment: LeadSegment, count: int) -> Floats:
        nominal = segment.x_start + template.px_per_sample * np.arange(count)
        return np.asarray(nominal if shift is None else nominal + np.interp(nominal, columns, shift), np.float64)

    read = [None if row is None else _read_row(row, radius, template, options, places) for row in rows]

    signals = np.full((len(LEAD_INDEX), RECORD_SAMPLES), np.nan)
    confidence = np.zeros(signals.shape, np.float32)
    traces: dict[str, Floats] = {}
    duplicates: dict[str, Reading] = {}
    used = [0] * template.n_rows
    for segment in template.segments:
        start, stop = segment_samples(segment, template)
        n, row = stop - start, read[segment.row]
        part = slice(used[segment.row], used[segment.row] + n)
        used[segment.row] += n
        y = np.full(n, np.nan) if row is None else row[0][part]
        sure = np.zeros(n) if row is None else row[1][part]
        reading = Reading(np.full(RECORD_SAMPLES, np.nan), np.zeros(RECORD_SAMPLES, np.float32))
        reading.signal[start:stop] = (template.zero_mv_y[segment.row] - y) / template.px_per_mv
        reading.confidence[start:stop] = sure

        name = segment.lead
        prints = [s for s in template.segments if s.lead == name]
        if len(prints) > 1 and segment is not max(prints, key=lambda s: s.x_end - s.x_start):
            duplicates[name] = reading
        else:
            signals[LEAD_INDEX[name]] = reading.signal
            confidence[LEAD_INDEX[name]] = reading.confidence
            name = f"{name} (rhythm)" if len(prints) > 1 else name
        x = np.where(np.isnan(y), np.nan, places(segment, n))
        traces[name] = np.stack([x, y], axis=1)
    return DecodedPage(signals, confidence, traces, duplicates, 2 * pen)


def _checked(
    row_coverage: NDArray[np.uint8], template: PageTemplate, valid: NDArray[np.bool_] | None
) -> NDArray[np.uint8]:
    shape = (template.n_rows, template.height, template.width)
    if row_coverage.shape != shape or row_coverage.dtype != np.uint8:
        raise ValueError(f"row_coverage must be uint8 {shape}, not {row_coverage.dtype} {row_coverage.shape}")
    if valid is not None and valid.shape != shape[1:]:
        raise ValueError(f"valid must be {shape[1:]}, not {valid.shape}")
    if valid is None or valid.all():
        return row_coverage
    side = 2 * _EDGE_PX + 1
    # The page's own border is no edge.
    inner = cv2.erode(cv2.multiply(valid.view(np.uint8), 255.0), np.ones((side, side), np.uint8))
    return np.stack([cv2.bitwise_and(row, inner) for row in row_coverage])


def _find_rows(coverage: NDArray[np.uint8], template: PageTemplate, options: DecodingOptions) -> list[_Row | None]:
    """The stroke of every row; None for a row that does not show enough of one."""
    bands = Bands.of(template, options)
    lendable = lendable_ink(coverage, coverage) if options.crossing else None
    if lendable is not None and lendable.any():
        bands = bands.around(np.maximum(coverage, lendable))
        coverage = share_ink(coverage, bands, lendable)
    else:
        bands = bands.around(coverage)
    paths = bands.explaining_paths(coverage)
    entries = bands.entries(paths)
    columns = np.arange(bands.left, bands.right).astype(np.float64)

    rows: list[_Row | None] = []
    gap_px = options.max_gap_s * template.px_per_s
    for row, (band, path, entry) in enumerate(zip(bands.cut(coverage), paths, entries, strict=True)):
        segments = template.row_segments(row)
        # Bands are as high as the one with the tallest waves; few rows need that much.
        inked = inked_rows(band, _EDGE_PX)
        high, band = inked.start, band[inked]
        contrast = local_contrast(band, options.contrast_px, options.contrast_floor, options.smoothing_px)
        stroke = find_stroke(band, contrast, entry - high, path - high, options.hole_px, options.reach_px)
        inside = np.zeros(columns.size, bool)
        for segment in segments:
            inside |= (columns >= segment.x_start) & (columns <= segment.x_end)
        readable = _without_islands(np.isfinite(stroke.top) & (stroke.ink >= options.min_ink) & inside, gap_px)
        if not segments or readable.sum() < max(2.0, options.min_row_share * inside.sum()):
            rows.append(None)
            continue
        stroke = _only(stroke, readable)
        rows.append(_Row(stroke, flat_stroke(band, stroke), readable, segments, columns, bands.tops[row] + high))
    return rows


def _read_row(
    row: _Row,
    radius: float,
    template: PageTemplate,
    options: DecodingOptions,
    places_of: Callable[[LeadSegment, int], Floats],
) -> tuple[Floats, Floats]:
    """Heights (n,) px of the page, NaN where unread, and confidence (n,) of a row's samples, segment after segment."""
    counts = [stop - start for start, stop in (segment_samples(segment, template) for segment in row.segments)]
    places = [places_of(segment, count) for segment, count in zip(row.segments, counts, strict=True)]
    begins = np.array([place[0] for place in places[1:]])
    hidden = under_bars(row.stroke.ink, row.columns, begins, template.separator_dx)
    curves = Curves(np.concatenate(places), np.cumsum([0, *counts[:-1]]), hidden)
    fine_x, fine_y, torn = undo_pen(row.stroke, radius)
    y = np.interp(curves.x, row.columns[0] + fine_x, fine_y)
    y, miss = fit_samples(row.stroke, row.columns, curves, y, radius, options)
    y, held = hold_under_bars(y, curves, template.separator_dx)
    held |= hold_under_pulse(y, curves, row.stroke.ink, row.columns, template.pulse_x[1])

    sure = _column_confidence(row.stroke, miss, torn, options.outlier)
    heights, confidence = np.full(y.size, np.nan), np.zeros(y.size)
    owner = curves.owner(row.columns)
    for curve, (begin, end) in enumerate(zip(curves.first, curves.last + 1, strict=True)):
        seen = np.flatnonzero(row.readable & (owner == curve))
        if seen.size < 2:
            continue
        part, there = slice(begin, end), row.columns[seen]
        read, bridged = _coverage_of(curves.x[part], there, options.max_gap_s * template.px_per_s)
        heights[part] = np.where(read, y[part] + row.top, np.nan)
        level = np.interp(curves.x[part], there, sure[seen]) * np.where(bridged | held[part], _BRIDGED, 1.0)
        confidence[part] = np.where(read, np.clip(level, 1e-3, 1), 0)
    return heights, confidence


def _only(stroke: Stroke, readable: NDArray[np.bool_]) -> Stroke:
    return Stroke(
        np.where(readable, stroke.top, np.nan),
        np.where(readable, stroke.bottom, np.nan),
        np.where(readable, stroke.ink, 0.0),
        stroke.rival,
    )


def _without_islands(readable: NDArray[np.bool_], gap_px: float) -> NDArray[np.bool_]:
    """Drop readable stretches that are shorter than the longest gap and have long gaps on both sides: specks."""
    kept = np.array(readable)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], readable, [False]]).astype(np.int8)))
    starts, stops = edges[::2], edges[1::2]
    before = starts - np.concatenate([[-np.inf], stops[:-1]])
    after = np.concatenate([starts[1:], [np.inf]]) - stops
    for i in np.flatnonzero((stops - starts < gap_px) & (before > gap_px) & (after > gap_px)):
        kept[starts[i] : stops[i]] = False
    return kept


def _coverage_of(x: Floats, seen: Floats, gap_px: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which samples at ``x`` can be read from the columns ``seen``, and which of these only by bridging a gap."""
    right = np.searchsorted(seen, x)
    inner = (right > 0) & (right < seen.size)
    gap = np.where(inner, seen[np.minimum(right, seen.size - 1)] - seen[np.maximum(right - 1, 0)] - 1, 0)
    near = (x > seen[0] - _END_TOLERANCE_PX) & (x < seen[-1] + _END_TOLERANCE_PX)
    return near & (gap <= gap_px), near & (gap > 0.5) & (gap <= gap_px)


def _column_confidence(stroke: Stroke, miss: Floats, torn: Floats, outlier: float) -> Floats:
    """(W,) in [0, 1]; every kind of trouble takes its share.

    Faint ink, edges that no drawn signal explains, a bend narrower than the pen, and other ink in the same column.
    """
    ink = np.minimum(stroke.ink, uniform_filter1d(stroke.ink, _SMOOTHING_COLUMNS))
    fits = 1 / (1 + (np.nan_to_num(miss) / outlier) ** 2)
    bends = 1 - 0.5 * torn / (torn + _DISC_SCALE_PX)
    alone = 1 - 0.5 * np.clip(stroke.rival - _HARMLESS_RIVAL, 0, 1) / (1 - _HARMLESS_RIVAL)
    sure: Floats = np.clip(ink * fits * bends * alone, 0, 1)
    return sure
