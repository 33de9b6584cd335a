from __future__ import annotations

import numpy as np
import pytest

from cardioscan.backends.specs import NAME_PLACES, RECTIFIER_WINDOW
from cardioscan.errors import RefusalCode, StageError
from cardioscan.flatten.lattice import Lattice, NodeDetections, read_nodes, resolve_lattice
from cardioscan.locate.names import LabelKeypoints
from tests.cardioscan.flatten.perfect_rectifier import (
    COLUMN,
    NOMINAL,
    PITCH,
    ROW,
    network_maps,
    text_and_trace_gaps,
    warp,
)


def resolve(seen: NodeDetections, anchors: LabelKeypoints | None = None) -> Lattice:
    return resolve_lattice(seen, RECTIFIER_WINDOW, NAME_PLACES, anchors)


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
    lattice = resolve(detect(nodes, keep, noise=noise, false=false, seed=seed))
    apart = error(lattice, nodes)
    assert np.median(apart) < typical
    assert np.percentile(apart, 95) < p95
    assert apart.max() < worst
    if gaps:
        assert (lattice.observed & ~keep).mean() < 0.003
        assert lattice.observed[keep].mean() > 0.995
    assert lattice.score > 0.8


def test_indices_that_slip_in_a_patch_are_put_right():
    nodes = warp(NOMINAL, seed=4)
    seen = detect(nodes, text_and_trace_gaps())
    patch = (seen.points[:, 0] > 700) & (seen.points[:, 1] > 500)
    coordinates = seen.coordinates + np.where(patch[:, None], [1.0, -1.0], 0.0)
    lattice = resolve(NodeDetections(seen.points, coordinates, seen.scores))
    assert np.percentile(error(lattice, nodes), 95) < 0.1


def test_an_island_is_placed_by_its_own_votes():
    keep = np.zeros((44, 57), bool)
    keep[3:41, 3:26] = keep[5:30, 32:54] = True
    nodes = warp(NOMINAL, 0.5, seed=2)
    lattice = resolve(detect(nodes, keep, index_noise=0.3))
    assert error(lattice, nodes)[keep].max() < 0.1


def labels_at(nodes, shift=(0, 0)):
    points = np.array([nodes[label.j + shift[0], label.i + shift[1]] for label in NAME_PLACES.classes])
    classes = np.array([label.class_id for label in NAME_PLACES.classes])
    return LabelKeypoints(classes, points + np.random.default_rng(0).normal(0, 2, points.shape), np.ones(len(classes)))


@pytest.mark.parametrize("slip", [(1, 0), (0, -1), (-1, 1)])
def test_lead_names_settle_a_slip_of_the_whole_lattice(slip):
    nodes = warp(NOMINAL, 0.6, seed=3)
    seen = detect(nodes)
    slipped = NodeDetections(seen.points, seen.coordinates + slip, seen.scores)
    lattice = resolve(slipped, labels_at(nodes))
    assert error(lattice, nodes).max() < 0.5


def test_lead_names_that_disagree_change_nothing():
    nodes = warp(NOMINAL, 0.6, seed=3)
    anchors = labels_at(nodes)
    scattered = np.random.default_rng(1).permutation(anchors.points)
    lattice = resolve(detect(nodes), LabelKeypoints(anchors.class_ids, scattered, anchors.scores))
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
        resolve(seen)
    assert caught.value.code is RefusalCode.GRID_NOT_FOUND


@pytest.mark.parametrize("as_bytes", [False, True])
def test_read_nodes_finds_each_crossing_once(as_bytes):
    nodes = NOMINAL + 1.3 * np.sin(NOMINAL[..., ::-1] / 90)
    keep = text_and_trace_gaps()
    found = read_nodes(*network_maps(nodes, keep, as_bytes))
    assert len(found) == keep.sum()
    apart = np.linalg.norm(found.points[:, None] - nodes[keep][None], axis=2).min(axis=1)
    assert apart.max() < 0.02
    lattice = resolve(found)
    assert error(lattice, nodes)[keep].max() < 0.2


def test_read_nodes_of_an_empty_map():
    found = read_nodes(np.zeros((288, 360), np.uint8), np.zeros((2, 288, 360)), np.zeros((2, 288, 360)))
    assert len(found) == 0
