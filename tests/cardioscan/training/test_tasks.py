from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from cardioscan.page import SAMPLING_RATE_HZ, STANDARD_PAGE  # noqa: E402
from cardioscan.synthesis.simulator import SimulatedSignals  # noqa: E402
from cardioscan.training.tasks import WaveformTask, beat_at_lead_start  # noqa: E402

SIGNALS = SimulatedSignals(6, seed=11)


@pytest.mark.parametrize("seed", range(8))
def test_a_beat_comes_to_stand_where_a_lead_begins(seed: int) -> None:
    signal = np.asarray(SIGNALS.record(seed % 6), np.float32)
    turned = beat_at_lead_start(signal, np.random.default_rng(seed))
    assert turned.shape == signal.shape
    assert np.allclose(np.sort(turned[1]), np.sort(signal[1]))  # the same samples, in another order
    steepness = np.abs(np.diff(turned, axis=1)).sum(axis=0)
    starts = {round(segment.t_start * SAMPLING_RATE_HZ) for segment in STANDARD_PAGE.segments}
    windows = [steepness[max(start - 15, 0) : start + 105] for start in starts]
    usual = np.abs(np.diff(signal, axis=1)).sum(axis=0).max()  # of the record itself, which has no seam
    assert max(window.max() for window in windows) > 0.5 * usual


def test_strips_have_the_shapes_that_the_network_takes() -> None:
    task = WaveformTask(SIGNALS, np.arange(4), np.arange(4, 6))
    sample = task.sample(np.random.default_rng(0))
    assert sample["image"].shape == (3, task.strip_height, task.strip_width) and sample["image"].dtype == np.uint8
    assert sample["coverage"].shape == (4, task.strip_height, task.strip_width)
    assert sample["origin"].shape == (2,)
