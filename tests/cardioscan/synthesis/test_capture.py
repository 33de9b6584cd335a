"""Captured pages: the map from page to picture is exact both ways."""

from __future__ import annotations

import numpy as np
import pytest

from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.synthesis.capture import CaptureGeometry, bend_paper, view_homography
from cardioscan.synthesis.recipes import RECIPES
from cardioscan.synthesis.simulator import SimulatedSignals

SIGNALS = SimulatedSignals(4, seed=5)
SHEET = REFERENCE_PAGE.sheet


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("recipe", ["phone_photo", "damaged_photo", "color_scan"])
def test_page_to_picture_and_back(recipe: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    geometry = CaptureGeometry(
        view_homography(SHEET, RECIPES[recipe], (1600, 1200), rng),
        bend_paper(SHEET, RECIPES[recipe], rng),
    )
    points = SHEET.lattice()
    assert np.abs(geometry.to_page(geometry.to_image(points)) - points).max() < 0.05
