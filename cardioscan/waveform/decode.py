"""From the row coverage of a page to its signals and traces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cardioscan.arrays import Floats, Image, Mask
from cardioscan.errors import RefusalCode, StageError
from cardioscan.page.leads import LEAD_INDEX, RECORD_SAMPLES
from cardioscan.page.read_page import ReadPage, Segment
from cardioscan.waveform.bands import Bands
from cardioscan.waveform.crossing import assign_ink
from cardioscan.waveform.heights import read_heights
from cardioscan.waveform.pen import pen_radii
from cardioscan.waveform.row_paths import explaining_paths
from cardioscan.waveform.strokes import MIN_ROW_SHARE, find_strokes

_EDGE_PX = 5  # so near the photo's edge nothing is read: a trace that leaves the photo would be led on along its edge


@dataclass(frozen=True, eq=False)
class Reading:
    """One printed segment as read, on the record's time axis.

    Attributes:
        signal: (5000,) float64 mV, NaN where not printed or not readable.
        clarity: (5000,) float32 in [0, 1], how clear the ink was; 0 exactly where the signal is NaN.
    """

    signal: Floats
    clarity: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class DecodedPage:
    """What was read from the coverage of a page.

    Attributes:
        signals: (12, 5000) float64 mV at 500 Hz, leads in the order of ``LEADS``; NaN where not printed or not
            readable. A lead that is printed more than once is taken from its longest print (``Layout.prints``).
        clarity: (12, 5000) float32 in [0, 1], 0 exactly where the signal is NaN.
        traces: per printed segment (``Layout.trace_name``), (N, 2) float64 (x, y) px in the reference frame, one point
            a sample; NaN in gaps. Segments that were not read are there, all NaN.
        other_prints: by lead, its further prints, the longest first.
        pen_px: diameter of the pen, px.
    """

    signals: Floats
    clarity: NDArray[np.float32]
    traces: Mapping[str, Floats]
    other_prints: Mapping[str, tuple[Reading, ...]]
    pen_px: float


def decode_rows(
    row_coverage: Image,
    page: ReadPage,
    valid: Mask | None = None,
    shift: Floats | None = None,
    crossing: bool = True,
) -> DecodedPage:
    """Read the signals from the stroke coverage of the printed rows.

    Args:
        row_coverage: (rows, height, width) uint8 in the reference frame, 255 where the row's stroke covers the pixel.
        page: what is printed where.
        valid: (height, width) bool, pixels that were inside the photo; None = all. What lies outside, or within 5 px
            of its edge, is never read.
        shift: (width,) px by which the trace stands to the right of its nominal place, in each column; None = nowhere.
        crossing: whether a row may claim steep ink of other rows that its own strokes run into.

    Returns:
        The decoded page. Stretches of more than ``MAX_GAP_S`` without ink are NaN; shorter ones are bridged.

    Raises:
        StageError: ``TRACE_NOT_FOUND`` when in no row the stroke was found in at least a tenth of the row's columns. A
            single row below it is NaN and the others are read.
        ValueError: an array has another shape or type than the page asks for.
    """
    coverage = _inside_picture(row_coverage, page, valid)
    bands = Bands.of(page)
    coverage, bands = assign_ink(coverage, bands) if crossing else (coverage, bands.around(coverage))
    rows = find_strokes(coverage, bands, explaining_paths(bands, coverage), page)
    found = [row for row in rows if row is not None]
    if not found:
        raise StageError(
            RefusalCode.TRACE_NOT_FOUND,
            f"no row shows a trace on {MIN_ROW_SHARE:.0%} of its length; "
            "take the picture closer, sharper and with even light",
        )
    by_edges, by_amount = (np.concatenate([row.flat[i] for row in found]) for i in (0, 1))
    pen, radius = pen_radii(by_edges, by_amount)
    places = {segment: _sample_places(segment, page, shift) for segment in page.segments}
    heights: dict[Segment, tuple[Floats, Floats]] = {}
    for number, row in enumerate(rows):
        segments = page.row_segments(number)
        ends = np.cumsum([len(places[segment]) for segment in segments])
        if row is None:
            continue
        y, clarity = read_heights(row, radius, page, [places[segment] for segment in segments])
        parts = zip(np.split(y, ends[:-1]), np.split(clarity, ends[:-1]), strict=True)
        heights |= dict(zip(segments, parts, strict=True))
    return _in_mv(page, heights, places, 2 * pen)


def _inside_picture(row_coverage: Image, page: ReadPage, valid: Mask | None) -> Image:
    """The coverage where it was inside the photo."""
    shape = (page.n_rows, page.sheet.height, page.sheet.width)
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


def _sample_places(segment: Segment, page: ReadPage, shift: Floats | None) -> Floats:
    """x (n,) px of the samples of a segment."""
    start, stop = page.samples(segment)
    nominal = segment.x_start + page.scale.px_per_sample * np.arange(stop - start)
    if shift is None:
        return np.asarray(nominal, np.float64)
    return np.asarray(nominal + np.interp(nominal, np.arange(page.sheet.width), shift), np.float64)


def _in_mv(
    page: ReadPage,
    heights: Mapping[Segment, tuple[Floats, Floats]],
    places: Mapping[Segment, Floats],
    pen_px: float,
) -> DecodedPage:
    """Heights and clarity (n,) of segments as signals on the record's time axis; segments without were not read."""
    readings: dict[str, list[tuple[Segment, Reading]]] = {}
    traces: dict[str, Floats] = {}
    for segment in page.segments:
        start, stop = page.samples(segment)
        y, clarity = heights.get(segment, (np.full(stop - start, np.nan), np.zeros(stop - start)))
        reading = Reading(np.full(RECORD_SAMPLES, np.nan), np.zeros(RECORD_SAMPLES, np.float32))
        up = (page.zero_y[segment.row] - y) / page.scale.px_per_mv
        reading.signal[start:stop] = segment.cell.sign * up
        reading.clarity[start:stop] = clarity
        readings.setdefault(segment.lead, []).append((segment, reading))
        x = np.where(np.isnan(y), np.nan, places[segment])
        traces[page.layout.trace_name(segment.cell)] = np.stack([x, y], axis=1)
    signals = np.full((len(LEAD_INDEX), RECORD_SAMPLES), np.nan)
    clear = np.zeros(signals.shape, np.float32)
    other_prints = {}
    for lead, prints in readings.items():
        order = page.layout.prints(lead)
        first, *others = (reading for _, reading in sorted(prints, key=lambda found: order.index(found[0].cell)))
        signals[LEAD_INDEX[lead]], clear[LEAD_INDEX[lead]] = first.signal, first.clarity
        if others:
            other_prints[lead] = tuple(others)
    return DecodedPage(signals, clear, traces, other_prints, pen_px)
