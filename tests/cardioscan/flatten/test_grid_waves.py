from __future__ import annotations

import cv2
import numpy as np
import pytest

from cardioscan.flatten.grid_waves import BLUR, STEP, grid_sources, measure_waves, unwrap
from tests.cardioscan.flatten.printed_lines import PITCH, SHEET, clean_page, stripes


def displacement_of(page, sigma):
    """How far the lines of a flat page stand beside the lattice, and the confidence, (rows, columns, 2) each."""
    small = cv2.GaussianBlur(page, (0, 0), BLUR * STEP)[::STEP, ::STEP]
    readable = np.ones(small.shape[:2], np.float32)
    sources = grid_sources(np.ascontiguousarray(small, np.uint8))
    results = [measure_waves(field, readable, SHEET, sigma) for field in sources.values()]
    wrapped, clarity = max(results, key=lambda result: float(result[1].min(axis=0).mean()))
    return np.moveaxis(wrapped, 0, -1), np.moveaxis(clarity, 0, -1)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (5.0, -7.0), (-12.25, 3.5)])
def test_displacement_has_the_sign_of_the_lines(shift):
    y, x = np.mgrid[:1700, :2200]
    lines = np.maximum(stripes(x - shift[0], PITCH, 2), stripes(y - 7 - shift[1], PITCH, 2))
    page = np.repeat((250 - 150 * lines).astype(np.uint8)[..., None], 3, axis=2)
    displacement, confidence = displacement_of(page, 28.0)
    assert np.abs(displacement - shift)[3:-3, 3:-3].max() < 0.15
    assert confidence[3:-3, 3:-3].min() > 0.5


@pytest.mark.parametrize("name", ["892067079", "91831581"])
def test_clean_pages_lie_where_the_sheet_says(shared_data, name):
    displacement, _ = displacement_of(clean_page(shared_data, name), 60.0)
    assert np.median(np.abs(displacement), axis=(0, 1)).max() < 0.3
    assert np.abs(displacement.mean(axis=(0, 1))).max() < 0.3


@pytest.mark.parametrize(("colour", "sources"), [((240, 90, 90), {"chroma", "darkness"}), ((90, 90, 90), {"darkness"})])
def test_only_a_coloured_grid_is_looked_for_in_colour(colour, sources):
    page = np.full((425, 550, 3), 250, np.uint8)
    page[::10] = page[:, ::10] = colour
    assert set(grid_sources(page)) == sources


ROW, COLUMN = np.mgrid[:44, :57].astype(float)
SEEDS = (ROW > 18) & (ROW < 30) & (COLUMN > 20) & (COLUMN < 30)


def wrap(values):
    return (values + PITCH / 2) % PITCH - PITCH / 2


def test_a_slope_through_several_pitches_is_unwrapped():
    truth = (ROW - 24) * 2.2 + (COLUMN - 25) * 1.5
    quality = np.ones(truth.shape)
    assert np.allclose(unwrap(wrap(truth), quality, PITCH, SEEDS), truth)


def test_unwrapping_goes_round_bad_nodes():
    truth = (ROW - 24) * 2.2
    wrapped, quality = wrap(truth), np.ones(truth.shape)
    quality[8, 5:40] = 0
    wrapped[8, 5:40] = 17
    result = unwrap(wrapped, quality, PITCH, SEEDS)
    assert np.isnan(result[8, 5:40]).all()
    good = quality > 0
    assert np.allclose(result[good], truth[good])


def test_unwrapped_regions_apart_stay_near_zero():
    truth = np.where(COLUMN < 28, 3.0, 30.0)
    quality = np.ones(truth.shape)
    quality[:, 28] = 0
    result = unwrap(wrap(truth), quality, PITCH, SEEDS)
    assert np.allclose(result[:, :28], 3.0)
    assert np.allclose(result[:, 29:], 30.0 - PITCH)
