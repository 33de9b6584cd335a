from __future__ import annotations

import numpy as np
import pytest

from cardioscan.errors import RefusalCode, StageError
from cardioscan.geometry import transform_points
from cardioscan.homography import LabelKeypoints
from cardioscan.page import STANDARD_PAGE
from cardioscan.rectification import (
    NodeDetections,
    dense_map,
    map_ratio,
    read_nodes,
    rectify,
    resolve_lattice,
)

NOMINAL = STANDARD_PAGE.aligned.from_reference(STANDARD_PAGE.lattice())
PITCH = STANDARD_PAGE.grid_pitch * STANDARD_PAGE.aligned.scale
J, I = np.mgrid[0:44, 0:57]


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
    coordinates = np.stack([I[keep], J[keep]], axis=1).astype(float)
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
    ("keep", "false", "noise", "inside", "worst"),
    [
        (None, 0.0, 0.0, 0.05, 0.2),
        (text_and_trace_gaps(), 0.0, 0.0, 0.1, 0.8),
        (text_and_trace_gaps(), 0.05, 0.0, 0.1, 0.8),
        (text_and_trace_gaps(), 0.05, 0.3, 0.5, 2.0),
    ],
)
def test_lattice_follows_a_bent_page(seed, keep, false, noise, inside, worst):
    nodes = warp(NOMINAL, seed=seed)
    lattice = resolve_lattice(detect(nodes, keep, noise=noise, false=false, seed=seed))
    apart = error(lattice, nodes)
    print(seed, np.percentile(apart, [50, 95, 99, 100]), lattice)
    assert np.percentile(apart, 95) < inside
    assert apart.max() < worst
