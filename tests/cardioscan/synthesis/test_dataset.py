"""Rendered pages and folders of them, with their truth."""

from __future__ import annotations

import numpy as np
import pytest

from cardioscan.errors import CardioscanError
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.synthesis.dataset import render_page, synthesize
from cardioscan.synthesis.simulator import SimulatedSignals

SIGNALS = SimulatedSignals(4, seed=5)
SHEET = REFERENCE_PAGE.sheet


@pytest.mark.parametrize("orientation", range(8))
def test_grid_is_drawn_where_the_geometry_says_in_every_orientation(orientation: int) -> None:
    rendered = render_page(SIGNALS.record(1), "clean", np.random.default_rng(0), orientation=orientation)
    nodes = rendered.geometry.to_image(SHEET.lattice()[2:10, 2:-2]).reshape(-1, 2)
    column, row = np.round(nodes).astype(int).T
    at_nodes = rendered.image[row, column].astype(int)
    assert rendered.image.shape[:2] == ((2200, 1700) if orientation % 2 else (1700, 2200))
    redness = at_nodes[:, 0] - at_nodes[:, 1]
    assert np.mean(redness > 60) > 0.9


def test_synthesize_writes_pages_with_truth(tmp_path) -> None:
    paths = synthesize(tmp_path, 2, "bw_scan", None, seed=3)
    assert [path.suffix for path in paths] == [".jpg", ".jpg"]
    with np.load(paths[0].with_suffix(".npz")) as truth:
        assert truth["signals"].shape == (12, 5000) and truth["nodes"].shape == (44, 57, 2)
    with pytest.raises(CardioscanError, match="unknown recipe"):
        synthesize(tmp_path, 1, "watercolour")


def test_captures_have_the_area_that_is_asked_for_and_their_nodes_within() -> None:
    page = render_page(SIGNALS.record(0), "color_scan", np.random.default_rng(4), megapixels=1.2)
    height, width = page.image.shape[:2]
    assert width * height == pytest.approx(1.2e6, rel=0.01) and 1.2 < width / height < 1.35
    nodes = page.geometry.to_image(SHEET.lattice())
    assert np.ptp(nodes[..., 0]) > 0.85 * width
    assert np.abs(page.geometry.to_page(nodes) - SHEET.lattice()).max() < 0.05
