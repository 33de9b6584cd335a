"""The lattice that single lines are measured from: what the network saw, made as smooth as the paper."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from cardioscan.backends.specs import MARGIN_GREY, NAME_PLACES, RECTIFIER_WINDOW
from cardioscan.errors import RefusalCode, StageError
from cardioscan.flatten import first_lattice
from cardioscan.flatten.first_lattice import FirstLattice, SeenLattice, see_lattice, smooth_lattice_of
from cardioscan.flatten.lattice import resolve_lattice
from tests.cardioscan.flatten.perfect_rectifier import (
    ALL,
    LATTICE,
    NOMINAL,
    SHEET,
    Rectifier,
    left_part,
    located,
    ruled,
    warp,
)

BLANK = np.full((SHEET.height, SHEET.width, 3), 240, np.uint8)
RED = (240, 60, 60)


def seen_by(rectifier: Rectifier, scale: float = 1.0) -> SeenLattice:
    return see_lattice(located(BLANK, scale), rectifier, RECTIFIER_WINDOW, NAME_PLACES)


def smoothed(seen: SeenLattice, image: np.ndarray, scale: float = 1.0) -> FirstLattice:
    return smooth_lattice_of(seen, located(image, scale), SHEET, NAME_PLACES)


@pytest.mark.parametrize("scale", [1.0, 1.7])
def test_nodes_of_the_network_are_seen_in_the_picture(scale: float) -> None:
    nodes = warp(NOMINAL, 0.4, seed=3)
    rectifier = Rectifier(nodes)
    seen = seen_by(rectifier, scale)
    truth = scale * (nodes - (RECTIFIER_WINDOW.offset_x, RECTIFIER_WINDOW.offset_y)) / RECTIFIER_WINDOW.scale
    assert np.linalg.norm(seen.nodes - truth, axis=-1)[2:-2, 2:-2].max() < 1.0 * scale
    assert seen.score > 0.9
    assert seen.diagnostics["lattice_score"] == round(seen.score, 4)
    assert seen.diagnostics["lattice_residual_px"] < 0.5


def test_the_network_is_shown_the_window_of_the_page() -> None:
    rectifier = Rectifier()
    see_lattice(located(ruled(RED)), rectifier, RECTIFIER_WINDOW, NAME_PLACES)
    assert rectifier.shown.shape == (1152, 1440, 3)
    assert (rectifier.shown[:60] == MARGIN_GREY).all()
    x, y = NOMINAL[20, 30].round().astype(int)
    assert rectifier.shown[y + 10, x - 1 : x + 2, 1].min() < 180 < rectifier.shown[y + 10, x + 10, 1]


@pytest.mark.parametrize("keep", [~ALL, left_part(0.15), left_part(0.35)], ids=["nothing", "a strip", "a third"])
def test_a_lattice_of_which_little_is_seen_is_that_of_the_homography(keep: np.ndarray) -> None:
    seen = seen_by(Rectifier(keep=keep), 1.3)
    assert seen.score == 0.0 and seen.diagnostics == {"lattice_score": 0.0}
    assert np.allclose(seen.nodes, 1.3 * LATTICE)


def test_half_a_lattice_is_one() -> None:
    seen = seen_by(Rectifier(keep=left_part(0.55)))
    assert 0.5 < seen.score < 0.6
    assert np.linalg.norm(seen.nodes - LATTICE, axis=-1).max() < 0.1


def test_lead_names_in_the_window_settle_a_slip_of_the_lattice(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(first_lattice, "resolve_lattice", lambda *given: asked.append(given) or resolve_lattice(*given))
    rectifier = Rectifier()
    rectifier.maps["label_probability"][0, 5, 100:104, 200:204] = 255
    rectifier.maps["label_probability"][0, 0, 100:104, 200:204] = 0
    seen_by(rectifier)
    ((_, window, places, anchors),) = asked
    assert window is RECTIFIER_WINDOW and places is NAME_PLACES
    assert anchors.class_ids.tolist() == [5] and np.allclose(anchors.points, [[807.5, 407.5]])


@pytest.mark.parametrize(("waves_px", "typical", "worst"), [(5000.0, 0.25, 1.0), (800.0, 0.8, 2.0), (600.0, 0.8, 2.0)])
def test_the_lattice_is_as_smooth_as_the_paper_and_single_nodes_have_no_say(
    waves_px: float, typical: float, worst: float
) -> None:
    """Nodes come back without their noise and without those that are wrong; folds of 15 squares are kept."""
    rng = np.random.default_rng(11)
    scale = 1.2
    true = scale * LATTICE
    true[..., 0] += 6 * np.sin(true[..., 1] / waves_px * 2 * np.pi)
    nodes = true + rng.normal(0, 0.8, true.shape)
    nodes[rng.random(true.shape[:2]) < 0.02] += (9, -9)
    first = smoothed(SeenLattice(nodes, 0.9, {}), BLANK, scale)
    error = np.linalg.norm(first.nodes - true, axis=-1)
    assert np.median(error) < typical
    assert np.percentile(error, 99) < worst
    assert first.diagnostics["lattice_smoothness"] in (1.0, 5.0, 30.0, 300.0)


@pytest.mark.parametrize(("score", "asked"), [(0.9, False), (0.0, True)])
def test_the_phase_of_the_grid_is_asked_where_the_network_sees_no_lattice(score: float, asked: bool) -> None:
    """A grid two px beside the lattice: the phase finds it, a smooth surface stays where the network has put it."""
    seen = SeenLattice(LATTICE, score, {"lattice_score": score})
    first = smoothed(seen, ruled(RED, beside_px=2, paper=240))
    moved = first.nodes - LATTICE
    assert ("phase" in first.diagnostics) == asked != ("lattice_smoothness" in first.diagnostics)
    assert first.diagnostics["lattice_score"] == first.score == score
    assert first.confidence == 1.0
    assert np.median(moved[..., 0]) == pytest.approx(2.0 * asked, abs=0.3)
    assert np.median(moved[..., 1]) == pytest.approx(0.0, abs=0.3)


@pytest.mark.parametrize(("converged", "confidence"), [(True, 1.0), (False, 0.49)])
def test_a_phase_that_does_not_settle_halves_the_confidence(
    converged: bool, confidence: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = SimpleNamespace(applied=True, converged=converged, to_json_dict=lambda: {"converged": converged})
    monkeypatch.setattr(first_lattice, "refine_nodes", lambda image, nodes, sheet, names: (nodes + 1, report))
    first = smoothed(SeenLattice(LATTICE, 0.0, {}), BLANK)
    assert first.confidence == pytest.approx(confidence)
    assert np.array_equal(first.nodes, LATTICE + 1)
    assert first.diagnostics == {"phase": {"converged": converged}}


def test_without_a_grid_the_page_is_refused() -> None:
    with pytest.raises(StageError, match="No printed grid") as caught:
        smoothed(SeenLattice(LATTICE, 0.0, {}), BLANK)
    assert caught.value.code is RefusalCode.GRID_NOT_FOUND
