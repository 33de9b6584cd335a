from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cardioscan.page import SAMPLING_RATE_HZ, STANDARD_PAGE  # noqa: E402
from cardioscan.synthesis.simulator import SimulatedSignals  # noqa: E402
from cardioscan.training.tasks import GridTask, WaveformTask, beat_at_lead_start  # noqa: E402

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


def test_on_pages_without_a_grid_no_node_is_to_be_found() -> None:
    task = GridTask(SIGNALS, np.arange(4), np.arange(4, 6))
    task.gridless = 1.0
    bare = task.sample(np.random.default_rng(3))
    task.gridless = 0.0
    ruled = task.sample(np.random.default_rng(3))
    assert {name: (array.shape, array.dtype) for name, array in bare.items()} == {
        name: (array.shape, array.dtype) for name, array in ruled.items()
    }
    for name in ("points", "near", "on_page"):
        assert not bare[name].any() and ruled[name].any()
    assert bare["labels"].any()  # lead names are there
    loss, parts = task.loss(Blank(), {name: torch.from_numpy(array)[None] for name, array in bare.items()})
    assert torch.isfinite(loss) and parts["offset"] == parts["departure"] == 0 < parts["node"]


class Blank(torch.nn.Module):
    """Answers of the shapes that the grid rectifier gives, all zero."""

    def forward(self, image: torch.Tensor, places: torch.Tensor) -> tuple[torch.Tensor, ...]:
        height, width = image.shape[2] // 4, image.shape[3] // 4
        return tuple(torch.zeros(len(image), channels, height, width) for channels in (1, 2, 2, 14))
