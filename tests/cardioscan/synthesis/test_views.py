"""Training samples of whole pages: the truth maps agree with the geometry."""

from __future__ import annotations

import numpy as np
import pytest

from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.synthesis.flat import lay_out
from cardioscan.synthesis.recipes import RECIPES
from cardioscan.synthesis.simulator import SimulatedSignals
from cardioscan.synthesis.style import random_style
from cardioscan.synthesis.views import grid_sample, label_sample

SIGNALS = SimulatedSignals(4, seed=5)
SHEET = REFERENCE_PAGE.sheet


@pytest.mark.parametrize("seed", range(3))
def test_label_map_centres_on_its_keypoints(seed: int) -> None:
    rng = np.random.default_rng(seed)
    page = lay_out(SIGNALS.record(0), random_style(rng), rng, REFERENCE_PAGE)
    sample = label_sample(page, RECIPES["phone_photo"], rng)
    assert sample.image.shape == (1152, 1440, 3) and 0 <= sample.orientation < 8
    assert len(sample.keypoints) >= 8
    for class_id, x, y in sample.keypoints:
        rows, columns = np.nonzero(sample.labels == class_id)
        if 30 < x < 1410 and 30 < y < 1122:
            assert 4 * columns.mean() + 1.5 == pytest.approx(x, abs=2.0)  # half a cell
            assert 4 * rows.mean() + 1.5 == pytest.approx(y, abs=2.0)


def test_lattice_maps_agree_with_the_nodes() -> None:
    rng = np.random.default_rng(4)
    sample = grid_sample(
        lay_out(SIGNALS.record(0), random_style(rng), rng, REFERENCE_PAGE), RECIPES["phone_photo"], rng
    )
    rows, columns = np.nonzero(sample.points)
    centres = np.stack([4 * columns + 1.5, 4 * rows + 1.5], axis=1)
    found = centres + sample.offsets[:, rows, columns].T
    i, j = np.round(sample.lattice[:, rows, columns]).astype(int)
    inside = (i >= 0) & (i < 57) & (j >= 0) & (j < 44)
    error = np.linalg.norm(sample.nodes[j[inside], i[inside]] - found[inside], axis=1)
    assert np.percentile(error, 99) < 0.1
