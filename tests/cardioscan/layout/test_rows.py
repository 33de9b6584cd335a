"""The stage that says what is printed where on a flat page."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cardioscan.layout.rows import find_rows
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.synthesis.flat import lay_out
from cardioscan.synthesis.simulator import SimulatedSignals
from cardioscan.synthesis.style import PageStyle
from tests.cardioscan.flatten.perfect_rectifier import Flattened, flattened


@pytest.fixture(scope="module")
def printed() -> Flattened:
    signals = SimulatedSignals(4, seed=5).record(1)
    page = lay_out(signals, PageStyle(), np.random.default_rng(5), REFERENCE_PAGE).draw()
    return flattened(np.clip(np.round(255 * page), 0, 255).astype(np.uint8))


def test_rows_are_those_of_the_known_page(printed: Flattened) -> None:
    found = find_rows(printed, REFERENCE_PAGE)
    assert found.page is REFERENCE_PAGE and found.flattened is printed
    assert np.abs(found.bar_displacement).max() < 0.1
    assert found.diagnostics == {
        **printed.diagnostics,
        "separators_px": [round(float(px), 3) for px in found.bar_displacement],
    }


def test_bars_that_are_unclear_are_told_as_none(printed: Flattened) -> None:
    covered = np.array(printed.pixels)
    covered[:, 1070:1135] = 255
    found = find_rows(flattened(covered), REFERENCE_PAGE)
    assert np.isnan(found.bar_displacement).tolist() == [False, True, False]
    assert [px is None for px in found.diagnostics["separators_px"]] == [False, True, False]


def test_a_page_without_bars_has_none(printed: Flattened) -> None:
    found = find_rows(printed, replace(REFERENCE_PAGE, bars=None))
    assert found.bar_displacement.shape == (0,)
    assert found.diagnostics["separators_px"] == []
