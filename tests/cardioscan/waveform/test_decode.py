from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cardioscan.errors import RefusalCode, StageError
from cardioscan.evaluate.measure import compare
from cardioscan.page.leads import LEAD_INDEX, LEADS
from cardioscan.page.template import STANDARD_PAGE, LeadSegment, PageTemplate
from cardioscan.synthesis.signals import PtbXlArchive
from cardioscan.synthesis.simulator import SimulatedSignals
from cardioscan.synthesis.strokes import stroke_coverage, trace_polyline
from cardioscan.waveform import DecodedPage, DecodingOptions, decode_rows
from cardioscan.waveform.decode import segment_samples
from cardioscan.waveform.fit import Curves, hold_under_bars, hold_under_pulse, under_bars
from cardioscan.waveform.path import trace_paths

Coverage = NDArray[np.uint8]
Signals = NDArray[np.float64]

SMALL = replace(
    STANDARD_PAGE,
    name="small",
    width=460,
    height=420,
    zero_mv_y=(130.0, 300.0),
    column_bounds=(20.0, 217.0, 414.0),
    segments=(
        LeadSegment("I", 0, 20.0, 217.0, 0.0),
        LeadSegment("V1", 0, 217.0, 414.0, 1.0),
        LeadSegment("II", 1, 20.0, 414.0, 0.0),
    ),
)
"""A page of two rows: one second of I, one of V1, and two of II underneath."""


def drawn(
    signals: NDArray[np.floating], pen: float, template: PageTemplate = STANDARD_PAGE
) -> tuple[Coverage, Signals]:
    """True coverage of the rows of a page, and the signals printed on it."""
    rows: list[list[NDArray[np.float64]]] = [[] for _ in range(template.n_rows)]
    printed = np.full(signals.shape, np.nan)
    for segment in template.segments:
        start, stop = segment_samples(segment, template)
        lead = LEAD_INDEX[segment.lead]
        samples = signals[lead, start : stop + 1]
        zero = template.zero_mv_y[segment.row]
        rows[segment.row].append(
            trace_polyline(samples, segment.x_start, zero, template.px_per_sample, template.px_per_mv)
        )
        printed[lead, start:stop] = signals[lead, start:stop]
    maps = [stroke_coverage(polylines, pen, template.width, template.height) for polylines in rows]
    return np.stack(maps), printed


@lru_cache(maxsize=8)
def simulated(index: int, pen: float = 2.5) -> tuple[Coverage, Signals]:
    coverage, printed = drawn(SimulatedSignals(40, seed=7).record(index), pen)
    coverage.flags.writeable = False
    return coverage, printed


def mean_db(pages: list[tuple[Coverage, Signals]]) -> float:
    """10 log10 of the mean ratio, as a set scores."""
    ratios = [10 ** (compare(decode_rows(coverage).signals, truth).snr_db / 10) for coverage, truth in pages]
    return float(10 * np.log10(np.mean(ratios)))


def error_mv(signals: Signals, truth: Signals) -> float:
    """Root mean square difference where both are there."""
    return float(np.sqrt(np.nanmean((signals - truth) ** 2)))


def half_size(rows: Coverage) -> Coverage:
    size = (rows.shape[2], rows.shape[1])
    smaller = [cv2.resize(row, (size[0] // 2, size[1] // 2), interpolation=cv2.INTER_AREA) for row in rows]
    return np.stack([cv2.resize(row, size, interpolation=cv2.INTER_LINEAR) for row in smaller])


def blurred(rows: Coverage) -> Coverage:
    return np.stack([cv2.GaussianBlur(row, (0, 0), 1.0) for row in rows])


def blobs(rows: Coverage) -> Coverage:
    """Other ink beside the trace in about 5 % of the columns."""
    rng, rows = np.random.default_rng(3), rows.copy()
    for row, zero in zip(rows, STANDARD_PAGE.zero_mv_y, strict=True):
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


def test_fit_beats_the_discs_alone() -> None:
    coverage, truth = simulated(0)
    discs = decode_rows(coverage, options=DecodingOptions(rounds=0)).signals
    assert error_mv(decode_rows(coverage).signals, truth) < 0.8 * error_mv(discs, truth)


def test_shapes_and_names() -> None:
    coverage, truth = simulated(0)
    page = decode_rows(coverage)
    assert page.signals.shape == page.confidence.shape == (12, 5000)
    assert page.signals.dtype == np.float64 and page.confidence.dtype == np.float32
    assert np.array_equal(np.isnan(page.signals), np.isnan(truth))
    assert set(page.traces) == {*LEADS, "II (rhythm)"}
    assert page.traces["V3"].shape == (1250, 2) and page.traces["II (rhythm)"].shape == (5000, 2)
    y = STANDARD_PAGE.zero_mv_y[2] - STANDARD_PAGE.px_per_mv * page.signals[LEAD_INDEX["V3"], 2500:3750]
    np.testing.assert_allclose(page.traces["V3"][:, 1], y)
    starts = {segment.lead: segment.x_start for segment in STANDARD_PAGE.segments}
    assert page.traces["V3"][0, 0] == starts["V3"]


def test_confidence_is_zero_exactly_where_nothing_was_read() -> None:
    coverage = simulated(0)[0].copy()
    coverage[:, :, 300:340] = 0
    page = decode_rows(coverage)
    assert np.array_equal(page.confidence == 0, np.isnan(page.signals))
    assert page.confidence.max() <= 1


def test_short_print_of_a_lead_is_kept_apart() -> None:
    page = decode_rows(simulated(0)[0])
    short = page.duplicates["II"]
    read = np.flatnonzero(np.isfinite(short.signal))
    assert (read[0], read[-1]) == (0, 1249)
    assert np.sqrt(np.mean((short.signal - page.signals[LEAD_INDEX["II"]])[read] ** 2)) < 0.03
    assert np.array_equal(short.confidence == 0, np.isnan(short.signal))


@pytest.mark.parametrize("pen", [2.5, 4.0])
def test_pen_is_measured(pen: float) -> None:
    assert decode_rows(simulated(0, pen)[0]).pen_px == pytest.approx(pen, abs=0.4)


def constant_levels(levels: dict[str, float]) -> NDArray[np.float32]:
    signals = np.zeros((12, 5000), np.float32)
    for lead, level in levels.items():
        signals[LEAD_INDEX[lead]] = level
    return signals


@pytest.mark.parametrize(("width", "read"), [(5, True), (12, False)])
def test_hidden_stretches(width: int, read: bool) -> None:
    coverage, truth = drawn(constant_levels({"I": 0.3, "II": -0.2}), 2.5, SMALL)
    coverage[:, :, 100 : 100 + width] = 0
    page = decode_rows(coverage, SMALL)
    hidden = slice(*(round((x - 20) / SMALL.px_per_sample) for x in (101, 99 + width)))
    for lead in ("I", "II"):
        values = page.signals[LEAD_INDEX[lead]]
        assert np.isfinite(values[hidden]).all() == read
        assert np.isnan(values[hidden]).all() != read
        np.testing.assert_allclose(values[: hidden.start - 10], truth[LEAD_INDEX[lead], : hidden.start - 10], atol=0.01)
        if read:
            np.testing.assert_allclose(values[hidden], truth[LEAD_INDEX[lead], hidden], atol=0.02)
            assert page.confidence[LEAD_INDEX[lead], hidden].max() < page.confidence[LEAD_INDEX[lead], :100].min()


def specks(shape: tuple[int, ...]) -> Coverage:
    rng = np.random.default_rng(0)
    return np.where(rng.random(shape) < 0.0005, 200, 0).astype(np.uint8)


@pytest.mark.parametrize(
    "coverage", [np.zeros((2, 420, 460), np.uint8), specks((2, 420, 460))], ids=["blank", "specks"]
)
def test_page_without_traces_is_refused(coverage: Coverage) -> None:
    with pytest.raises(StageError) as refused:
        decode_rows(coverage, SMALL)
    assert refused.value.code is RefusalCode.TRACE_NOT_FOUND


def test_absent_row_leaves_the_others() -> None:
    coverage = simulated(0)[0].copy()
    coverage[1] = 0
    page = decode_rows(coverage)
    gone = [LEAD_INDEX[name] for name in ("aVL", "V2", "V5")]
    assert np.isnan(page.signals[gone]).all() and not page.confidence[gone].any()
    assert np.isnan(page.traces["aVL"]).all() and np.isnan(page.duplicates["II"].signal).all()
    assert np.isfinite(page.signals[LEAD_INDEX["II"]]).all() and np.isfinite(page.traces["V3"]).all()


def test_what_lies_outside_the_photo_is_not_read() -> None:
    coverage, _ = drawn(constant_levels({"I": 0.3}), 2.5, SMALL)
    valid = np.ones((420, 460), bool)
    valid[:, 300:] = False
    page = decode_rows(coverage, SMALL, valid)
    v1 = page.signals[LEAD_INDEX["V1"], 500:1000]
    before, after = (round((x - 217) / SMALL.px_per_sample) for x in (300 - 8, 300))
    assert np.isfinite(v1[:before]).all() and np.isnan(v1[after:]).all()


def test_a_trace_that_leaves_the_photo_is_not_led_along_its_edge() -> None:
    coverage, _ = drawn(constant_levels({"I": 0.3}), 2.5, SMALL)
    level = round(SMALL.zero_mv_y[0] - 0.3 * SMALL.px_per_mv)
    valid = np.ones((420, 460), bool)
    valid[: level + 8, 90:150] = False  # the photo ends below the trace there, and a line runs along its edge
    coverage[0, level + 8 : level + 11, 90:150] = 255
    x = np.arange(500) * SMALL.px_per_sample + SMALL.segments[0].x_start
    signal = decode_rows(coverage, SMALL, valid).signals[LEAD_INDEX["I"], :500]
    assert np.isnan(signal[(x > 92) & (x < 148)]).all()
    assert np.isfinite(signal[(x < 80) | ((x > 160) & (x < 210))]).all()


def test_leads_do_not_pull_at_each_other_across_their_boundary() -> None:
    coverage, truth = drawn(constant_levels({"I": 0.8, "V1": -0.6}), 2.5, SMALL)
    signals = decode_rows(coverage, SMALL).signals
    for lead in ("I", "V1"):
        i = LEAD_INDEX[lead]
        assert np.nanmax(np.abs(signals[i] - truth[i])) < 0.02


def barred(coverage: Coverage, ink: int) -> Coverage:
    """What a network makes of the bar between I and V1: somewhere under it there is a trace, more likely above."""
    x = round(217 + SMALL.separator_dx)
    y = np.arange(coverage.shape[1]) - (SMALL.zero_mv_y[0] - 0.25 * SMALL.px_per_mv)
    guess = (ink * np.exp(-0.5 * (y / np.where(y < 0, 14, 4)) ** 2)).astype(np.uint8)
    hidden = coverage.copy()
    hidden[0, :, x - 1 : x + 2] = guess[:, None]
    return hidden


@pytest.mark.parametrize("ink", [90, 160, 230])
def test_under_a_bar_the_leads_are_held_level(ink: int) -> None:
    coverage, truth = drawn(constant_levels({"I": 0.3, "V1": 0.2, "II": -0.2}), 2.5, SMALL)
    page = decode_rows(barred(coverage, ink), SMALL)
    for lead, hidden in (("I", slice(496, 500)), ("V1", slice(500, 502))):
        i = LEAD_INDEX[lead]
        assert np.nanmax(np.abs(page.signals[i] - truth[i])) < 0.05
        assert page.confidence[i, hidden].max() < 0.6 < page.confidence[i, 520 if lead == "V1" else 480]


def test_where_no_bar_hides_the_ink_it_is_read() -> None:
    """A spike in the last samples of a lead, which holding them would lose."""
    signals = constant_levels({"I": 0.1, "V1": 0.1})
    signals[LEAD_INDEX["I"], 490:500] = np.linspace(0.1, 0.9, 10)
    coverage, truth = drawn(signals, 2.5, SMALL)
    decoded = decode_rows(coverage, SMALL).signals[LEAD_INDEX["I"]]
    assert decoded[499] > 0.7
    assert np.isnan(decoded[500:]).all() and np.nanmax(np.abs(decoded - truth[LEAD_INDEX["I"]])[:495]) < 0.1


@pytest.mark.parametrize(("ink", "hidden"), [(0.0, True), (0.9, True), (0.99, False), (1.0, False)])
def test_bars_are_told_by_ink_that_is_uncertain(ink: float, hidden: bool) -> None:
    columns = np.arange(100.0)
    seen = np.ones(100)
    seen[50] = ink
    assert under_bars(seen, columns, np.array([20.0, 50.5]), -0.5).tolist() == [False, hidden]


def test_curves_are_held_up_to_the_bar_only() -> None:
    curves = Curves(np.arange(40) * 0.5, np.array([0, 20]), np.array([True]))
    y = np.arange(40.0)
    level, held = hold_under_bars(y, curves, -0.5)
    # The bar's middle stands at 9.5 px; its core reaches from 8.1 to 10.9 px.
    assert np.flatnonzero(held).tolist() == list(range(17, 22))
    assert level[17:20].tolist() == [15.0] * 3 and level[20:22].tolist() == [23.0] * 2
    assert np.array_equal(level[~held], y[~held])
    nowhere, none = hold_under_bars(y, Curves(curves.x, curves.first, np.array([False])), -0.5)
    assert np.array_equal(nowhere, y) and not none.any()


@pytest.mark.parametrize(("seen", "held"), [(0.4, 5), (1.0, 0)])
def test_a_row_does_not_begin_on_the_calibration_pulse(seen: float, held: int) -> None:
    curves = Curves(17.7 + 0.4 * np.arange(60), np.array([0]), np.zeros(0, bool))
    y = np.concatenate([np.linspace(-70, -5, 5), np.arange(55.0)])
    columns = np.arange(10.0, 45.0)
    ink = np.where(np.abs(columns - 18.0) < 2, seen, 1.0)
    level = y.copy()
    # The pulse's edge stands at 18 px; its core reaches to 19.4 px.
    assert hold_under_pulse(level, curves, ink, columns, 18.0).tolist() == [True] * held + [False] * (60 - held)
    assert level[:held].tolist() == [1.0] * held
    assert np.array_equal(level[held:], y[held:])


def random_bands(seed: int) -> Coverage:
    """Two rows of 24 px and 18 columns: noise with some runs of ink, the second with blank heights above and below."""
    rng = np.random.default_rng(seed)
    bands = (rng.random((2, 24, 18)) * 60).astype(np.uint8)
    for row, column in rng.integers(0, (2, 18), (24, 2)):
        top = int(rng.integers(2, 18))
        bands[row, top : top + int(rng.integers(2, 8)), column] = 255
    bands[1, :4] = bands[1, 20:] = 0
    return bands


def costs(band: Coverage, free: NDArray[np.bool_]) -> tuple[Signals, Signals]:
    """Of one row in steps of two pixels: leaving a column at a height (W, h), and coming there from each (W, h, h)."""
    ink = (band[::2].astype(float) + band[1::2]).T / 510
    climb = np.cumsum((1 - 1.1 * ink) * 0.2 * np.where(free, 0.01, 1.0)[:, None], axis=1)
    upwards = np.where(np.tri(ink.shape[1]) > 0, 1, -1)
    return -np.log((ink + 0.1) / 1.1), upwards * (climb[:, :, None] - climb[:, None, :])


@pytest.mark.parametrize("seed", range(12))
def test_paths_are_the_cheapest_of_all(seed: int) -> None:
    """But for what is gained by less than rounding, a thousandth in each column."""
    bands = random_bands(seed)
    free = np.zeros((2, bands.shape[2]), bool)
    free[0, 9] = True
    for band, begins, path in zip(bands, free, trace_paths(bands, free), strict=True):
        leaving, moves = costs(band, begins)
        least = leaving[0]
        for left, move in zip(leaving[1:], moves[1:], strict=True):
            least = (least + move).min(axis=1) + left
        steps = ((path - 0.5) / 2).astype(int)
        column = np.arange(len(steps))
        cost = leaving[column, steps].sum() + moves[column[1:], steps[1:], steps[:-1]].sum()
        assert cost == pytest.approx(least.min(), abs=1e-3 * len(steps))


def test_steep_strokes_are_followed() -> None:
    """A spike of 2 mV up and down within 16 ms: 150 px in four columns."""
    signals = constant_levels({})
    signals[:, 300:305] = np.array([0.7, 1.4, 2.0, 1.4, 0.7], np.float32)[None] * 0.9
    coverage, truth = drawn(signals, 2.5, SMALL)
    decoded = decode_rows(coverage, SMALL).signals[LEAD_INDEX["II"]]
    assert abs(int(np.nanargmax(decoded)) - 302) <= 1
    assert np.nanmax(decoded) == pytest.approx(1.8, abs=0.1)


def wild(rows: Coverage) -> Coverage:
    rows = rows.copy()
    rows[:, 30:60, 80:140] = 255
    return rows


@pytest.mark.parametrize("trouble", [faint, wild], ids=["faint ink", "other ink in the columns"])
def test_trouble_lowers_confidence(trouble) -> None:
    coverage, _ = drawn(constant_levels({"I": -0.2}), 2.5, SMALL)
    part = slice(180, 280)  # columns 91..130

    def mean(page: DecodedPage) -> float:
        return float(page.confidence[LEAD_INDEX["I"], part].mean())

    assert mean(decode_rows(trouble(coverage), SMALL)) < 0.8 * mean(decode_rows(coverage, SMALL))


@settings(max_examples=8, deadline=None)
@given(level=st.floats(-1.2, 1.2), swing=st.floats(0, 0.3), hertz=st.floats(0.5, 8), pen=st.sampled_from([2.0, 3.0]))
def test_waves_are_read_to_a_fraction_of_a_pixel(level: float, swing: float, hertz: float, pen: float) -> None:
    wave = level + swing * np.sin(2 * np.pi * hertz * np.arange(5000) / 500)
    coverage, truth = drawn(np.tile(wave, (12, 1)).astype(np.float32), pen, SMALL)
    error = (decode_rows(coverage, SMALL).signals - truth)[LEAD_INDEX["II"], 5:995] * SMALL.px_per_mv
    steepest = 2 * np.pi * hertz * swing * SMALL.px_per_mv / SMALL.px_per_s  # px down per px along
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


@pytest.mark.parametrize(
    "change", [{"band_mv": 0.0}, {"jump_cost": -1.0}, {"rounds": -1}, {"contrast_px": 4}, {"min_ink": float("nan")}]
)
def test_impossible_options(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        DecodingOptions(**change)  # type: ignore[arg-type]


def test_a_trace_that_stands_to_the_side_is_read_at_its_time() -> None:
    coverage, truth = simulated(3)
    columns = np.arange(STANDARD_PAGE.width)
    shift = 0.8 * np.exp(-0.5 * ((columns - 1102) / 70.0) ** 2) - 0.5 * np.exp(-0.5 * ((columns - 610) / 70.0) ** 2)
    x = np.broadcast_to((columns - shift).astype(np.float32), coverage.shape[1:])
    y = np.broadcast_to(np.arange(STANDARD_PAGE.height, dtype=np.float32)[:, None], coverage.shape[1:])
    moved = np.stack([cv2.remap(row, x.copy(), y.copy(), cv2.INTER_CUBIC) for row in coverage])
    straight, corrected, untold = (
        compare(decoded.signals, truth).snr_db
        for decoded in (decode_rows(coverage), decode_rows(moved, shift=shift), decode_rows(moved))
    )
    assert corrected > straight - 0.7 and untold < corrected - 1.0
    traces, nominal = decode_rows(moved, shift=shift).traces, decode_rows(coverage).traces
    apart = traces["V1"][:, 0] - nominal["V1"][:, 0]
    assert np.nanmax(np.abs(apart - np.interp(nominal["V1"][:, 0], columns, shift))) < 1e-6
