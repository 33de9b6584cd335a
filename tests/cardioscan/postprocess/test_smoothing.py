from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioscan.postprocess.smoothing import savitzky_golay


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
