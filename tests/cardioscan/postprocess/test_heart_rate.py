from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioscan.page.leads import LEADS
from cardioscan.postprocess.heart_rate import heart_rate_bpm
from cardioscan.synthesis.signals import PtbXlArchive
from tests.cardioscan.postprocess.known_signals import printed


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
