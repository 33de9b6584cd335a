from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioscan.page.leads import LEAD_INDEX
from cardioscan.synthesis.simulator import SimulatedSignals

N = 120


@pytest.fixture(scope="module")
def records() -> np.ndarray:
    source = SimulatedSignals(N, seed=7)
    return np.stack([source.record(index) for index in range(N)])


def test_records_have_the_shape_of_a_signal_source(records: np.ndarray) -> None:
    assert records.shape == (N, 12, 5000)
    assert records.dtype == np.float32
    assert np.isfinite(records).all()
    assert len(SimulatedSignals(N)) == N


@pytest.mark.parametrize("noise", [0.0, 1.0, 5.0])
def test_laws_of_the_leads(noise: float) -> None:
    source = SimulatedSignals(20, seed=3, noise=noise)
    for index in range(20):
        signals = source.record(index).astype(float)
        lead = {name: signals[LEAD_INDEX[name]] for name in ("I", "II", "III", "aVR", "aVL", "aVF")}
        close = {"rtol": 0, "atol": 2e-6}  # rounding to float32
        np.testing.assert_allclose(lead["III"], lead["II"] - lead["I"], **close)
        np.testing.assert_allclose(lead["aVR"], -(lead["I"] + lead["II"]) / 2, **close)
        np.testing.assert_allclose(lead["aVL"], lead["I"] - lead["II"] / 2, **close)
        np.testing.assert_allclose(lead["aVF"], lead["II"] - lead["I"] / 2, **close)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), index=st.integers(0, 49))
def test_a_record_depends_on_seed_and_index_only(seed: int, index: int) -> None:
    first = SimulatedSignals(50, seed).record(index)
    other = SimulatedSignals(1000, seed)
    other.record(index + 1)
    np.testing.assert_array_equal(other.record(index), first)
    assert not np.array_equal(SimulatedSignals(50, seed + 1).record(index), first)
    assert not np.array_equal(other.record(index + 1), first)


def test_amplitudes_are_those_of_real_ecgs(records: np.ndarray) -> None:
    largest = np.abs(records).max(axis=(1, 2))
    assert largest.max() < 6
    assert 0.8 < np.median(largest) < 2.5
    assert largest.min() > 0.25
    # The R wave grows and the S wave shrinks from V1 to V5; aVR is negative, II positive.
    peaks = records.max(axis=-1) - np.median(records, axis=-1)
    troughs = np.median(records, axis=-1) - records.min(axis=-1)
    ratio = np.median(peaks / troughs, axis=0)
    assert ratio[LEAD_INDEX["V1"]] < 1 < ratio[LEAD_INDEX["V5"]]
    assert ratio[LEAD_INDEX["aVR"]] < 1 < ratio[LEAD_INDEX["II"]]


def test_heart_rates_span_the_clinical_range() -> None:
    source = SimulatedSignals(600, seed=1)
    rates = np.array([source.heart_rate_bpm(index) for index in range(600)])
    assert rates.min() > 35
    assert rates.max() < 180
    assert np.mean((rates >= 40) & (rates <= 160)) > 0.97
    assert rates.min() < 50
    assert rates.max() > 120
    assert 65 < np.median(rates) < 90


def test_true_beats_stand_where_the_signal_moves() -> None:
    source = SimulatedSignals(30, seed=11, noise=0.0)
    for index in range(30):
        beats = source.beat_times(index)
        assert (np.diff(beats) >= 0.3).all()
        assert beats.min() >= 0
        assert beats.max() < 10
        speed = np.abs(np.gradient(source.record(index), axis=-1)).max(axis=0)
        near = [speed[max(0, int(500 * t) - 30) : int(500 * t) + 31].max() for t in beats]
        assert min(near) > 3 * np.median(speed)


def test_records_differ_in_rhythm(records: np.ndarray) -> None:
    source = SimulatedSignals(N, seed=7)
    spread = np.array([np.std(d) / np.mean(d) for d in (np.diff(source.beat_times(k)) for k in range(N))])
    assert (spread < 0.06).mean() > 0.5  # sinus rhythm
    assert (spread > 0.10).mean() > 0.05  # fibrillation or extra beats


def test_noise_is_added_to_the_same_heart() -> None:
    quiet, usual, loud = (SimulatedSignals(5, seed=2, noise=noise) for noise in (0.0, 1.0, 2.0))
    for index in range(5):
        once = usual.record(index).astype(float) - quiet.record(index)
        twice = loud.record(index).astype(float) - quiet.record(index)
        np.testing.assert_allclose(twice, 2 * once, atol=1e-5)
        assert 0.001 < once.std() < 0.3


@pytest.mark.parametrize("index", [-1, 5, 10**6])
def test_no_record_outside(index: int) -> None:
    source = SimulatedSignals(5)
    with pytest.raises(IndexError):
        source.record(index)
    with pytest.raises(IndexError):
        source.beat_times(index)


@pytest.mark.parametrize("arguments", [{"n_records": -1}, {"seed": -1}, {"noise": -0.5}, {"noise": float("nan")}])
def test_arguments_are_checked(arguments: dict) -> None:
    with pytest.raises(ValueError):
        SimulatedSignals(**arguments)
