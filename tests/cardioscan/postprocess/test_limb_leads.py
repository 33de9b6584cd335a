from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioscan.errors import InvalidRecordError
from cardioscan.postprocess.limb_leads import einthoven_redistribute
from tests.cardioscan.postprocess.known_signals import printed, simulated


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
