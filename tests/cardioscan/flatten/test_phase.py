from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from cardioscan.flatten.phase import measure_displacement, refine_nodes, unwrap
from cardioscan.imaging.geometry import transform_points
from cardioscan.page.template import STANDARD_PAGE

cv2 = pytest.importorskip("cv2")

LATTICE = STANDARD_PAGE.lattice()
PITCH = STANDARD_PAGE.grid_pitch
CAMERA = np.diag([0.6, 0.6, 1.0]) @ np.linalg.inv(np.array([[0.92, 0.03, -60], [-0.02, 0.93, -40], [8e-6, -1e-5, 1]]))
COLOURS = {"red": ((205, 90, 90), (245, 215, 215)), "black": ((50, 50, 50), (180, 180, 180))}


def bend(points, amplitude):
    x, y = points[..., 0], points[..., 1]
    return amplitude * np.stack([np.sin(x / 350 + 1) * np.cos(y / 300), np.sin(x / 420 + 2) * np.cos(y / 330)], axis=-1)


def stripes(u, pitch, width):
    return np.clip((width + 1) / 2 - np.abs((u + pitch / 2) % pitch - pitch / 2), 0, 1)


@lru_cache(maxsize=4)
def photograph(amplitude, colour="red", trace=True, size=(1540, 1190)):
    """A page seen by a camera, bent by ``amplitude`` px: image, true nodes (px)."""
    major, minor = COLOURS[colour]
    y, x = np.mgrid[: size[1], : size[0]].astype(np.float32)
    flat = transform_points(np.linalg.inv(CAMERA), np.stack([x, y], axis=-1))
    page = (flat + bend(flat, amplitude)).astype(np.float32)
    across, down = page[..., 0], page[..., 1]
    image = np.full((*x.shape, 3), 248.0, np.float32)
    for pitch, width, shade in ((PITCH / 5, 0.9, minor), (PITCH, 1.6, major)):
        lines = np.maximum(stripes(across, pitch, width), stripes(down - 7, pitch, width))[..., None]
        image = image * (1 - lines) + lines * np.array(shade, np.float32)
    ink = np.zeros(x.shape, np.float32)
    if trace:
        beat = (across / 157) % 1
        for zero in STANDARD_PAGE.zero_mv_y:
            height = (
                zero - 18 * np.exp(-(((beat - 0.7) / 0.06) ** 2)) - 110 * np.clip(1 - np.abs(beat - 0.4) * 25, 0, 1)
            )
            thick = np.where(np.abs(beat - 0.4) < 0.04, 14, 2)
            ink = np.maximum(ink, np.clip(thick - np.abs(down - height), 0, 1) * ((across > 118) & (across < 2087)))
        image = image * (1 - ink[..., None]) + 30 * ink[..., None]
    image += np.random.default_rng(0).normal(0, 3, x.shape).astype(np.float32)[..., None]
    image[(across < 0) | (across > 2199) | (down < 0) | (down > 1699)] = 70
    source = LATTICE.copy()
    for _ in range(60):
        source = LATTICE - bend(source, amplitude)
    return np.clip(image, 0, 255).astype(np.uint8), transform_points(CAMERA, source)


def inner_error(nodes, truth):
    return np.linalg.norm(nodes - truth, axis=-1)[2:-2, 2:-2]


@pytest.mark.parametrize(
    ("colour", "trace", "typical", "p95"),
    [("red", False, 0.15, 0.4), ("red", True, 0.2, 0.5), ("black", True, 0.3, 1.2)],
)
def test_a_bent_page_is_followed_to_a_fraction_of_a_pixel(colour, trace, typical, p95):
    image, truth = photograph(14.0, colour, trace)
    start = transform_points(CAMERA, LATTICE)
    assert np.median(inner_error(start, truth)) > 4
    nodes, report = refine_nodes(image, start)
    apart = inner_error(nodes, truth)
    assert np.median(apart) < typical
    assert np.percentile(apart, 95) < p95
    assert report.applied
    assert report.confidence.shape == (44, 57)
    assert report.confidence.dtype == np.float32
    # A red grid may stand out in either; a black one has no colour.
    assert report.source in (("chroma", "darkness") if colour == "red" else ("darkness",))
    assert report.rounds[-1].median_px < 0.3
    assert report.moved_px.max() > 5


def test_a_true_lattice_stays():
    image, truth = photograph(14.0, "red", False)
    nodes, report = refine_nodes(image, truth)
    assert report.converged
    assert np.percentile(inner_error(nodes, truth), 95) < 0.3


def test_more_than_half_a_square_is_followed_from_the_lead_names():
    """Far from the labels the start is off by 0.9 squares: only unwrapping finds the right line."""
    image, truth = photograph(0.0, trace=False)
    y = LATTICE[..., 1]
    off = 0.9 * PITCH * np.clip((700 - y) / 700, 0, 1)[..., None] * np.array([0.6, 1.0])
    nodes, report = refine_nodes(image, truth + off)
    apart = inner_error(nodes, truth)
    assert np.percentile(apart, 95) < 0.5
    assert report.applied


@pytest.mark.parametrize("level", [0, 128, 255])
def test_without_a_grid_nothing_moves(level):
    image = np.full((900, 1200, 3), level, np.uint8)
    start = 0.5 * LATTICE + 20
    nodes, report = refine_nodes(image, start)
    assert np.array_equal(nodes, start)
    assert not report.applied
    assert not report.converged
    assert report.rounds == ()


def test_noise_is_no_grid():
    image = np.random.default_rng(0).integers(0, 256, (1000, 1300, 3), dtype=np.uint8)
    start = 0.55 * LATTICE + 20
    nodes, report = refine_nodes(image, start)
    assert not report.applied
    assert np.array_equal(nodes, start)


@pytest.mark.parametrize("grey", [(True, False), (False, True), (True, True), (False, False)])
def test_lines_of_less_colour_than_the_paper_are_lines_in_either_direction(grey):
    """Grey lines are minima of colour on tinted paper: taken for maxima, the page lies half a square beside itself."""
    y, x = np.mgrid[:1700, :2200]
    page = np.empty((1700, 2200, 3))
    page[:] = (225, 216, 175)
    for is_grey, along in zip(grey, (x, y - 7), strict=True):
        line = stripes(along, PITCH, 2.0)[..., None]
        page = page * (1 - line) + line * ((150, 150, 150) if is_grey else (225, 155, 170))
    page += np.random.default_rng(0).normal(0, 25, page.shape[:2])[..., None]
    nodes, report = refine_nodes(np.clip(page, 0, 255).astype(np.uint8), LATTICE + (4.0, -3.0))
    assert report.applied
    assert report.source == "chroma"  # grain is grey, so colour is clearer
    assert inner_error(nodes, LATTICE).max() < 1.0


@pytest.mark.parametrize("shift", [(0.0, 0.0), (5.0, -7.0), (-12.25, 3.5)])
def test_displacement_has_the_sign_of_the_lines(shift):
    y, x = np.mgrid[:1700, :2200]
    lines = np.maximum(stripes(x - shift[0], PITCH, 2), stripes(y - 7 - shift[1], PITCH, 2))
    page = np.repeat((250 - 150 * lines).astype(np.uint8)[..., None], 3, axis=2)
    displacement, confidence = measure_displacement(page)
    assert np.abs(displacement - shift)[3:-3, 3:-3].max() < 0.15
    assert confidence[3:-3, 3:-3].min() > 0.5


class TestUnwrap:
    j, i = np.mgrid[:44, :57].astype(float)
    seeds = (j > 18) & (j < 30) & (i > 20) & (i < 30)

    def wrap(self, values):
        return (values + PITCH / 2) % PITCH - PITCH / 2

    def test_a_slope_through_several_pitches(self):
        truth = (self.j - 24) * 2.2 + (self.i - 25) * 1.5
        quality = np.ones(truth.shape)
        assert np.allclose(unwrap(self.wrap(truth), quality, PITCH, self.seeds), truth)

    def test_goes_round_bad_nodes(self):
        truth = (self.j - 24) * 2.2
        wrapped, quality = self.wrap(truth), np.ones(truth.shape)
        quality[8, 5:40] = 0
        wrapped[8, 5:40] = 17
        result = unwrap(wrapped, quality, PITCH, self.seeds)
        assert np.isnan(result[8, 5:40]).all()
        good = quality > 0
        assert np.allclose(result[good], truth[good])

    def test_regions_apart_stay_near_zero(self):
        truth = np.where(self.i < 28, 3.0, 30.0)
        quality = np.ones(truth.shape)
        quality[:, 28] = 0
        result = unwrap(self.wrap(truth), quality, PITCH, self.seeds)
        assert np.allclose(result[:, :28], 3.0)
        assert np.allclose(result[:, 29:], 30.0 - PITCH)


@pytest.mark.parametrize("name", ["892067079", "91831581"])
def test_clean_pages_lie_where_the_template_says(shared_data, name):
    page = cv2.cvtColor(cv2.imread(str(shared_data / "pages" / f"{name}-0001.png")), cv2.COLOR_BGR2RGB)
    displacement, _ = measure_displacement(page, sigma=60.0)
    assert np.median(np.abs(displacement), axis=(0, 1)).max() < 0.3
    assert np.abs(displacement.mean(axis=(0, 1))).max() < 0.3
    _, report = refine_nodes(page, LATTICE)
    assert report.converged
    assert np.median(report.moved_px) < 0.4
