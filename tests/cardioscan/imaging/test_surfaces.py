"""Smooth surfaces over a lattice."""

from __future__ import annotations

import numpy as np
import pytest

from cardioscan.imaging import surfaces as g


class TestSmoothLattice:
    j, i = np.mgrid[:44, :57].astype(float)

    def test_planes_cost_nothing(self):
        plane = np.stack([2 * self.i - self.j, 0.3 * self.j + 7], axis=-1)
        weights = np.zeros((44, 57))
        weights[10:20, 30:45] = 1
        assert np.allclose(g.smooth_lattice(plane, weights, 30.0), plane, atol=1e-3)

    def test_missing_values_may_be_nan(self):
        values = np.stack([self.i, self.j], axis=-1)
        weights = np.ones((44, 57))
        weights[5:12, 6:13] = 0
        values[5:12, 6:13] = np.nan
        filled = g.smooth_lattice(values, weights, 0.1)
        assert np.allclose(filled[..., 0], self.i, atol=1e-3)  # 56 in float32

    @pytest.mark.parametrize(("rows", "kind"), [(slice(10, 20), np.float32), (slice(5, 30), np.float64)])
    def test_few_digits_are_used_where_they_are_enough(self, rows, kind, monkeypatch):
        used = []
        solve = g.solveh_banded

        def watched(bands, *rest, **how):
            used.append(bands.dtype)
            return solve(bands, *rest, **how)

        monkeypatch.setattr(g, "solveh_banded", watched)
        weights = np.ones((44, 57))
        weights[rows, 20:45] = 1e-9
        wave = np.sin(self.i / 6) * np.cos(self.j / 5)
        found = g.smooth_lattice(wave[..., None], weights, 1e-3)
        monkeypatch.setattr(g, "_MAX_FLOAT32_GAP_NODES", -1.0)
        wanted = g.smooth_lattice(wave[..., None], weights, 1e-3)
        assert used == [kind, np.float64]
        assert np.abs(found - wanted).max() < 5e-4

    def test_gap_in_a_wave(self):
        wave = 10 * np.sin(self.i / 8) * np.cos(self.j / 9)
        weights = np.ones((44, 57))
        weights[15:21, 20:28] = 0
        assert np.abs(g.smooth_lattice(wave[..., None], weights, 0.05)[..., 0] - wave).max() < 0.1

    def test_one_wild_value_is_found(self):
        wave = 5 * np.sin(self.i / 8)
        wild = wave.copy()
        wild[20, 20] += 30
        surface, distance = g.robust_lattice(wild[..., None], np.ones((44, 57)), 30.0, (10.0, 5.0, 2.0))
        assert np.unravel_index(np.argmax(distance), distance.shape) == (20, 20)
        assert np.abs(surface[..., 0] - wave).max() < 0.1

    def test_needs_a_lattice(self):
        with pytest.raises(ValueError, match="4 x 4"):
            g.smooth_lattice(np.zeros((3, 9, 1)), np.ones((3, 9)), 1.0)


SIDES = np.mgrid[:44, :57].astype(float)


@pytest.mark.parametrize(
    ("smoothness", "most", "typical"),
    [(0.3, 0.3, 0.05), (3.0, 0.05, 0.01), (30.0, 0.03, 0.005), (300.0, 0.005, 0.001), (1e5, 3e-3, 1e-3)],
)
@pytest.mark.parametrize("depth", [1, 2])
def test_few_knots_give_the_surface_that_all_nodes_would(monkeypatch, smoothness, most, typical, depth):
    """In units of the values' noise, with nodes without weight and a hole."""
    rng = np.random.default_rng(0)
    j, i = SIDES
    wave = 6 * np.sin(i / 6) * np.cos(j / 7) + 3 * np.sin(i / 15)
    values = wave[..., None] + rng.normal(0, 1, (*wave.shape, depth))
    weights = rng.random(wave.shape) * (rng.random(wave.shape) > 0.2)
    weights[10:16, 20:30] = 0
    values[weights == 0] = np.nan
    fast = g.smooth_lattice(values, weights, smoothness)
    monkeypatch.setattr(g, "_MIN_SPLINE_NODES", 1000)
    exact = g.smooth_lattice(values, weights, smoothness)
    assert fast.shape == exact.shape == (44, 57, depth)
    assert not np.array_equal(fast, exact)  # or the two ways would be one
    assert np.abs(fast - exact).max() < most
    assert np.sqrt(np.mean((fast - exact) ** 2)) < typical


@pytest.mark.parametrize("smoothness", [0.1, 3.0, 100.0, 1e4])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_waves_are_damped_as_their_third_differences_say(smoothness, share):
    """Of a wave of L nodes 1 / (1 + smoothness (2 sin(pi / L))^6) is left: half where smoothness = (L / 2 pi)^6."""
    length = np.pi / np.arcsin(((1 / share - 1) / smoothness) ** (1 / 6) / 2)
    wave = np.sin(2 * np.pi * np.arange(240) / length) * np.ones((40, 1))
    smooth = g.smooth_lattice(wave[..., None], np.ones(wave.shape), smoothness, crossover=1e6)[..., 0]
    inner = slice(80, 160)
    left = np.dot(smooth[20, inner], wave[20, inner]) / np.dot(wave[20, inner], wave[20, inner])
    assert left == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize(("waves", "noise", "stiffest"), [(0.3, 0.5, True), (3.0, 0.01, False)])
def test_a_surface_is_as_stiff_as_predicting_allows(waves, noise, stiffest):
    rng = np.random.default_rng(4)
    j, i = np.mgrid[:30, :40]
    truth = np.sin(2 * np.pi * waves * i / 40) * np.cos(2 * np.pi * waves * j / 30)
    values = (truth + rng.normal(0, noise, truth.shape))[..., None]
    fold = (i + j) % 2
    ladder = (1e-4, 1e-2, 1.0, 100.0, 1e5)
    chosen = g.cross_validated_smoothness(values, np.ones(truth.shape), fold, ladder)
    assert (chosen >= 100.0) == stiffest

    def missed(smoothness):
        guesses = [g.smooth_lattice(values, (fold != part).astype(float), smoothness)[..., 0] for part in (0, 1)]
        return np.sum((np.where(fold == 0, *guesses) - values[..., 0]) ** 2)

    # What climbing the ladder finds is what trying all of it would have found.
    errors = [missed(smoothness) for smoothness in ladder]
    assert chosen == ladder[max(k for k, error in enumerate(errors) if error <= 1.05 * min(errors))]


def test_single_values_far_off_do_not_decide_how_stiff_a_surface_is():
    rng = np.random.default_rng(5)
    j, i = np.mgrid[:24, :30]
    values = (0.3 * np.sin(i / 2.0) + rng.normal(0, 0.01, i.shape))[..., None]
    spoilt = values.copy()
    spoilt[rng.random(i.shape) < 0.02] += 50
    ladder = (1e-4, 1e-2, 1.0, 100.0, 1e5)
    calm = g.cross_validated_smoothness(values, np.ones(i.shape), (i + j) % 2, ladder, max_error=1.0)
    assert g.cross_validated_smoothness(spoilt, (spoilt < 10)[..., 0] * 1.0, (i + j) % 2, ladder, max_error=1.0) == calm
