from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cardioscan.errors import InvalidRecordError
from cardioscan.evaluate.measure import MAX_SHIFT_S, RATIO_CAP, SetScore, agreement, compare, refused_page, to_db
from cardioscan.page.leads import LEADS

seeds = st.integers(0, 100_000)


def smooth(rng: np.random.Generator, shape: tuple[int, int] = (12, 5000)) -> np.ndarray:
    """Aperiodic signals of about 1 mV whose best lag is their true one."""
    white = rng.normal(size=(shape[0], shape[1] + 24))
    kernel = np.hanning(25)
    return np.stack([np.convolve(row, kernel / np.sqrt((kernel**2).sum()), "valid") for row in white])


def page(rng: np.random.Generator) -> np.ndarray:
    truth = smooth(rng)
    for row in range(12):
        if LEADS[row] != "II":
            column = row // 3
            truth[row, : 1250 * column] = np.nan
            truth[row, 1250 * (column + 1) :] = np.nan
    return truth


def slow_compare(pred: np.ndarray, truth: np.ndarray, rate: int = 500) -> float:
    """The measure written down a second time, lead by lead and lag by lag."""
    signal = noise = 0.0
    for p, t in zip(pred, truth, strict=True):
        printed = np.isfinite(t)
        if not printed.any():
            continue
        p = np.where(printed, p, np.nan)
        best, best_lag = -np.inf, 0
        for lag in sorted(range(-int(0.2 * rate), int(0.2 * rate) + 1), key=abs):
            moved = np.full_like(p, np.nan)
            moved[max(lag, 0) : p.size + min(lag, 0)] = p[max(-lag, 0) : p.size - max(lag, 0)]
            value = np.nansum((moved - np.nanmean(p)) * (t - np.nanmean(t))) if np.isfinite(p).any() else 0.0
            if value > best + 1e-9:
                best, best_lag = value, lag
        moved = np.full_like(p, np.nan)
        moved[max(best_lag, 0) : p.size + min(best_lag, 0)] = p[max(-best_lag, 0) : p.size - max(best_lag, 0)]
        both = np.isfinite(moved) & printed
        if both.any():
            moved = moved - np.mean(moved[both] - t[both])
        moved = np.where(both, moved, 0.0)
        signal += np.sum(t[printed] ** 2)
        noise += np.sum((t - moved)[printed] ** 2)
    return min(RATIO_CAP, signal / noise)


@given(seed=seeds, noise=st.floats(0.02, 2), lag=st.integers(-110, 110), missing=st.floats(0, 0.3))
@settings(max_examples=8, deadline=None)
def test_equals_the_measure_written_out(seed: int, noise: float, lag: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    truth = page(rng)
    pred = np.roll(truth, lag, axis=1) + rng.normal(scale=noise, size=truth.shape) + 0.3
    pred[rng.random(pred.shape) < missing] = np.nan
    assert compare(pred, truth).ratio == pytest.approx(slow_compare(pred, truth), rel=1e-6)


def test_a_perfect_page_reaches_the_cap() -> None:
    truth = page(np.random.default_rng(0))
    score = compare(truth, truth)
    assert score.ratio == RATIO_CAP and score.snr_db == pytest.approx(25.84, abs=0.01) and score.digitized
    assert score.mean_r == pytest.approx(1) and score.mean_rmse_mv == pytest.approx(0, abs=1e-9)
    assert score.leads["I"].n_samples == 1250 and score.leads["II"].n_samples == 5000
    assert all(lead.lag_s == 0 and lead.gain == pytest.approx(1) for lead in score.leads.values())


@given(seed=seeds, offsets=st.lists(st.floats(-5, 5), min_size=12, max_size=12))
@settings(max_examples=15, deadline=None)
def test_offsets_cost_nothing(seed: int, offsets: list[float]) -> None:
    rng = np.random.default_rng(seed)
    truth = page(rng)
    pred = truth + rng.normal(scale=0.2, size=truth.shape)
    moved = compare(pred + np.array(offsets)[:, None], truth)
    assert moved.ratio == pytest.approx(compare(pred, truth).ratio, rel=1e-6)


@given(seed=seeds, lag=st.integers(-100, 100))
@settings(max_examples=15, deadline=None)
def test_lags_up_to_a_fifth_of_a_second_are_found(seed: int, lag: int) -> None:
    truth = smooth(np.random.default_rng(seed))
    pred = np.full_like(truth, np.nan)
    pred[:, max(lag, 0) : 5000 + min(lag, 0)] = truth[:, max(-lag, 0) : 5000 - max(lag, 0)]
    score = compare(pred, truth)
    assert {lead.lag_s for lead in score.leads.values()} == {lag / 500}
    # Only the samples that the shift leaves uncovered are lost.
    lost = truth[:, 5000 - lag :] if lag > 0 else truth[:, :-lag]
    expected = np.sum(truth**2) / np.sum(lost**2) if lost.size else np.inf
    assert score.ratio == pytest.approx(min(RATIO_CAP, expected), rel=1e-6)


def test_longer_lags_are_not_undone() -> None:
    truth = smooth(np.random.default_rng(4))
    score = compare(np.roll(truth, 130, axis=1), truth)
    assert all(abs(lead.lag_s) <= MAX_SHIFT_S for lead in score.leads.values()) and score.snr_db < 3


@pytest.mark.parametrize(("gain", "decibels"), [(0.99, 25.84), (1.1, 20.0), (0.5, 6.02), (2.0, 0.0), (-1.0, None)])
def test_gain_errors(gain: float, decibels: float | None) -> None:
    rng = np.random.default_rng(1)
    truth = smooth(rng)
    truth -= truth.mean(axis=1, keepdims=True)
    score = compare(gain * truth, truth)
    if decibels is None:
        assert score.snr_db < 0.5
    else:
        assert score.snr_db == pytest.approx(decibels, abs=0.01)
        assert all(lead.gain == pytest.approx(gain) for lead in score.leads.values())


@given(seed=seeds, share=st.floats(0.05, 0.5))
@settings(max_examples=15, deadline=None)
def test_unread_samples_count_as_zero(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    truth = page(rng)
    pred = truth.copy()
    lost = rng.random(truth.shape) < share
    pred[lost] = np.nan
    printed = np.isfinite(truth)
    expected = np.sum(truth[printed] ** 2) / np.sum(truth[printed & lost] ** 2)
    score = compare(pred, truth)
    # Now and then a shifted lead scores better by chance: then less of the truth is lost than was taken.
    assume(all(lead.lag_s == 0 for lead in score.leads.values() if lead.n_samples))
    assert score.ratio == pytest.approx(min(RATIO_CAP, expected), rel=1e-6)


@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_what_is_not_printed_is_ignored(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = page(rng)
    pred = truth + rng.normal(scale=0.3, size=truth.shape)
    elsewhere = np.where(np.isnan(truth), rng.normal(scale=50, size=truth.shape), pred)
    assert compare(elsewhere, truth).ratio == compare(pred, truth).ratio


def test_signal_power_is_of_the_truth_as_it_is() -> None:
    rng = np.random.default_rng(0)
    truth = page(rng)
    pred = truth + rng.normal(scale=0.3, size=truth.shape)
    # Its mean is part of the truth: raising it raises the ratio, as the measure says.
    assert compare(pred + 3, truth + 3).ratio > 2 * compare(pred, truth).ratio


@pytest.mark.parametrize("level", [0.0, 0.3, -1e-3, 1e6])
def test_flat_predictions(level: float) -> None:
    truth = page(np.random.default_rng(0))
    score = compare(np.full_like(truth, level), truth)
    assert score.digitized and -0.1 < score.snr_db < 0.1
    assert all(lead.r == 0 and lead.lag_s == 0 for lead in score.leads.values())


def test_a_lead_that_was_not_read_and_one_that_is_not_printed() -> None:
    truth = page(np.random.default_rng(0))
    truth[11] = np.nan
    pred = truth.copy()
    pred[0] = np.nan
    leads = compare(pred, truth).leads
    assert leads["I"].snr_db == -math.inf and leads["I"].r == 0 and math.isnan(leads["I"].lag_s)
    assert leads["I"].rmse_mv == pytest.approx(np.sqrt(np.nanmean(truth[0] ** 2)))
    assert leads["V6"].n_samples == 0 and math.isnan(leads["V6"].snr_db) and math.isnan(leads["V6"].r)


def test_a_refused_page_has_ratio_zero() -> None:
    truth = page(np.random.default_rng(0))
    score = refused_page(truth)
    assert score.ratio == 0 and score.snr_db == -math.inf and not score.digitized
    data = json.loads(json.dumps(score.to_json_dict(), allow_nan=False))
    assert data["snr_db"] is None and data["leads"]["II"]["n_samples"] == 5000


@pytest.mark.parametrize(
    ("pred", "truth"),
    [
        (np.zeros((12, 10)), np.zeros((12, 11))),
        (np.zeros((3, 10)), np.zeros((3, 10))),
        (np.zeros(10), np.zeros(10)),
        (np.zeros((12, 500)), np.full((12, 500), np.nan)),
    ],
)
def test_compare_refuses_nonsense(pred: np.ndarray, truth: np.ndarray) -> None:
    with pytest.raises(InvalidRecordError):
        compare(pred, truth)


# --- sets


def test_a_set_scores_the_mean_ratio() -> None:
    rng = np.random.default_rng(0)
    truth = page(rng)
    pages = [compare(truth + rng.normal(scale=s, size=truth.shape), truth) for s in (0.1, 0.3, 1.0, 3.0)]
    score = SetScore.from_pages(pages)
    assert score.snr_db == pytest.approx(to_db(np.mean([p.ratio for p in pages])))
    decibels = [p.snr_db for p in pages]
    assert score.median_db == pytest.approx(np.median(decibels))
    assert score.percentile_10_db == pytest.approx(np.percentile(decibels, 10))
    assert score.share_refused == 0 and score.n_pages == 4
    assert score.mean_r == pytest.approx(np.mean([p.mean_r for p in pages]))
    assert score.lead_rmse_mv["V6"] == pytest.approx(np.mean([p.leads["V6"].rmse_mv for p in pages]))


@pytest.mark.parametrize(
    ("refused", "median", "tenth"), [(1, True, True), (2, True, False), (5, True, False), (6, False, False)]
)
def test_refused_pages_pull_a_set_down(refused: int, median: bool, tenth: bool) -> None:
    truth = page(np.random.default_rng(0))
    pages = [refused_page(truth)] * refused + [compare(truth, truth)] * (11 - refused)
    score = SetScore.from_pages(pages)
    assert score.share_refused == pytest.approx(refused / 11)
    assert score.snr_db == pytest.approx(to_db(RATIO_CAP * (11 - refused) / 11))
    assert math.isfinite(score.median_db) == median and math.isfinite(score.percentile_10_db) == tenth
    assert score.mean_r == pytest.approx(1)  # of what was digitized


def test_a_set_of_refused_pages() -> None:
    score = SetScore.from_pages([refused_page(page(np.random.default_rng(0)))] * 3)
    data = json.loads(json.dumps(score.to_json_dict(), allow_nan=False))
    assert data["snr_db"] is None and data["share_refused"] == 1 and data["mean_r"] is None
    assert data["lead_r"]["I"] is None and data["n_pages"] == 3
    with pytest.raises(ValueError):
        SetScore.from_pages([])


# --- agreement


@given(seed=seeds, noise=st.floats(0.1, 3), lag=st.integers(-90, 90), offset=st.floats(-3, 3))
@settings(max_examples=15, deadline=None)
def test_agreement_is_symmetric_and_blind_to_offset(seed: int, noise: float, lag: int, offset: float) -> None:
    rng = np.random.default_rng(seed)
    a = page(rng)
    b = np.roll(a, lag, axis=1) + rng.normal(scale=noise, size=a.shape)
    b[rng.random(b.shape) < 0.05] = np.nan
    assert agreement(a, b) == pytest.approx(agreement(b, a), abs=1e-6)
    assert agreement(a + offset, b) == pytest.approx(agreement(a, b), abs=1e-6)


@pytest.mark.parametrize(("scale", "decibels"), [(0.1, 20.0), (0.316, 10.2)])
def test_agreement_level(scale: float, decibels: float) -> None:
    rng = np.random.default_rng(0)
    a = page(rng)
    assert agreement(a, a + rng.normal(scale=scale, size=a.shape)) == pytest.approx(decibels, abs=0.5)


def test_agreement_at_its_ends() -> None:
    a = page(np.random.default_rng(0))
    assert agreement(a, a) == pytest.approx(to_db(RATIO_CAP))
    assert agreement(a, np.full_like(a, np.nan)) == -math.inf
    half = a.copy()
    half[6:] = np.nan
    assert agreement(a, half) < 6
