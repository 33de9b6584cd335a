"""The path through a coverage map: the cheapest of all."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cardioscan.waveform.path import trace_paths
from tests.cardioscan.waveform.drawn_pages import Coverage, Signals


def random_bands(seed: int) -> Coverage:
    """Two rows of 24 px and 18 columns: noise with some runs of ink, the second with blank heights above and below."""
    rng = np.random.default_rng(seed)
    bands = (rng.random((2, 24, 18)) * 60).astype(np.uint8)
    for row, column in rng.integers(0, (2, 18), (24, 2)):
        top = int(rng.integers(2, 18))
        bands[row, top : top + int(rng.integers(2, 8)), column] = 255
    bands[1, :4] = bands[1, 20:] = 0
    return bands


def costs(band: Coverage, free: NDArray[np.bool_]) -> tuple[Signals, Signals]:
    """Of one row in steps of two pixels: leaving a column at a height (W, h), and coming there from each (W, h, h)."""
    ink = (band[::2].astype(float) + band[1::2]).T / 510
    climb = np.cumsum((1 - 1.1 * ink) * 0.2 * np.where(free, 0.01, 1.0)[:, None], axis=1)
    upwards = np.where(np.tri(ink.shape[1]) > 0, 1, -1)
    return -np.log((ink + 0.1) / 1.1), upwards * (climb[:, :, None] - climb[:, None, :])


@pytest.mark.parametrize("seed", range(12))
def test_paths_are_the_cheapest_of_all(seed: int) -> None:
    """But for what is gained by less than rounding, a thousandth in each column."""
    bands = random_bands(seed)
    free = np.zeros((2, bands.shape[2]), bool)
    free[0, 9] = True
    for band, begins, path in zip(bands, free, trace_paths(bands, free), strict=True):
        leaving, moves = costs(band, begins)
        least = leaving[0]
        for left, move in zip(leaving[1:], moves[1:], strict=True):
            least = (least + move).min(axis=1) + left
        steps = ((path - 0.5) / 2).astype(int)
        column = np.arange(len(steps))
        cost = leaving[column, steps].sum() + moves[column[1:], steps[1:], steps[:-1]].sum()
        assert cost == pytest.approx(least.min(), abs=1e-3 * len(steps))
