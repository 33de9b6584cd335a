from __future__ import annotations

import cv2
import numpy as np
import pytest

from cardioscan.flatten.page_map import PageMap, soften
from cardioscan.imaging.geometry import transform_points
from tests.cardioscan.flatten.perfect_rectifier import LATTICE, NOMINAL, SHEET, warp

IMAGE_NODES = warp(NOMINAL, seed=1) * 1.9 + 31


def test_the_map_is_exact_at_nodes_and_on_a_homography():
    matrix = np.array([[1.4, 0.1, 100], [-0.08, 1.5, 300], [2e-5, -1e-5, 1]])
    map_x, map_y = PageMap.of(transform_points(matrix, LATTICE), SHEET).dense()
    assert map_x.shape == map_y.shape == (1700, 2200)
    assert map_x.dtype == np.float32
    ys, xs = np.mgrid[0:1700:50, 0:2200:50]
    expected = transform_points(matrix, np.stack([xs, ys], axis=-1))
    assert np.abs(map_x[::50, ::50] - expected[..., 0]).max() < 5e-3
    assert np.abs(map_y[::50, ::50] - expected[..., 1]).max() < 5e-3


def test_the_map_passes_through_bent_nodes():
    map_x, map_y = PageMap.of(IMAGE_NODES, SHEET).dense()
    for j, i in ((0, 0), (5, 9), (20, 31), (43, 55)):
        x, y = LATTICE[j, i]
        column, row = int(x), int(y)
        # A bilinear look between pixels is enough at a hundredth of a pixel.
        fx, fy = x - column, y - row
        patch_x, patch_y = map_x[row : row + 2, column : column + 2], map_y[row : row + 2, column : column + 2]
        patch_x, patch_y = (
            np.pad(patch_x, ((0, 2 - len(patch_x)), (0, 0)), "edge"),
            np.pad(patch_y, ((0, 2 - len(patch_y)), (0, 0)), "edge"),
        )
        weights = np.outer([1 - fy, fy], [1 - fx, fx])
        assert (weights * patch_x).sum() == pytest.approx(IMAGE_NODES[j, i, 0], abs=0.02 if j < 43 else 2)
        assert (weights * patch_y).sum() == pytest.approx(IMAGE_NODES[j, i, 1], abs=0.02 if j < 43 else 2)


def test_every_second_pixel_is_mapped_as_all_are():
    full, _ = PageMap.of(IMAGE_NODES, SHEET).dense()
    half, _ = PageMap.of(IMAGE_NODES, SHEET, step=2).dense()
    assert np.allclose(half, full[::2, ::2], atol=1e-3)


@pytest.mark.parametrize("scale", [0.7, 1.0, 2.3])
def test_the_ratio_is_px_of_the_picture_for_a_px_of_the_page(scale):
    assert PageMap.of(scale * LATTICE, SHEET).ratio == pytest.approx(scale, rel=1e-3)


BENT = transform_points(np.array([[1.1, 0.02, 30], [-0.03, 1.05, 60], [1e-5, -2e-5, 1]]), LATTICE)
BENT = BENT + 4 * np.sin(LATTICE[..., ::-1] / 150)


def test_single_points_lie_where_the_dense_map_has_them():
    page_map = PageMap.of(BENT, SHEET)
    map_x, map_y = page_map.dense()
    pixels = np.random.default_rng(0).integers(0, (2200, 1700), (40, 50, 2))
    wanted = np.stack([map_x[pixels[..., 1], pixels[..., 0]], map_y[pixels[..., 1], pixels[..., 0]]], axis=-1)
    assert np.abs(page_map.at(pixels.reshape(-1, 2).astype(float)) - wanted.reshape(-1, 2)).max() < 2e-3
    assert np.isnan(page_map.at(np.array([[np.nan, 3.0]]))).all()


@pytest.mark.parametrize("fill", [255, None])
def test_pages_sampled_by_tiles_are_those_of_the_dense_map(fill):
    """But for the fixed point of OpenCV's weights: places differ by its last bit, brightness by a level or two."""
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (1900, 2500, 3), dtype=np.uint8), (0, 0), 2.0)
    page_map = PageMap.of(BENT, SHEET)
    border = cv2.BORDER_REPLICATE if fill is None else cv2.BORDER_CONSTANT
    maps = page_map.dense()
    wanted = cv2.remap(image, *maps, cv2.INTER_LINEAR, borderMode=border, borderValue=(fill or 0,) * 3)
    found = page_map.sample(image, fill)
    assert found.shape == wanted.shape
    assert np.mean(np.abs(found.astype(int) - wanted) > 2) < 1e-3


@pytest.mark.parametrize("scale", [1.01, 1.2, 1.35, 1.6])
def test_sampling_costs_no_sharpness(scale):
    """Waves of six pixels of the page keep their contrast, in the mean over all places between pixels."""
    period = 6 * scale
    x = np.arange(round(2300 * scale))
    wave = (128.5 + 60 * np.sin(2 * np.pi * x / period)).astype(np.uint8)
    image = np.ascontiguousarray(np.broadcast_to(wave[:, None], (round(1800 * scale), wave.size, 3)))
    page_map = PageMap.of(scale * LATTICE + (3.3, 5.0), SHEET)
    row = page_map.sample(soften(image, page_map))[100, 100:2100, 0].astype(float)
    kept = np.abs(np.mean((row - row.mean()) * np.exp(2j * np.pi * np.arange(row.size) / 6))) * 2 / 60
    blurred = np.exp(-0.5 * (2 * np.pi / period) ** 2 * max(0.16 * (scale**2 - 1), 0) * (scale > 1.25))
    assert kept == pytest.approx(blurred, abs=0.03)


@pytest.mark.parametrize("step", [1, 4])
@pytest.mark.parametrize("rim", [0.5, 0.0])
def test_what_lies_inside_the_picture(step, rim):
    page_map = PageMap.of(BENT - (80.0, 75.0), SHEET, step)
    shape = (1700, 2250, 3)
    x, y = page_map.dense()
    wanted = (x >= -rim) & (x <= shape[1] - 1 + rim) & (y >= -rim) & (y <= shape[0] - 1 + rim)
    inside = page_map.inside(shape, rim)
    assert 0.5 < wanted.mean() < 1
    assert np.mean(inside != wanted) < 1e-4  # rounding, where the rim is crossed
    assert page_map.inside((9000, 9000)).mean() > wanted.mean()
    assert PageMap.of(BENT + 200, SHEET, step).inside((9000, 9000)).all()


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_a_flat_page_undoes_the_picture(scale):
    height, width = int(1400 * scale), int(2300 * scale)
    image = np.full((height, width, 3), 40, np.uint8)
    image[..., 0] = np.arange(width) / width * 255
    image[..., 1] = (np.arange(height) / height * 255)[:, None]
    nodes = scale * (LATTICE + 40)
    page_map = PageMap.of(nodes, SHEET)
    page, valid = page_map.sample(soften(image, page_map)), page_map.inside(image.shape)
    assert page.shape == (1700, 2200, 3)
    assert page.dtype == np.uint8
    assert abs(int(page[500, 900, 0]) - 940 * scale / width * 255) < 2
    assert abs(int(page[500, 900, 1]) - 540 * scale / height * 255) < 2
    assert valid[1300].all()
    assert not valid[1400].any()
    assert (page[1420] == 255).all()


def test_a_flat_page_does_not_alias():
    """Stripes finer than the page can carry come out grey, not as a false coarse pattern."""
    image = np.zeros((1720, 2240, 3), np.uint8)
    image[:, ::2] = 200
    page_map = PageMap.of((1.015, 2) * LATTICE, SHEET)
    page = page_map.sample(soften(np.ascontiguousarray(np.repeat(image, 2, axis=0)), page_map))
    coarse = page[200:800:7, 200:1800, 0].astype(float)
    assert np.ptp(coarse.reshape(-1, 100, 16).mean(axis=-1)) < 60
