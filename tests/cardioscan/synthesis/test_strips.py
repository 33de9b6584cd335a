"""Strips of a page as rectification leaves it."""

from __future__ import annotations

import numpy as np
import pytest

from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.synthesis.flat import Region, lay_out
from cardioscan.synthesis.recipes import RECIPES
from cardioscan.synthesis.simulator import SimulatedSignals
from cardioscan.synthesis.strips import waveform_strip
from cardioscan.synthesis.style import random_style

SIGNALS = SimulatedSignals(4, seed=5)
SHEET = REFERENCE_PAGE.sheet


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_recipes_render_in_range_and_repeatably(recipe: str) -> None:
    pictures = []
    for _ in range(2):
        rng = np.random.default_rng(11)
        page = lay_out(SIGNALS.record(0), random_style(rng, RECIPES[recipe].variety), rng, REFERENCE_PAGE)
        sample = waveform_strip(page, RECIPES[recipe], Region(600, 484, 128, 640), rng)
        assert sample.image.shape == (640, 128, 3) and sample.image.dtype == np.uint8
        assert sample.coverage.shape == (4, 640, 128) and sample.coverage.max() > 200
        pictures.append(sample.image)
    assert np.array_equal(*pictures)
