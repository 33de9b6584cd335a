"""From the row coverage of a page to its signals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioscan.evaluate.measure import compare
from cardioscan.page.catalogue import find_layout
from cardioscan.page.layout import Cell, Layout
from cardioscan.page.leads import LEAD_INDEX, LEADS
from cardioscan.page.read_page import ReadPage
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.page.scale import Scale
from cardioscan.synthesis.flat import lay_out
from cardioscan.synthesis.signals import PtbXlArchive
from cardioscan.synthesis.style import CLEAN_STYLE
from cardioscan.waveform import decode_rows
from tests.cardioscan.waveform.drawn_pages import (
    SMALL,
    Coverage,
    Signals,
    constant_levels,
    drawn,
    error_mv,
    page_of,
    simulated,
)


def mean_db(pages: list[tuple[Coverage, Signals]]) -> float:
    """10 log10 of the mean ratio, as a set scores."""
    ratios = [
        10 ** (compare(decode_rows(coverage, REFERENCE_PAGE).signals, truth).snr_db / 10) for coverage, truth in pages
    ]
    return float(10 * np.log10(np.mean(ratios)))


def half_size(rows: Coverage) -> Coverage:
    size = (rows.shape[2], rows.shape[1])
    smaller = [cv2.resize(row, (size[0] // 2, size[1] // 2), interpolation=cv2.INTER_AREA) for row in rows]
    return np.stack([cv2.resize(row, size, interpolation=cv2.INTER_LINEAR) for row in smaller])


def blurred(rows: Coverage) -> Coverage:
    return np.stack([cv2.GaussianBlur(row, (0, 0), 1.0) for row in rows])


def blobs(rows: Coverage) -> Coverage:
    """Other ink beside the trace in about 5 % of the columns."""
    rng, rows = np.random.default_rng(3), rows.copy()
    for row, zero in zip(rows, REFERENCE_PAGE.zero_y, strict=True):
        for x in rng.integers(130, 2060, 14):
            y = min(int(zero + rng.choice([-1, 1]) * rng.uniform(120, 250)), 1660)
            row[y : y + int(rng.integers(3, 30)), x : x + 8] = 230
    return rows


def faint(rows: Coverage) -> Coverage:
    return (rows * 0.5).astype(np.uint8)


@pytest.mark.parametrize(("pen", "least_db"), [(2.5, 24.0), (4.0, 20.0)])
def test_true_coverage_gives_the_signal_back(pen: float, least_db: float) -> None:
    assert mean_db([simulated(index, pen) for index in range(2)]) >= least_db


@pytest.mark.parametrize(("pen", "least_db"), [(2.5, 24.0), (4.0, 20.0)])
def test_real_records(shared_data: Path, pen: float, least_db: float) -> None:
    path = shared_data / "signals" / "ptbxl_fold10_train.npz"
    if not path.is_file():
        pytest.skip("needs signals/ptbxl_fold10_train.npz in the shared data folder")
    archive = PtbXlArchive(path)
    assert mean_db([drawn(archive.record(index), pen) for index in (135, 1900)]) >= least_db


@pytest.mark.parametrize(("damage", "least_db"), [(blurred, 22.0), (half_size, 21.0), (blobs, 22.0), (faint, 24.0)])
def test_damaged_coverage(damage, least_db: float) -> None:
    coverage, truth = simulated(1)
    assert mean_db([(damage(coverage), truth)]) >= least_db


def test_shapes_and_names() -> None:
    coverage, truth = simulated(0)
    page = decode_rows(coverage, REFERENCE_PAGE)
    assert page.signals.shape == page.clarity.shape == (12, 5000)
    assert page.signals.dtype == np.float64 and page.clarity.dtype == np.float32
    assert np.array_equal(np.isnan(page.signals), np.isnan(truth))
    assert set(page.traces) == {*LEADS, "II (rhythm)"}
    assert page.traces["V3"].shape == (1250, 2) and page.traces["II (rhythm)"].shape == (5000, 2)
    y = REFERENCE_PAGE.zero_y[2] - REFERENCE_PAGE.scale.px_per_mv * page.signals[LEAD_INDEX["V3"], 2500:3750]
    np.testing.assert_allclose(page.traces["V3"][:, 1], y)
    starts = {segment.lead: segment.x_start for segment in REFERENCE_PAGE.segments}
    assert page.traces["V3"][0, 0] == starts["V3"]


def test_clarity_is_zero_exactly_where_nothing_was_read() -> None:
    coverage = simulated(0)[0].copy()
    coverage[:, :, 300:340] = 0
    page = decode_rows(coverage, REFERENCE_PAGE)
    assert np.array_equal(page.clarity == 0, np.isnan(page.signals))
    assert page.clarity.max() <= 1


def test_short_print_of_a_lead_is_kept_apart() -> None:
    page = decode_rows(simulated(0)[0], REFERENCE_PAGE)
    short = page.other_prints["II"][0]
    read = np.flatnonzero(np.isfinite(short.signal))
    assert (read[0], read[-1]) == (0, 1249)
    assert np.sqrt(np.mean((short.signal - page.signals[LEAD_INDEX["II"]])[read] ** 2)) < 0.03
    assert np.array_equal(short.clarity == 0, np.isnan(short.signal))


def test_what_lies_outside_the_photo_is_not_read() -> None:
    coverage, _ = drawn(constant_levels({"I": 0.3}), 2.5, SMALL)
    valid = np.ones((420, 460), bool)
    valid[:, 300:] = False
    page = decode_rows(coverage, SMALL, valid)
    v1 = page.signals[LEAD_INDEX["V1"], 500:1000]
    before, after = (round((x - SMALL.bars.x[0]) / SMALL.scale.px_per_sample) for x in (300 - 8, 300))
    assert np.isfinite(v1[:before]).all() and np.isnan(v1[after:]).all()


def test_a_trace_that_leaves_the_photo_is_not_led_along_its_edge() -> None:
    coverage, _ = drawn(constant_levels({"I": 0.3}), 2.5, SMALL)
    level = round(SMALL.zero_y[0] - 0.3 * SMALL.scale.px_per_mv)
    valid = np.ones((420, 460), bool)
    valid[: level + 8, 90:150] = False  # the photo ends below the trace there, and a line runs along its edge
    coverage[0, level + 8 : level + 11, 90:150] = 255
    x = np.arange(500) * SMALL.scale.px_per_sample + SMALL.segments[0].x_start
    signal = decode_rows(coverage, SMALL, valid).signals[LEAD_INDEX["I"], :500]
    assert np.isnan(signal[(x > 92) & (x < 148)]).all()
    assert np.isfinite(signal[(x < 80) | ((x > 160) & (x < 210))]).all()


def test_steep_strokes_are_followed() -> None:
    """A spike of 2 mV up and down within 16 ms: 150 px in four columns."""
    signals = constant_levels({})
    signals[:, 300:305] = np.array([0.7, 1.4, 2.0, 1.4, 0.7], np.float32)[None] * 0.9
    coverage, truth = drawn(signals, 2.5, SMALL)
    decoded = decode_rows(coverage, SMALL).signals[LEAD_INDEX["II"]]
    assert abs(int(np.nanargmax(decoded)) - 302) <= 1
    assert np.nanmax(decoded) == pytest.approx(1.8, abs=0.1)


@settings(max_examples=8, deadline=None)
@given(level=st.floats(-1.2, 1.2), swing=st.floats(0, 0.3), hertz=st.floats(0.5, 8), pen=st.sampled_from([2.0, 3.0]))
def test_waves_are_read_to_a_fraction_of_a_pixel(level: float, swing: float, hertz: float, pen: float) -> None:
    wave = level + swing * np.sin(2 * np.pi * hertz * np.arange(5000) / 500)
    coverage, truth = drawn(np.tile(wave, (12, 1)).astype(np.float32), pen, SMALL)
    error = (decode_rows(coverage, SMALL).signals - truth)[LEAD_INDEX["II"], 5:995] * SMALL.scale.px_per_mv
    steepest = 2 * np.pi * hertz * swing * SMALL.scale.px_per_mv / SMALL.scale.px_per_s  # px down per px along
    assert np.sqrt(np.mean(error**2)) < 0.2 + 0.15 * steepest


@pytest.mark.parametrize(
    "rows",
    [np.zeros((4, 10, 10), np.uint8), np.zeros((2, 420, 460), np.float32), np.zeros((420, 460), np.uint8)],
    ids=["shape", "dtype", "dimensions"],
)
def test_wrong_arrays_are_named(rows) -> None:
    with pytest.raises(ValueError, match="row_coverage"):
        decode_rows(rows, SMALL)


def test_wrong_valid_mask_is_named() -> None:
    with pytest.raises(ValueError, match="valid"):
        decode_rows(np.zeros((2, 420, 460), np.uint8), SMALL, np.ones((4, 4), bool))


def test_a_trace_that_stands_to_the_side_is_read_at_its_time() -> None:
    coverage, truth = simulated(3)
    columns = np.arange(REFERENCE_PAGE.sheet.width)
    shift = 0.8 * np.exp(-0.5 * ((columns - 1102) / 70.0) ** 2) - 0.5 * np.exp(-0.5 * ((columns - 610) / 70.0) ** 2)
    x = np.broadcast_to((columns - shift).astype(np.float32), coverage.shape[1:])
    y = np.broadcast_to(np.arange(REFERENCE_PAGE.sheet.height, dtype=np.float32)[:, None], coverage.shape[1:])
    moved = np.stack([cv2.remap(row, x.copy(), y.copy(), cv2.INTER_CUBIC) for row in coverage])
    straight, corrected, untold = (
        compare(decoded.signals, truth).snr_db
        for decoded in (
            decode_rows(coverage, REFERENCE_PAGE),
            decode_rows(moved, REFERENCE_PAGE, shift=shift),
            decode_rows(moved, REFERENCE_PAGE),
        )
    )
    assert corrected > straight - 0.7 and untold < corrected - 1.0
    traces, nominal = (
        decode_rows(moved, REFERENCE_PAGE, shift=shift).traces,
        decode_rows(coverage, REFERENCE_PAGE).traces,
    )
    apart = traces["V1"][:, 0] - nominal["V1"][:, 0]
    assert np.nanmax(np.abs(apart - np.interp(nominal["V1"][:, 0], columns, shift))) < 1e-6


def waves() -> Signals:
    """(12, 5000) mV: leads of their own frequencies and levels, none the negative of another."""
    time, lead = np.arange(5000) / 500, np.arange(12)[:, None]
    return 0.02 * lead + (0.15 + 0.01 * lead) * np.sin(2 * np.pi * (0.9 + 0.23 * lead) * time)


def wide(layout: Layout) -> ReadPage:
    """A page of ten seconds across, without bars, names or pulses."""
    return page_of(layout, tuple(60.0 + 90 * row for row in range(layout.n_rows)), (2040, 40 + 90 * layout.n_rows))


LAYOUTS = (
    "3x4",
    "3x4+1",
    "3x4+1(V1)",
    "3x4+1(V5)",
    "3x4+2",
    "3x4+3",
    "3x4+3(II,II,V5)",
    "3x4 Cabrera+1(aVF)",
    "4x3",
    "6x2",
    "6x2 Cabrera+1",
    "12x1 Cabrera",
    "6x1 limb Cabrera",
    "6x1 chest",
    "3x1",
    "V2",
    "V2+1(V2)",
)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_read_without_bars_or_pulses(name: str) -> None:
    page = wide(find_layout(name))
    coverage, truth = drawn(waves(), 2.5, page)
    decoded = decode_rows(coverage, page)
    np.testing.assert_array_equal(np.isnan(decoded.signals), np.isnan(truth))
    assert error_mv(decoded.signals, truth) < 0.005
    names = [page.layout.trace_name(cell) for cell in page.layout.cells]
    assert list(decoded.traces) == names and len(set(names)) == len(names)
    assert {lead: len(others) + 1 for lead, others in decoded.other_prints.items()} == {
        cell.lead: len(page.layout.prints(cell.lead))
        for cell in page.layout.cells
        if len(page.layout.prints(cell.lead)) > 1
    }


@pytest.mark.parametrize(
    ("name", "lead", "names", "starts_s"),
    [
        ("3x4+1(V1)", "V1", {"V1", "V1 (rhythm)"}, [5.0]),
        ("3x4+1(V5)", "V5", {"V5", "V5 (rhythm)"}, [7.5]),
        ("3x4+3(II,II,V5)", "II", {"II", "II (row 4)", "II (rhythm)"}, [0.0, 0.0]),
    ],
)
def test_all_prints_of_a_lead_are_kept(name: str, lead: str, names: set[str], starts_s: list[float]) -> None:
    page = wide(find_layout(name))
    coverage, truth = drawn(waves(), 2.5, page)
    decoded = decode_rows(coverage, page)
    assert names == {trace for trace in decoded.traces if trace.split()[0] == lead}
    assert np.isfinite(decoded.signals[LEAD_INDEX[lead]]).all()
    others = decoded.other_prints[lead]
    assert [int(np.flatnonzero(np.isfinite(other.signal))[0]) / 500 for other in others] == starts_s
    lengths = [int(np.isfinite(other.signal).sum()) for other in others]
    assert lengths == sorted(lengths, reverse=True)
    assert all(error_mv(other.signal, truth[LEAD_INDEX[lead]]) < 0.005 for other in others)


def test_an_inverted_lead_is_read_with_its_sign() -> None:
    page = wide(find_layout("6x1 limb Cabrera"))
    signals = constant_levels({"aVR": -0.4, "aVL": -0.4})
    coverage, _ = drawn(signals, 2.5, page)
    decoded = decode_rows(coverage, page)
    for lead, up in (("aVR", True), ("aVL", False)):
        assert np.nanmean(decoded.signals[LEAD_INDEX[lead]]) == pytest.approx(-0.4, abs=0.005)
        (segment,) = (segment for segment in page.segments if segment.lead == lead)
        assert (np.nanmean(decoded.traces[lead][:, 1]) < page.zero_y[segment.row]) == up


@pytest.mark.parametrize(
    ("seconds", "columns", "samples"),
    [(10 / 3, 3, [1667, 1667, 1667]), (1.87, 5, [935] * 5), (2.46, 4, [1230] * 4), (4.98, 2, [2490, 2490])],
)
@pytest.mark.parametrize("sequential", [True, False])
def test_segments_are_read_to_their_true_length(
    seconds: float, columns: int, samples: list[int], sequential: bool
) -> None:
    """Rendered, then read: nothing is rounded to tenths or halves of a second on the way."""
    leads = ("I", "V1", "V2", "V5", "V6")[:columns]
    cells = tuple(Cell(lead, 0, place, sequential * place * seconds, seconds) for place, lead in enumerate(leads))
    page = wide(Layout("row", cells))
    flat = lay_out(waves().astype(np.float32), CLEAN_STYLE, np.random.default_rng(0), page)
    decoded, truth = decode_rows(flat.coverage(), page), flat.printed_signals()
    np.testing.assert_array_equal(np.isnan(decoded.signals), np.isnan(truth))
    assert error_mv(decoded.signals, truth) < 0.005
    rows = [LEAD_INDEX[lead] for lead in leads]
    assert np.isfinite(truth[rows]).sum(axis=1).tolist() == samples
    starts = [int(np.flatnonzero(np.isfinite(row))[0]) for row in decoded.signals[rows]]
    assert starts == [round(cell.t_start * 500) for cell in cells]


@pytest.mark.parametrize("speed", [12.5, 25.0, 50.0])
@pytest.mark.parametrize("gain", [5.0, 10.0, 20.0])
def test_speed_and_gain_are_those_of_the_page(speed: float, gain: float) -> None:
    cells = (Cell("I", 0, 0, 0.0, 2.0), Cell("V1", 1, 0, 0.0, 2.0))
    page = page_of(Layout("rows", cells), (150.0, 320.0), (840, 460), Scale(speed, gain))
    coverage, truth = drawn(waves(), 2.5, page)
    decoded = decode_rows(coverage, page)
    np.testing.assert_array_equal(np.isnan(decoded.signals), np.isnan(truth))
    assert error_mv(decoded.signals, truth) < 0.05 / gain


@pytest.mark.parametrize("bars", [None, SMALL.bars])
@pytest.mark.parametrize("pulse_x", [None, (-19.0, 20.0)])
def test_a_page_is_read_with_and_without_bars_and_pulses(bars, pulse_x) -> None:
    page = replace(SMALL, bars=bars, pulse_x=pulse_x)
    coverage, truth = drawn(waves(), 2.5, page)
    signals = decode_rows(coverage, page).signals
    np.testing.assert_array_equal(np.isnan(signals), np.isnan(truth))
    assert error_mv(signals, truth) < 0.01
