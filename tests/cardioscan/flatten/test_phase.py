from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from cardioscan.backends.specs import NAME_PLACES
from cardioscan.flatten.phase import refine_nodes
from cardioscan.imaging.geometry import transform_points
from cardioscan.page.reference import REFERENCE_PAGE
from tests.cardioscan.flatten.printed_lines import LATTICE, PITCH, SHEET, clean_page, stripes

CAMERA = np.diag([0.6, 0.6, 1.0]) @ np.linalg.inv(np.array([[0.92, 0.03, -60], [-0.02, 0.93, -40], [8e-6, -1e-5, 1]]))
COLOURS = {"red": ((205, 90, 90), (245, 215, 215)), "black": ((50, 50, 50), (180, 180, 180))}


def bend(points, amplitude):
    x, y = points[..., 0], points[..., 1]
    return amplitude * np.stack([np.sin(x / 350 + 1) * np.cos(y / 300), np.sin(x / 420 + 2) * np.cos(y / 330)], axis=-1)


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
        for zero in REFERENCE_PAGE.zero_y:
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
    nodes, report = refine_nodes(image, start, SHEET, NAME_PLACES)
    apart = inner_error(nodes, truth)
    assert np.median(apart) < typical
    assert np.percentile(apart, 95) < p95
    assert report.applied
    assert report.clarity.shape == (44, 57)
    assert report.clarity.dtype == np.float32
    # A red grid may stand out in either; a black one has no colour.
    assert report.source in (("chroma", "darkness") if colour == "red" else ("darkness",))
    assert report.rounds[-1].median_px < 0.3
    assert report.moved_px.max() > 5


def test_a_true_lattice_stays():
    image, truth = photograph(14.0, "red", False)
    nodes, report = refine_nodes(image, truth, SHEET, NAME_PLACES)
    assert report.converged
    assert np.percentile(inner_error(nodes, truth), 95) < 0.3


def test_more_than_half_a_square_is_followed_from_the_lead_names():
    """Far from the labels the start is off by 0.9 squares: only unwrapping finds the right line."""
    image, truth = photograph(0.0, trace=False)
    y = LATTICE[..., 1]
    off = 0.9 * PITCH * np.clip((700 - y) / 700, 0, 1)[..., None] * np.array([0.6, 1.0])
    nodes, report = refine_nodes(image, truth + off, SHEET, NAME_PLACES)
    apart = inner_error(nodes, truth)
    assert np.percentile(apart, 95) < 0.5
    assert report.applied


@pytest.mark.parametrize("level", [0, 128, 255])
def test_without_a_grid_nothing_moves(level):
    image = np.full((900, 1200, 3), level, np.uint8)
    start = 0.5 * LATTICE + 20
    nodes, report = refine_nodes(image, start, SHEET, NAME_PLACES)
    assert np.array_equal(nodes, start)
    assert not report.applied
    assert not report.converged
    assert report.rounds == ()


def test_noise_is_no_grid():
    image = np.random.default_rng(0).integers(0, 256, (1000, 1300, 3), dtype=np.uint8)
    start = 0.55 * LATTICE + 20
    nodes, report = refine_nodes(image, start, SHEET, NAME_PLACES)
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
    nodes, report = refine_nodes(np.clip(page, 0, 255).astype(np.uint8), LATTICE + (4.0, -3.0), SHEET, NAME_PLACES)
    assert report.applied
    assert report.source == "chroma"  # grain is grey, so colour is clearer
    assert inner_error(nodes, LATTICE).max() < 1.0


@pytest.mark.parametrize("name", ["892067079", "91831581"])
def test_clean_pages_lie_where_the_sheet_says(shared_data, name):
    _, report = refine_nodes(clean_page(shared_data, name), LATTICE, SHEET, NAME_PLACES)
    assert report.converged
    assert np.median(report.moved_px) < 0.4
