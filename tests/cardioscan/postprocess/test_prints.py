from __future__ import annotations

import numpy as np
import pytest

from cardioscan.errors import InvalidRecordError
from cardioscan.postprocess.prints import merge_prints
from tests.cardioscan.postprocess.known_signals import simulated


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
    merged, confidence = merge_prints(rhythm, confidence_of(rhythm, 0.6), short, confidence_of(short, 0.7))
    assert np.mean((merged - truth)[:1250] ** 2) < 0.7 * np.mean((rhythm - truth)[:1250] ** 2)
    np.testing.assert_array_equal(merged[1250:], rhythm[1250:])
    assert confidence.dtype == np.float32
    np.testing.assert_allclose(confidence, np.where(np.arange(5000) < 1250, 0.7, 0.6), atol=1e-6)


def test_disagreeing_prints_leave_the_rhythm_row() -> None:
    _, rhythm, short = two_prints()
    rhythm[100:300] = np.nan
    merged, confidence = merge_prints(rhythm, confidence_of(rhythm), -short, confidence_of(short))
    np.testing.assert_array_equal(merged, rhythm)
    np.testing.assert_array_equal(confidence == 0, np.isnan(rhythm))


@pytest.mark.parametrize(("hole", "tolerance"), [(slice(100, 700), 0.12), (slice(0, 1250), 0.2), (slice(0, 5000), 0.2)])
def test_the_short_print_fills_holes(hole: slice, tolerance: float) -> None:
    truth, rhythm, short = two_prints(offset=0.05)
    rhythm[hole] = np.nan
    merged, confidence = merge_prints(rhythm, confidence_of(rhythm), short, confidence_of(short, 0.5))
    assert np.isfinite(merged[:1250]).all() and np.abs(merged - truth)[:1250].max() < tolerance
    np.testing.assert_array_equal(confidence == 0, np.isnan(merged))
    np.testing.assert_allclose(confidence[hole][:600], 0.5)


def test_merge_wants_equal_shapes() -> None:
    with pytest.raises(InvalidRecordError):
        merge_prints(np.zeros(5), np.zeros(5), np.zeros(4), np.zeros(5))
