from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cardioscan.page.leads import SAMPLING_RATE_HZ  # noqa: E402
from cardioscan.page.reference import REFERENCE_PAGE  # noqa: E402
from cardioscan.synthesis.flat import Region  # noqa: E402
from cardioscan.synthesis.simulator import SimulatedSignals  # noqa: E402
from cardioscan.training.tasks import GridTask, WaveformTask  # noqa: E402
from cardioscan.training.tasks.pages import (  # noqa: E402
    beat_at,
    draw_page,
    time_among_letters,
    time_beside_line,
)

SIGNALS = SimulatedSignals(6, seed=11)


STRIPS = [Region(x, 400, 384, 1216) for x in (0, 118, 300, 700, 1500, 1816)]


@pytest.mark.parametrize("seconds", [0.0, 0.013, 2.5, 5.11, 9.99])
@pytest.mark.parametrize("record", range(3))
def test_a_beat_comes_to_stand_where_it_is_wanted(record: int, seconds: float) -> None:
    signal = np.asarray(SIGNALS.record(record), np.float32)
    turned = beat_at(signal, seconds)
    assert turned.shape == signal.shape
    assert np.array_equal(np.sort(turned[1]), np.sort(signal[1]))  # the same samples, in another order
    steepness = np.abs(np.diff(turned, axis=1, append=turned[:, :1])).sum(axis=0)
    there = steepness.take(round(seconds * SAMPLING_RATE_HZ) + np.arange(-1, 2), mode="wrap").max()
    usual = np.abs(np.diff(signal, axis=1)).sum(axis=0).max()  # of the record itself, which has no seam
    assert there > 0.5 * usual


@pytest.mark.parametrize("strip", STRIPS)
def test_hard_places_lie_in_the_strip(strip: Region) -> None:
    rng = np.random.default_rng(0)
    first = min(segment.x_start for segment in REFERENCE_PAGE.segments)
    for _ in range(20):
        beside = time_beside_line(strip, rng)
        assert beside is not None
        x = first + beside * REFERENCE_PAGE.scale.px_per_s
        apart = (x - REFERENCE_PAGE.sheet.x0 + 6) % REFERENCE_PAGE.sheet.pitch
        assert 0 <= apart <= 12
        assert strip.x - 6 <= x <= strip.x + strip.width + 6
        among = time_among_letters(strip, rng)
        assert min((among - start + 0.02) % 10 for start in (0, 2.5, 5, 7.5)) <= 0.2201
    assert time_beside_line(Region(2100, 400, 90, 1216), rng) is None


def test_low_leads_are_drawn_where_their_names_stand() -> None:
    pages = [draw_page(SIGNALS, np.arange(4), 0.0, np.random.default_rng(5), low_leads=share) for share in (0.0, 1.0)]
    plain, low = (page.printed_signals() for page in pages)
    levels = [np.nanmedian(lead) for lead in plain - low]
    assert np.nanmax(np.abs(plain - low - np.array(levels)[:, None])) < 1e-5  # the waves are as they were
    assert -0.2 <= min(levels) and max(levels) <= 1.0 and np.ptp(levels) > 0.3


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
