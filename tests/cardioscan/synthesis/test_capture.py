"""Captured pages: the map from page to picture is exact both ways, and the truth maps agree with it."""

from __future__ import annotations

import numpy as np
import pytest

from cardioscan.errors import CardioscanError
from cardioscan.page.template import STANDARD_PAGE
from cardioscan.synthesis.capture import CaptureGeometry, bend_paper, view_homography
from cardioscan.synthesis.dataset import render_page, synthesize
from cardioscan.synthesis.flat import Region, lay_out
from cardioscan.synthesis.recipes import RECIPES
from cardioscan.synthesis.simulator import SimulatedSignals
from cardioscan.synthesis.strips import waveform_strip
from cardioscan.synthesis.style import CLEAN_STYLE, random_style
from cardioscan.synthesis.views import grid_sample, label_sample

SIGNALS = SimulatedSignals(4, seed=5)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("recipe", ["phone_photo", "damaged_photo", "color_scan"])
def test_page_to_picture_and_back(recipe: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    geometry = CaptureGeometry(
        view_homography(STANDARD_PAGE, RECIPES[recipe], (1600, 1200), rng),
        bend_paper(STANDARD_PAGE, RECIPES[recipe], rng),
    )
    points = STANDARD_PAGE.lattice()
    assert np.abs(geometry.to_page(geometry.to_image(points)) - points).max() < 0.05


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_recipes_render_in_range_and_repeatably(recipe: str) -> None:
    pictures = []
    for _ in range(2):
        rng = np.random.default_rng(11)
        page = lay_out(SIGNALS.record(0), random_style(rng, RECIPES[recipe].variety), rng)
        sample = waveform_strip(page, RECIPES[recipe], Region(600, 484, 128, 640), rng)
        assert sample.image.shape == (640, 128, 3) and sample.image.dtype == np.uint8
        assert sample.coverage.shape == (4, 640, 128) and sample.coverage.max() > 200
        pictures.append(sample.image)
    assert np.array_equal(*pictures)


@pytest.mark.parametrize("orientation", range(8))
def test_grid_is_drawn_where_the_geometry_says_in_every_orientation(orientation: int) -> None:
    rendered = render_page(SIGNALS.record(1), "clean", np.random.default_rng(0), orientation=orientation)
    nodes = rendered.geometry.to_image(STANDARD_PAGE.lattice()[2:10, 2:-2]).reshape(-1, 2)
    column, row = np.round(nodes).astype(int).T
    at_nodes = rendered.image[row, column].astype(int)
    assert rendered.image.shape[:2] == ((2200, 1700) if orientation % 2 else (1700, 2200))
    redness = at_nodes[:, 0] - at_nodes[:, 1]
    assert np.mean(redness > 60) > 0.9


def test_printed_signals_follow_the_template() -> None:
    page = lay_out(SIGNALS.record(2), CLEAN_STYLE, np.random.default_rng(0))
    printed = page.printed_signals()
    assert np.isfinite(printed).sum(axis=1).tolist() == [1250, 5000, *[1250] * 10]
    assert np.isfinite(printed[3, 1250:2500]).all() and np.isnan(printed[3, :1250]).all()
    missing = lay_out(SIGNALS.record(2), CLEAN_STYLE, np.random.default_rng(0), missing_row=0)
    assert np.isnan(missing.printed_signals()[0]).all()
    assert not missing.coverage()[0].any()


def test_coverage_stands_at_the_signals_height() -> None:
    page = lay_out(SIGNALS.record(3), CLEAN_STYLE, np.random.default_rng(0))
    coverage = page.coverage(Region(118, 0, 1960, 1700))[3].astype(float)
    centre = (coverage * np.arange(1700)[:, None]).sum(axis=0) / coverage.sum(axis=0)
    x = 118 + np.arange(1960)
    truth = STANDARD_PAGE.zero_mv_y[3] - STANDARD_PAGE.px_per_mv * np.interp(
        (x - 118) / STANDARD_PAGE.px_per_sample, np.arange(5000), page.signals[1]
    )
    assert np.median(np.abs(centre - truth)) < 0.5


@pytest.mark.parametrize("seed", range(3))
def test_label_map_centres_on_its_keypoints(seed: int) -> None:
    rng = np.random.default_rng(seed)
    page = lay_out(SIGNALS.record(0), random_style(rng), rng)
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
    sample = grid_sample(lay_out(SIGNALS.record(0), random_style(rng), rng), RECIPES["phone_photo"], rng)
    rows, columns = np.nonzero(sample.points)
    centres = np.stack([4 * columns + 1.5, 4 * rows + 1.5], axis=1)
    found = centres + sample.offsets[:, rows, columns].T
    i, j = np.round(sample.lattice[:, rows, columns]).astype(int)
    inside = (i >= 0) & (i < 57) & (j >= 0) & (j < 44)
    error = np.linalg.norm(sample.nodes[j[inside], i[inside]] - found[inside], axis=1)
    assert np.percentile(error, 99) < 0.1


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
    nodes = page.geometry.to_image(STANDARD_PAGE.lattice())
    assert np.ptp(nodes[..., 0]) > 0.85 * width
    assert np.abs(page.geometry.to_page(nodes) - STANDARD_PAGE.lattice()).max() < 0.05
