from __future__ import annotations

import numpy as np
import pytest

from cardioscan.flatten.line_profiles import _solved, measure_lines
from cardioscan.page.reference import REFERENCE_PAGE

SHEET = REFERENCE_PAGE.sheet
PITCH = SHEET.pitch


def test_small_systems_are_solved_together():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(7, 5, 4, 4))
    normal = root @ np.swapaxes(root, -1, -2) + 0.1 * np.eye(4)
    right = rng.normal(size=(7, 5, 4))
    solution, spread = _solved(normal, right)
    assert np.allclose(solution, np.linalg.solve(normal, right[..., None])[..., 0])
    assert np.allclose(spread, np.linalg.inv(normal)[..., 3, 3])


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.4, -0.7), (-2.25, 1.5)])
def test_displacement_has_the_sign_of_the_lines(shift, lines_at):
    dark = (230 - 120 * lines_at(shift)).astype(np.uint8)
    for axis in (0, 1):
        displacement, variance = measure_lines(dark, np.full_like(dark, 255), axis, SHEET)
        assert displacement.shape == variance.shape == (44, 57)
        inner = np.s_[2:-2, 2:-2]
        assert np.isfinite(variance[inner]).all()
        assert np.abs(displacement - shift[axis])[inner].max() < 0.05


def test_what_is_covered_is_not_measured(lines_at):
    dark = (230 - 120 * lines_at((0.3, 0.0))).astype(np.uint8)
    readable = np.full_like(dark, 255)
    readable[800:1000, 700:900] = 0
    displacement, variance = measure_lines(dark, readable, 0, SHEET)
    j, i = round((900 - 7) / PITCH), round(800 / PITCH)
    assert np.isinf(variance[j, i])
    assert displacement[j, i] == 0
    assert np.isfinite(variance[j, 40])


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_nodes_that_ink_covers_in_part_are_measured_less_surely(share, lines_at):
    """So much of the page may be read along one horizontal line, and all of it along another."""
    rng = np.random.default_rng(3)
    shift, covered, clear, nodes = 0.4, 30, 24, slice(10, 47)
    page = 200 - 100 * lines_at((shift, 0.0)) + rng.normal(0, 6, (SHEET.height, SHEET.width))
    readable = np.full(page.shape, 255, np.uint8)
    y = round(SHEET.lattice()[covered, 0, 1])
    readable[y - 60 + np.flatnonzero(rng.random(120) > share)] = 0
    displacement, variance = measure_lines(page.clip(0, 255).astype(np.uint8), readable, 0, SHEET)
    assert np.isfinite(variance[covered, nodes]).all()
    assert 1 / share < np.median(variance[covered, nodes]) / np.median(variance[clear, nodes]) < 4 / share**2
    off = np.abs(displacement - shift)[covered, nodes] / np.sqrt(variance[covered, nodes])
    assert np.median(off) < 2
    assert off.max() < 5
