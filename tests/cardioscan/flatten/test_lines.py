from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
import pytest

from cardioscan.flatten.lines import _local_median, _pattern_share, refine_lines
from cardioscan.flatten.page_map import PageMap
from cardioscan.imaging.surfaces import smooth_lattice
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.synthesis.dataset import render_page
from cardioscan.synthesis.flat import lay_out
from cardioscan.synthesis.simulator import SimulatedSignals
from cardioscan.synthesis.style import CLEAN_STYLE

SHEET = REFERENCE_PAGE.sheet
LATTICE = SHEET.lattice()
PITCH = SHEET.pitch
SIGNALS = SimulatedSignals(8, seed=5)


@lru_cache(maxsize=4)
def photograph(seed):
    """A rendered photograph of crumpled paper, its true lattice, and the lattice that a smooth measurement leaves."""
    rendered = render_page(SIGNALS.record(seed), "phone_photo", np.random.default_rng([11, seed]), size=(2600, 1950))
    truth = rendered.geometry.to_image(LATTICE)
    start = smooth_lattice(truth, np.ones(truth.shape[:2]), 30.0)
    return rendered, truth, start


def errors(nodes, truth):
    """Distances from the truth in px of the page, below the header and away from the rim."""
    ratio = PageMap.of(truth, SHEET).ratio
    return np.linalg.norm(nodes - truth, axis=-1)[14:-2, 2:-2] / ratio


@pytest.mark.parametrize("seed", range(3))
def test_crumpled_paper_is_followed_node_by_node(seed):
    rendered, truth, start = photograph(seed)
    before = errors(start, truth)
    nodes, report = refine_lines(rendered.image, start, SHEET, None, 2)
    after = errors(nodes, truth)
    assert report.applied
    assert report.measured > 0.6
    assert report.precision_px < 0.6
    assert np.median(after) < max(0.5 * np.median(before), 0.06)
    assert np.percentile(after, 90) < max(0.8 * np.percentile(before, 90), 0.2)


def flat_image(raster):
    style = replace(CLEAN_STYLE, raster=raster)
    page = lay_out(SIGNALS.record(0), style, np.random.default_rng(0), REFERENCE_PAGE)
    return (page.draw() * 255 + 0.5).astype(np.uint8)


@pytest.mark.parametrize("raster", [True, False])
def test_the_printers_raster_is_told_from_lines_in_their_places(raster):
    nodes, report = refine_lines(flat_image(raster), LATTICE, SHEET, None, 2)
    # Lines on whole pixels stand up to half a pixel beside the lattice, but the lattice is where the trace has it.
    assert np.median(np.abs(nodes - LATTICE)[14:-2, 2:-2]) < 0.07
    assert all((share > 0.8) == raster and (share < 0.2) != raster for share in report.raster)


@pytest.mark.parametrize(("index", "p90_px"), [(3, 0.55), (5, 0.35)])
def test_rough_paper_is_not_taken_for_mistakes(index, p90_px):
    """Crumpled all over, every node leaves a stiff surface by a pixel or two, and most are right."""
    rendered = render_page(SIGNALS.record(index), "damaged_photo", np.random.default_rng([3, index]), size=(2600, 1950))
    truth = rendered.geometry.to_image(LATTICE)
    start = smooth_lattice(truth, np.ones(truth.shape[:2]), 30.0)
    nodes, report = refine_lines(rendered.image, start, SHEET, None, 2)
    assert report.applied
    assert np.percentile(errors(start, truth), 90) > 2
    assert np.percentile(errors(nodes, truth), 90) < p90_px
    assert np.median(errors(nodes, truth)) < 0.15


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("raster", [True, False])
def test_the_raster_is_told_from_rough_displacement(seed, raster):
    rng = np.random.default_rng(seed)
    bends = smooth_lattice(rng.normal(0, 2, (*LATTICE.shape[:2], 2)), np.ones(LATTICE.shape[:2]), 0.05)
    variance = rng.uniform(0.003, 0.05, LATTICE.shape[:2])
    variance[rng.random(variance.shape) < 0.15] = np.inf
    for axis, offsets in enumerate(SHEET.raster_offsets()):
        pattern = np.broadcast_to(offsets if axis == 0 else offsets[:, None], variance.shape)
        total = bends[..., axis] + pattern * raster
        total += rng.normal(0, np.sqrt(np.where(np.isfinite(variance), variance, 0.0)))
        share = _pattern_share(total, pattern, variance, axis)
        assert abs(share - raster) < 0.25


@pytest.mark.parametrize("name", ["892067079", "91831581"])
def test_clean_pages_show_the_raster_of_the_template(shared_data, name):
    page = cv2.cvtColor(cv2.imread(str(shared_data / "pages" / f"{name}-0001.png")), cv2.COLOR_BGR2RGB)
    nodes, report = refine_lines(page, LATTICE, SHEET, None, 2)
    assert min(report.raster) > 0.8
    assert np.percentile(np.abs(nodes - LATTICE)[14:-2, 2:-2], 95) < 0.2


@pytest.mark.parametrize("known", [True, False])
def test_ink_beside_the_lines_does_not_pull_them(known, lines_at):
    rng = np.random.default_rng(1)
    image = np.full((SHEET.height, SHEET.width, 3), 250, np.float32)
    image -= 140 * lines_at((0.0, 0.0))[..., None]
    ink = np.zeros(image.shape[:2], np.uint8)
    for i in range(8, 50, 3):
        x, y = round(PITCH * i), int(rng.integers(600, 1200))
        ink[y : y + 300, x + 3 : x + 6] = 255
    image[ink > 0] = 90  # as dark as the lines, as on a copy
    page = np.clip(image, 0, 255).astype(np.uint8)
    nodes, report = refine_lines(page, LATTICE, SHEET, ink if known else None, 2)
    assert report.applied
    assert np.abs(nodes - LATTICE)[4:-4, 4:-4].max() < 0.1


def test_the_median_of_known_neighbours():
    values, known = np.arange(81.0).reshape(9, 9), np.ones((9, 9), bool)
    known[:, 8] = False
    assert _local_median(values, known)[4, 4] == np.median(values[1:8, 1:8])
    assert _local_median(values, known)[0, 0] in values[:4, :4]
    assert _local_median(values, np.zeros_like(known)).max() == 0


@pytest.mark.parametrize(("grid", "sampled"), [((240, 90, 90), 2), ((60, 60, 60), 1)])
def test_grey_pages_are_measured_once_until_their_ink_is_known(grid, sampled, monkeypatch, lines_at):
    """A lattice 2 px beside the lines is measured again where the page was sampled anew, but not while ink pulls."""
    page = np.full((SHEET.height, SHEET.width, 3), 250, np.float32)
    page += lines_at((0.0, 0.0))[..., None] * (np.array(grid, np.float32) - 250)
    page[900:905, 300:1900] = 60
    asked, sample = [], PageMap.sample

    def counted(page_map, image):
        asked.append(page_map)
        return sample(page_map, image)

    monkeypatch.setattr(PageMap, "sample", counted)
    _, report = refine_lines(page.clip(0, 255).astype(np.uint8), LATTICE + (2.0, 0.0), SHEET, None, 3)
    assert report.ink_separable == (sampled > 1)
    assert len(asked) == sampled


@pytest.mark.parametrize("level", [0, 128, 255])
def test_without_lines_nothing_moves(level):
    start = 0.5 * LATTICE + 20
    nodes, report = refine_lines(np.full((900, 1200, 3), level, np.uint8), start, SHEET, None, 2)
    assert np.array_equal(nodes, start)
    assert report.displacement is None
    assert not report.applied
    assert report.moved_px == 0
