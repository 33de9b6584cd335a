from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioscan.errors import InvalidRecordError
from cardioscan.page.leads import LEAD_INDEX, LEADS
from cardioscan.page.template import STANDARD_PAGE
from cardioscan.postprocess.signal import (
    einthoven_redistribute,
    finite_runs,
    heart_rate_bpm,
    merge_duplicate,
    resample_trace,
    savitzky_golay,
)
from cardioscan.synthesis.leads import twelve_leads
from cardioscan.synthesis.signals import PtbXlArchive

PX = STANDARD_PAGE.px_per_sample
STEP = 0.25


def columns(seconds: float = 2.5, step: float = STEP, x0: float = 118.0) -> np.ndarray:
    return x0 + step * np.arange(int(seconds * STANDARD_PAGE.px_per_s / step) + 1)


def at_time(x: np.ndarray, x0: float = 118.0) -> np.ndarray:
    return (x - x0) / STANDARD_PAGE.px_per_s


def test_finite_runs() -> None:
    assert list(finite_runs(np.array([np.nan, 1, 2, np.nan, np.inf, 3]))) == [(1, 3), (5, 6)]
    assert list(finite_runs(np.full(3, np.nan))) == [] and list(finite_runs(np.zeros(2))) == [(0, 2)]


# --- resample_trace


@pytest.mark.parametrize("step", [0.25, 0.5, 1.0])
@given(frequency=st.floats(0, 75), phase=st.floats(0, 6.3), start=st.floats(-0.5, 0.5))
@settings(max_examples=25, deadline=None)
def test_band_limited_signals_are_kept(step: float, frequency: float, phase: float, start: float) -> None:
    x = columns(step=step)
    wanted_x = 119 + start + PX * np.arange(1230)
    result = resample_trace(x, np.sin(2 * np.pi * frequency * at_time(x) + phase), 119 + start, PX, 1230)
    error = result - np.sin(2 * np.pi * frequency * at_time(wanted_x) + phase)
    assert np.abs(error[50:-50]).max() < 2e-3
    assert np.abs(error).max() < 0.3  # at the ends the curvature of the sine is not known, but nothing rings away


def test_better_than_linear_interpolation() -> None:
    x = columns(step=1.0)
    t = at_time(118 + PX * np.arange(1250))

    def spike(time: np.ndarray) -> np.ndarray:
        return np.exp(-0.5 * ((time - 1.2) / 0.006) ** 2)

    ours = resample_trace(x, spike(at_time(x)), 118.0, PX, 1250) - spike(t)
    linear = np.interp(t, at_time(x), spike(at_time(x))) - spike(t)
    assert np.sum(ours**2) < 0.05 * np.sum(linear**2)


def test_noise_beyond_the_band_does_not_fold_back() -> None:
    x = columns()
    result = resample_trace(x, np.sin(2 * np.pi * 330 * at_time(x)), 118.0, PX, 1250)
    assert np.abs(result[50:-50]).max() < 1e-2


@given(offset=st.floats(-3, 3), slope=st.floats(-5, 5), n=st.integers(2, 400))
@settings(max_examples=30, deadline=None)
def test_lines_are_exact_up_to_the_ends(offset: float, slope: float, n: int) -> None:
    x = 50 + STEP * np.arange(n)
    count = int((n - 1) * STEP / PX) + 1
    result = resample_trace(x, offset + slope * (x - 50), 50.0, PX, count)
    np.testing.assert_allclose(result, offset + slope * PX * np.arange(count), atol=1e-3 * (1 + abs(slope)))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_a_step_at_the_end_does_not_ring(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = columns(1.0)
    values = np.cumsum(rng.normal(size=x.size)) * 0.02
    result = resample_trace(x, values, 118.0, PX, 500)
    assert np.isfinite(result).all()
    spread = values.max() - values.min()
    assert result.max() < values.max() + 0.2 * spread and result.min() > values.min() - 0.2 * spread


@pytest.mark.parametrize(("gap_samples", "bridged"), [(2, True), (12, True), (19, True), (25, False), (200, False)])
def test_only_short_gaps_are_bridged(gap_samples: int, bridged: bool) -> None:
    x = columns()
    t = at_time(x)
    values = np.sin(2 * np.pi * 2 * t)
    hole = (t > 1.0) & (t < 1.0 + gap_samples / 500)
    result = resample_trace(x, np.where(hole, np.nan, values), 118.0, PX, 1250)
    missing = np.isnan(result)
    assert missing.any() != bridged
    time = np.arange(1250) / 500
    inside = (time > 1.002) & (time < 1.0 + gap_samples / 500 - 0.002)
    if not bridged:
        assert missing[inside].all() and not missing[(time < 0.998) | (time > 1.002 + gap_samples / 500)].any()
    assert np.abs(result - np.sin(2 * np.pi * 2 * time))[~missing].max() < 0.02


def test_bridges_do_not_overshoot() -> None:
    x = columns(1.0)
    values = np.where(x < x[x.size // 2], 0.0, 1.0)
    values[x.size // 2 - 10 : x.size // 2 + 10] = np.nan
    result = resample_trace(x, values, 118.0, PX, 490)
    assert np.isfinite(result).all() and result.min() > -0.02 and result.max() < 1.02


def test_nothing_is_invented_outside() -> None:
    x = columns(1.0, x0=200.0)
    result = resample_trace(x, np.ones(x.size), 118.0, PX, 1250)
    inside = (118 + PX * np.arange(1250) >= 200 - 0.2) & (118 + PX * np.arange(1250) <= x[-1] + 0.2)
    np.testing.assert_array_equal(np.isfinite(result), inside)
    assert np.isnan(resample_trace(x, np.full(x.size, np.nan), 200.0, PX, 100)).all()


@pytest.mark.parametrize(
    ("x", "values", "px", "n", "error"),
    [
        (np.arange(5.0), np.zeros(4), PX, 5, InvalidRecordError),
        (np.array([0.0, 1.0, 3.0]), np.zeros(3), PX, 5, InvalidRecordError),
        (np.arange(5.0)[::-1], np.zeros(5), PX, 5, InvalidRecordError),
        (np.zeros(1), np.zeros(1), PX, 5, InvalidRecordError),
        (np.arange(5.0), np.zeros(5), 0.0, 5, ValueError),
        (np.arange(5.0), np.zeros(5), PX, 0, ValueError),
    ],
)
def test_resample_refuses_nonsense(x, values, px, n, error) -> None:
    with pytest.raises(error):
        resample_trace(x, values, 0.0, px, n)


def test_input_is_not_changed() -> None:
    x, values = columns(), np.zeros(columns().size)
    values[10:14] = np.nan
    before = values.copy()
    resample_trace(x, values, 118.0, PX, 100)
    np.testing.assert_array_equal(values, before)


# --- savitzky_golay


@given(seed=st.integers(0, 10_000), half=st.integers(1, 6), order=st.integers(0, 4), share=st.floats(0, 0.5))
@settings(max_examples=40, deadline=None)
def test_savitzky_golay_keeps_polynomials_and_gaps(seed: int, half: int, order: int, share: float) -> None:
    window = 2 * half + 1
    rng = np.random.default_rng(seed)
    t = np.linspace(-1, 1, 120)
    signals = np.stack([np.polyval(rng.normal(size=order + 1), t) for _ in range(3)])
    signals[rng.random(signals.shape) < share] = np.nan
    if window <= order:
        with pytest.raises(ValueError):
            savitzky_golay(signals, window, order)
    else:
        np.testing.assert_allclose(savitzky_golay(signals, window, order), signals, atol=1e-8)


def test_savitzky_golay_smooths_and_spoils_no_neighbour() -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(12, 5000))
    assert savitzky_golay(noise, 9, 3).std() < 0.8
    one = noise[0].copy()
    one[100:110] = np.nan
    np.testing.assert_array_equal(np.isnan(savitzky_golay(one, 9, 3)), np.isnan(one))
    np.testing.assert_allclose(savitzky_golay(one, 9, 3)[:90], savitzky_golay(noise[0], 9, 3)[:90])
    with pytest.raises(ValueError):
        savitzky_golay(noise, 4, 3)


# --- einthoven_redistribute


def printed(signals: np.ndarray) -> np.ndarray:
    page = np.full(signals.shape, np.nan)
    for segment in STANDARD_PAGE.segments:
        start = round(segment.t_start * 500)
        row = LEAD_INDEX[segment.lead]
        stop = 5000 if segment.lead == "II" else start + 1250
        page[row, start:stop] = signals[row, start:stop]
    return page


def simulated(rng: np.random.Generator) -> np.ndarray:
    white = rng.normal(size=(8, 5000))
    return twelve_leads(savitzky_golay(white, 31, 2)).astype(np.float64)


@given(seed=st.integers(0, 10_000), noise=st.floats(0, 0.02))
@settings(max_examples=15, deadline=None)
def test_redistribution_makes_the_laws_hold_and_brings_leads_nearer(seed: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    truth = printed(simulated(rng))
    signals = truth + rng.normal(scale=noise, size=truth.shape)
    confidence = np.where(np.isnan(truth), 0, 0.8)
    result = einthoven_redistribute(signals, confidence)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(signals))
    np.testing.assert_allclose((result[0] - result[1] + result[2])[:1250], 0, atol=1e-9)
    np.testing.assert_allclose((result[3] + result[4] + result[5])[1250:2500], 0, atol=1e-9)
    np.testing.assert_array_equal(result[1, 1250:], signals[1, 1250:])
    np.testing.assert_array_equal(result[6:], signals[6:])
    before, after = np.nanmean((signals - truth)[:6] ** 2), np.nanmean((result - truth)[:6] ** 2)
    assert after <= before + 1e-12
    # What obeys the laws is a fixed point.
    np.testing.assert_allclose(einthoven_redistribute(result, confidence), result, atol=1e-9)


def test_the_least_certain_lead_moves_most() -> None:
    signals = np.full((12, 5000), np.nan)
    signals[:3, :1250] = [[0.1], [0.05], [0.0]]
    confidence = np.where(np.isnan(signals), 0, 0.9)
    confidence[2, :1250] = 0.1
    moved = np.abs(einthoven_redistribute(signals, confidence) - signals)[:3, 0]
    assert moved[2] > 5 * moved[0] and moved[0] == pytest.approx(moved[1]) and moved.sum() == pytest.approx(0.05)


@pytest.mark.parametrize("case", ["broken lead", "missing lead", "too short"])
def test_what_cannot_be_trusted_stays(case: str) -> None:
    rng = np.random.default_rng(0)
    signals = printed(simulated(rng)) + rng.normal(scale=0.02, size=(12, 5000))
    if case == "broken lead":
        signals[(2, 4), :] += 0.5
    elif case == "missing lead":
        signals[(2, 4), :] = np.nan
    else:
        signals[:, 20:] = np.nan
    result = einthoven_redistribute(signals, np.ones((12, 5000)))
    np.testing.assert_array_equal(result, signals)


def test_a_short_fault_in_one_lead_is_not_spread() -> None:
    signals = printed(simulated(np.random.default_rng(1)))
    faulty = signals.copy()
    faulty[0, 600:610] += 0.8
    result = einthoven_redistribute(faulty, np.ones_like(signals))
    np.testing.assert_allclose(result[1:], signals[1:], atol=1e-6)


def test_redistribution_wants_twelve_leads() -> None:
    with pytest.raises(InvalidRecordError):
        einthoven_redistribute(np.zeros((3, 100)), np.zeros((3, 100)))


# --- merge_duplicate


def two_prints(seed: int = 0, offset: float = 0.05, noise: float = 0.03) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = simulated(rng)[1]
    rhythm, short = truth + rng.normal(scale=noise, size=5000), truth + rng.normal(scale=noise, size=5000) + offset
    short[1250:] = np.nan
    return truth, rhythm, short


def confidence_of(signal: np.ndarray, value: float = 0.8) -> np.ndarray:
    return np.where(np.isnan(signal), 0, value)


def test_agreeing_prints_are_averaged() -> None:
    truth, rhythm, short = two_prints()
    merged, confidence = merge_duplicate(rhythm, confidence_of(rhythm, 0.6), short, confidence_of(short, 0.7))
    assert np.mean((merged - truth)[:1250] ** 2) < 0.7 * np.mean((rhythm - truth)[:1250] ** 2)
    np.testing.assert_array_equal(merged[1250:], rhythm[1250:])
    assert confidence.dtype == np.float32
    np.testing.assert_allclose(confidence, np.where(np.arange(5000) < 1250, 0.7, 0.6), atol=1e-6)


def test_disagreeing_prints_leave_the_rhythm_row() -> None:
    _, rhythm, short = two_prints()
    rhythm[100:300] = np.nan
    merged, confidence = merge_duplicate(rhythm, confidence_of(rhythm), -short, confidence_of(short))
    np.testing.assert_array_equal(merged, rhythm)
    np.testing.assert_array_equal(confidence == 0, np.isnan(rhythm))


@pytest.mark.parametrize(("hole", "tolerance"), [(slice(100, 700), 0.12), (slice(0, 1250), 0.2), (slice(0, 5000), 0.2)])
def test_the_short_print_fills_holes(hole: slice, tolerance: float) -> None:
    truth, rhythm, short = two_prints(offset=0.05)
    rhythm[hole] = np.nan
    merged, confidence = merge_duplicate(rhythm, confidence_of(rhythm), short, confidence_of(short, 0.5))
    assert np.isfinite(merged[:1250]).all() and np.abs(merged - truth)[:1250].max() < tolerance
    np.testing.assert_array_equal(confidence == 0, np.isnan(merged))
    np.testing.assert_allclose(confidence[hole][:600], 0.5)


def test_merge_wants_equal_shapes() -> None:
    with pytest.raises(InvalidRecordError):
        merge_duplicate(np.zeros(5), np.zeros(5), np.zeros(4), np.zeros(5))


# --- heart_rate_bpm


def beats(bpm: float, rng: np.random.Generator, noise: float = 0.02, jitter: float = 0.0) -> np.ndarray:
    """(12, 5000) mV: P, QRS and T waves at a given rate."""
    t = np.arange(5000) / 500
    period = 60 / bpm
    times = np.arange(-1, 10 / period + 2) * period + rng.uniform(0, period)
    times += rng.uniform(-jitter, jitter, times.size) * period
    squeeze = min(1.0, np.sqrt(period / 0.8))  # waves come closer as the heart goes faster
    signal = np.zeros(t.size)
    for height, delay, width in ((0.12, -0.16, 0.022), (-0.1, -0.022, 0.008), (1.0, 0, 0.01), (-0.2, 0.024, 0.009)):
        signal += (height * np.exp(-0.5 * ((t[:, None] - times - delay * squeeze) / width) ** 2)).sum(axis=1)
    signal += (0.3 * np.exp(-0.5 * ((t[:, None] - times - 0.28 * squeeze) / (0.05 * squeeze)) ** 2)).sum(axis=1)
    gains = rng.uniform(0.5, 1.5, 12) * rng.choice([-1, 1], 12)
    wander = 0.2 * np.sin(2 * np.pi * 0.3 * t)
    return gains[:, None] * signal + wander + rng.normal(scale=noise, size=(12, 5000))


@pytest.mark.parametrize("bpm", [30, 37, 45, 60, 72, 88, 100, 121, 140, 160, 180, 200, 220, 250])
@pytest.mark.parametrize("lead_ii", ["whole", "holes", "missing"])
def test_heart_rate_of_pulse_trains(bpm: float, lead_ii: str) -> None:
    rng = np.random.default_rng(bpm)
    signals = printed(beats(bpm, rng))
    if lead_ii == "holes":
        signals[1, 1000:1400] = signals[1, 3000:3100] = np.nan
    elif lead_ii == "missing":
        signals[1] = np.nan
    measured = heart_rate_bpm(signals, np.where(np.isnan(signals), 0, 0.9))
    assert measured == pytest.approx(bpm, rel=0.03)


@given(bpm=st.floats(32, 240), seed=st.integers(0, 10_000), noise=st.floats(0, 0.05), scale=st.floats(0.3, 4))
@settings(max_examples=40, deadline=None)
def test_heart_rate_over_the_range(bpm: float, seed: int, noise: float, scale: float) -> None:
    signals = printed(scale * beats(bpm, np.random.default_rng(seed), noise))
    assert heart_rate_bpm(signals, np.isfinite(signals)) == pytest.approx(bpm, rel=0.05)


@given(seed=st.integers(0, 10_000), bpm=st.floats(60, 130))
@settings(max_examples=20, deadline=None)
def test_irregular_rhythms_give_the_mean_rate(seed: int, bpm: float) -> None:
    signals = beats(bpm, np.random.default_rng(seed), jitter=0.12)
    assert heart_rate_bpm(signals, np.ones_like(signals)) == pytest.approx(bpm, rel=0.06)


def unmeasurable(case: str) -> np.ndarray:
    rng = np.random.default_rng(5)
    t = np.arange(5000) / 500
    if case == "flat":
        return np.zeros((12, 5000))
    if case == "nan":
        return np.full((12, 5000), np.nan)
    if case == "noise":
        return rng.normal(scale=0.1, size=(12, 5000))
    if case == "wander":
        return np.tile(np.sin(2 * np.pi * 0.4 * t), (12, 1))
    if case == "mains":
        return np.tile(0.3 * np.sin(2 * np.pi * 50 * t), (12, 1))
    if case == "steady 10 Hz":
        return np.tile(0.3 * np.sin(2 * np.pi * 10 * t), (12, 1))
    signals = beats(60, rng)
    if case == "two beats":
        signals[:, 1000:] = np.nan
    elif case == "tiny":
        signals *= 0.005
    return signals


@pytest.mark.parametrize("case", ["flat", "nan", "noise", "wander", "mains", "steady 10 Hz", "two beats", "tiny"])
def test_no_heart_rate_where_there_is_none(case: str) -> None:
    signals = unmeasurable(case)
    assert heart_rate_bpm(signals, np.where(np.isnan(signals), 0, 1)) is None


def test_samples_without_confidence_do_not_count() -> None:
    signals = beats(75, np.random.default_rng(2))
    assert heart_rate_bpm(signals, np.zeros_like(signals)) is None


def test_real_leads_agree_on_the_rate(shared_data) -> None:
    archive = PtbXlArchive(shared_data / "signals" / "ptbxl_fold10_train.npz")
    differences = []
    for index in range(0, 400, 10):
        signals = archive.record(index).astype(np.float64)
        alone = np.full(signals.shape, np.nan)
        alone[1] = signals[LEADS.index("V5")]
        rates = [heart_rate_bpm(s, np.isfinite(s)) for s in (printed(signals), alone)]
        assert None not in rates
        differences.append(abs(rates[0] - rates[1]))
    assert np.median(differences) < 0.5 and np.mean(np.array(differences) > 5) <= 0.05
