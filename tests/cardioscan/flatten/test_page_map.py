from __future__ import annotations

import cv2
import numpy as np
import pytest

from cardioscan.errors import RefusalCode, StageError
from cardioscan.flatten.page_map import (
    NodeDetections,
    PageMap,
    read_nodes,
    rectify,
    resolve_lattice,
    soften,
)
from cardioscan.imaging.geometry import transform_points
from cardioscan.locate.homography import LabelKeypoints
from cardioscan.page.template import STANDARD_PAGE

NOMINAL = STANDARD_PAGE.aligned.from_reference(STANDARD_PAGE.lattice())
PITCH = STANDARD_PAGE.grid_pitch * STANDARD_PAGE.aligned.scale
ROW, COLUMN = np.mgrid[0:44, 0:57]


def warp(points, amplitude=1.2, seed=0):
    """A smooth map of the aligned frame: rest of a perspective, and bends of up to ``amplitude`` squares."""
    rng = np.random.default_rng(seed)
    h = np.eye(3) + np.array([[4e-3, 6e-3, -6], [-5e-3, -4e-3, 5], [6e-6, -8e-6, 0]])
    x, y = points[..., 0], points[..., 1]
    a, b, c, d = rng.uniform(0, 2 * np.pi, 4)
    bend = np.stack(
        [np.sin(x / 260 + a) * np.cos(y / 300 + b), np.sin(x / 290 + y / 700 + c) * np.cos(y / 420 + d)], axis=-1
    )
    return transform_points(h, points) + 0.8 * amplitude * PITCH * bend


def detect(nodes, keep=None, noise=0.0, index_noise=0.15, false=0.0, seed=1):
    rng = np.random.default_rng(seed)
    keep = np.ones(nodes.shape[:2], bool) if keep is None else keep
    points = nodes[keep]
    coordinates = np.stack([COLUMN[keep], ROW[keep]], axis=1).astype(float)
    points = points + rng.normal(0, noise, points.shape) if noise else points
    count = int(false * len(points))
    wild = rng.uniform([0, 0], [1440, 1152], (count, 2))
    guess = (wild - NOMINAL[0, 0]) / PITCH
    points = np.concatenate([points, wild])
    coordinates = np.concatenate([coordinates, guess])
    coordinates = coordinates + rng.normal(0, index_noise, coordinates.shape)
    order = rng.permutation(len(points))
    return NodeDetections(points[order], coordinates[order], rng.uniform(0.5, 1, len(points)))


def text_and_trace_gaps():
    keep = np.ones((44, 57), bool)
    keep[0:4, 0:7] = keep[0:2, 14:20] = keep[0:2, 29:42] = False
    keep[17:19, 4:52:3] = keep[24:27, 10:50:4] = False
    keep[30:36, 20:27] = keep[5:11, 44:52] = False
    keep[38:41, 0:3] = False
    return keep


def error(lattice, nodes):
    return np.linalg.norm(lattice.nodes - nodes, axis=-1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("gaps", "false", "noise", "typical", "p95", "worst"),
    [
        (False, 0.0, 0.0, 0.01, 0.02, 0.1),
        (True, 0.0, 0.0, 0.01, 0.1, 1.2),
        (True, 0.05, 0.0, 0.01, 0.1, 2.2),
        (True, 0.05, 0.3, 0.25, 0.5, 2.5),
    ],
)
def test_lattice_follows_a_bent_page(seed, gaps, false, noise, typical, p95, worst):
    nodes = warp(NOMINAL, seed=seed)
    keep = text_and_trace_gaps() if gaps else None
    lattice = resolve_lattice(detect(nodes, keep, noise=noise, false=false, seed=seed))
    apart = error(lattice, nodes)
    assert np.median(apart) < typical
    assert np.percentile(apart, 95) < p95
    assert apart.max() < worst
    if gaps:
        assert (lattice.observed & ~keep).mean() < 0.003
        assert lattice.observed[keep].mean() > 0.995
    assert lattice.score > 0.8
    assert lattice.index_agreement > 0.9


def test_indices_that_slip_in_a_patch_are_put_right():
    nodes = warp(NOMINAL, seed=4)
    seen = detect(nodes, text_and_trace_gaps())
    patch = (seen.points[:, 0] > 700) & (seen.points[:, 1] > 500)
    coordinates = seen.coordinates + np.where(patch[:, None], [1.0, -1.0], 0.0)
    lattice = resolve_lattice(NodeDetections(seen.points, coordinates, seen.scores))
    assert np.percentile(error(lattice, nodes), 95) < 0.1
    assert lattice.index_agreement < 0.85


def test_an_island_is_placed_by_its_own_votes():
    keep = np.zeros((44, 57), bool)
    keep[3:41, 3:26] = keep[5:30, 32:54] = True
    nodes = warp(NOMINAL, 0.5, seed=2)
    lattice = resolve_lattice(detect(nodes, keep, index_noise=0.3))
    assert error(lattice, nodes)[keep].max() < 0.1


def labels_at(nodes, shift=(0, 0)):
    points = np.array([nodes[label.j + shift[0], label.i + shift[1]] for label in STANDARD_PAGE.labels])
    classes = np.array([label.class_id for label in STANDARD_PAGE.labels])
    return LabelKeypoints(classes, points + np.random.default_rng(0).normal(0, 2, points.shape), np.ones(len(classes)))


@pytest.mark.parametrize("slip", [(1, 0), (0, -1), (-1, 1)])
def test_lead_names_settle_a_slip_of_the_whole_lattice(slip):
    nodes = warp(NOMINAL, 0.6, seed=3)
    seen = detect(nodes)
    slipped = NodeDetections(seen.points, seen.coordinates + slip, seen.scores)
    lattice = resolve_lattice(slipped, anchors=labels_at(nodes))
    assert error(lattice, nodes).max() < 0.5


def test_lead_names_that_disagree_change_nothing():
    nodes = warp(NOMINAL, 0.6, seed=3)
    anchors = labels_at(nodes)
    scattered = np.random.default_rng(1).permutation(anchors.points)
    lattice = resolve_lattice(detect(nodes), anchors=LabelKeypoints(anchors.class_ids, scattered, anchors.scores))
    assert error(lattice, nodes).max() < 0.1


@pytest.mark.parametrize(
    "seen",
    [
        NodeDetections(np.empty((0, 2)), np.empty((0, 2)), np.empty(0)),
        NodeDetections(
            np.random.default_rng(0).uniform(0, 1100, (900, 2)),
            np.random.default_rng(1).uniform(0, 43, (900, 2)),
            np.ones(900),
        ),
        detect(NOMINAL, (ROW < 13) & (COLUMN < 13) & (ROW > 2)),
    ],
    ids=["nothing", "noise", "a corner only"],
)
def test_no_grid_is_refused(seen):
    with pytest.raises(StageError) as caught:
        resolve_lattice(seen)
    assert caught.value.code is RefusalCode.GRID_NOT_FOUND


def network_maps(nodes, keep, as_bytes):
    """What a perfect grid rectifier answers for a page with these nodes."""
    probability = np.zeros((288, 360))
    offset = np.full((2, 288, 360), 9.0, np.float32)
    y, x = np.mgrid[:288, :360] * 4 + 1.5
    for cx, cy in nodes[keep]:
        if not (8 < cx < 1430 and 8 < cy < 1140):
            continue
        r, c = round((cy - 1.5) / 4), round((cx - 1.5) / 4)
        window = np.s_[r - 2 : r + 3, c - 2 : c + 3]
        apart = np.hypot(x[window] - cx, y[window] - cy)
        probability[window] = np.maximum(probability[window], np.clip(1.6 - apart / 5, 0, 1))
        offset[0][window], offset[1][window] = cx - x[window], cy - y[window]
    # Nodes are a smooth map of line numbers; the inverse at cells by a straight local rule is near enough.
    nearest = np.stack([(x - NOMINAL[0, 0, 0]) / PITCH, (y - NOMINAL[0, 0, 1]) / PITCH])
    if as_bytes:
        probability = np.rint(probability * 255).astype(np.uint8)
    return probability, offset, nearest.astype(np.float32)


@pytest.mark.parametrize("as_bytes", [False, True])
def test_read_nodes_finds_each_crossing_once(as_bytes):
    nodes = NOMINAL + 1.3 * np.sin(NOMINAL[..., ::-1] / 90)
    keep = text_and_trace_gaps()
    found = read_nodes(*network_maps(nodes, keep, as_bytes))
    assert len(found) == keep.sum()
    apart = np.linalg.norm(found.points[:, None] - nodes[keep][None], axis=2).min(axis=1)
    assert apart.max() < 0.02
    lattice = resolve_lattice(found)
    assert error(lattice, nodes)[keep].max() < 0.2


def test_read_nodes_of_an_empty_map():
    found = read_nodes(np.zeros((288, 360), np.uint8), np.zeros((2, 288, 360)), np.zeros((2, 288, 360)))
    assert len(found) == 0


class TestDenseMap:
    image_nodes = warp(NOMINAL, seed=1) * 1.9 + 31

    def test_exact_at_nodes_and_on_a_homography(self):
        matrix = np.array([[1.4, 0.1, 100], [-0.08, 1.5, 300], [2e-5, -1e-5, 1]])
        map_x, map_y = PageMap.of(transform_points(matrix, STANDARD_PAGE.lattice())).dense()
        assert map_x.shape == map_y.shape == (1700, 2200)
        assert map_x.dtype == np.float32
        ys, xs = np.mgrid[0:1700:50, 0:2200:50]
        expected = transform_points(matrix, np.stack([xs, ys], axis=-1))
        assert np.abs(map_x[::50, ::50] - expected[..., 0]).max() < 5e-3
        assert np.abs(map_y[::50, ::50] - expected[..., 1]).max() < 5e-3

    def test_passes_through_bent_nodes(self):
        map_x, map_y = PageMap.of(self.image_nodes).dense()
        lattice = STANDARD_PAGE.lattice()
        for j, i in ((0, 0), (5, 9), (20, 31), (43, 55)):
            x, y = lattice[j, i]
            column, row = int(x), int(y)
            # A bilinear look between pixels is enough at a hundredth of a pixel.
            fx, fy = x - column, y - row
            patch_x, patch_y = map_x[row : row + 2, column : column + 2], map_y[row : row + 2, column : column + 2]
            patch_x, patch_y = (
                np.pad(patch_x, ((0, 2 - len(patch_x)), (0, 0)), "edge"),
                np.pad(patch_y, ((0, 2 - len(patch_y)), (0, 0)), "edge"),
            )
            weights = np.outer([1 - fy, fy], [1 - fx, fx])
            assert (weights * patch_x).sum() == pytest.approx(self.image_nodes[j, i, 0], abs=0.02 if j < 43 else 2)
            assert (weights * patch_y).sum() == pytest.approx(self.image_nodes[j, i, 1], abs=0.02 if j < 43 else 2)

    def test_every_second_pixel(self):
        full, _ = PageMap.of(self.image_nodes).dense()
        half, _ = PageMap.of(self.image_nodes, step=2).dense()
        assert np.allclose(half, full[::2, ::2], atol=1e-3)

    @pytest.mark.parametrize("scale", [0.7, 1.0, 2.3])
    def test_ratio(self, scale):
        assert PageMap.of(scale * STANDARD_PAGE.lattice()).ratio == pytest.approx(scale, rel=1e-3)


BENT = transform_points(np.array([[1.1, 0.02, 30], [-0.03, 1.05, 60], [1e-5, -2e-5, 1]]), STANDARD_PAGE.lattice())
BENT = BENT + 4 * np.sin(STANDARD_PAGE.lattice()[..., ::-1] / 150)


def test_single_points_lie_where_the_dense_map_has_them():
    page_map = PageMap.of(BENT)
    map_x, map_y = page_map.dense()
    pixels = np.random.default_rng(0).integers(0, (2200, 1700), (40, 50, 2))
    wanted = np.stack([map_x[pixels[..., 1], pixels[..., 0]], map_y[pixels[..., 1], pixels[..., 0]]], axis=-1)
    assert np.abs(page_map.at(pixels.reshape(-1, 2).astype(float)) - wanted.reshape(-1, 2)).max() < 2e-3
    assert np.isnan(page_map.at(np.array([[np.nan, 3.0]]))).all()


@pytest.mark.parametrize("columns", [slice(None), slice(0, 30), slice(1017, 1046), slice(2190, 2300)])
@pytest.mark.parametrize("fill", [255, None])
def test_pages_sampled_by_tiles_are_those_of_the_dense_map(columns, fill):
    """But for the fixed point of OpenCV's weights: places differ by its last bit, brightness by a level or two."""
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (1900, 2500, 3), dtype=np.uint8), (0, 0), 2.0)
    page_map = PageMap.of(BENT)
    border = cv2.BORDER_REPLICATE if fill is None else cv2.BORDER_CONSTANT
    maps = page_map.dense()
    wanted = cv2.remap(image, *maps, cv2.INTER_LINEAR, borderMode=border, borderValue=(fill or 0,) * 3)[:, columns]
    found = page_map.sample(image, fill, columns)
    assert found.shape == wanted.shape
    assert np.mean(np.abs(found.astype(int) - wanted) > 2) < 1e-3


@pytest.mark.parametrize("scale", [1.01, 1.2, 1.35, 1.6])
def test_sampling_costs_no_sharpness(scale):
    """Waves of six pixels of the page keep their contrast, in the mean over all places between pixels."""
    period = 6 * scale
    x = np.arange(round(2300 * scale))
    wave = (128.5 + 60 * np.sin(2 * np.pi * x / period)).astype(np.uint8)
    image = np.ascontiguousarray(np.broadcast_to(wave[:, None], (round(1800 * scale), wave.size, 3)))
    page_map = PageMap.of(scale * STANDARD_PAGE.lattice() + (3.3, 5.0))
    row = page_map.sample(soften(image, page_map))[100, 100:2100, 0].astype(float)
    kept = np.abs(np.mean((row - row.mean()) * np.exp(2j * np.pi * np.arange(row.size) / 6))) * 2 / 60
    blurred = np.exp(-0.5 * (2 * np.pi / period) ** 2 * max(0.16 * (scale**2 - 1), 0) * (scale > 1.25))
    assert kept == pytest.approx(blurred, abs=0.03)


@pytest.mark.parametrize("step", [1, 4])
@pytest.mark.parametrize("rim", [0.5, 0.0])
def test_what_lies_inside_the_picture(step, rim):
    page_map = PageMap.of(BENT - (80.0, 75.0), step=step)
    shape = (1700, 2250, 3)
    x, y = page_map.dense()
    wanted = (x >= -rim) & (x <= shape[1] - 1 + rim) & (y >= -rim) & (y <= shape[0] - 1 + rim)
    inside = page_map.inside(shape, rim)
    assert 0.5 < wanted.mean() < 1
    assert np.mean(inside != wanted) < 1e-4  # rounding, where the rim is crossed
    assert page_map.inside((9000, 9000)).mean() > wanted.mean()
    assert PageMap.of(BENT + 200, step=step).inside((9000, 9000)).all()


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_rectify_undoes_the_picture(scale):
    height, width = int(1400 * scale), int(2300 * scale)
    image = np.full((height, width, 3), 40, np.uint8)
    image[..., 0] = np.arange(width) / width * 255
    image[..., 1] = (np.arange(height) / height * 255)[:, None]
    nodes = scale * (STANDARD_PAGE.lattice() + 40)
    page, valid = rectify(image, PageMap.of(nodes))
    assert page.shape == (1700, 2200, 3)
    assert page.dtype == np.uint8
    assert abs(int(page[500, 900, 0]) - 940 * scale / width * 255) < 2
    assert abs(int(page[500, 900, 1]) - 540 * scale / height * 255) < 2
    assert valid[1300].all()
    assert not valid[1400].any()
    assert (page[1420] == 255).all()


def test_rectify_does_not_alias():
    """Stripes finer than the page can carry come out grey, not as a false coarse pattern."""
    image = np.zeros((1720, 2240, 3), np.uint8)
    image[:, ::2] = 200
    page, _ = rectify(
        np.ascontiguousarray(np.repeat(image, 2, axis=0)), PageMap.of((1.015, 2) * STANDARD_PAGE.lattice())
    )
    coarse = page[200:800:7, 200:1800, 0].astype(float)
    assert np.ptp(coarse.reshape(-1, 100, 16).mean(axis=-1)) < 60
