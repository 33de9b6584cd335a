"""One page on its way: the lattice that it settles on, what the extractor is shown, when it looks again."""

from __future__ import annotations

import numpy as np
import pytest

from cardioscan.backends.inference import OnnxBackend
from cardioscan.options import DigitizerOptions
from cardioscan.page.template import STANDARD_PAGE
from cardioscan.run import PageRun
from cardioscan.synthesis.flat import lay_out
from cardioscan.synthesis.signals import open_signals
from cardioscan.synthesis.style import CLEAN_STYLE


@pytest.mark.parametrize(("waves_px", "typical", "worst"), [(5000.0, 0.25, 1.0), (800.0, 0.8, 2.0), (600.0, 0.8, 2.0)])
def test_the_lattice_is_as_smooth_as_the_paper_and_single_nodes_have_no_say(
    waves_px: float, typical: float, worst: float
) -> None:
    """Nodes come back without their noise and without those that are wrong; folds of 15 squares are kept."""
    rng = np.random.default_rng(11)
    run = PageRun(OnnxBackend(), DigitizerOptions(), "page")
    scale = 1.2
    run.homography = np.diag([scale, scale, 1.0])
    true = scale * STANDARD_PAGE.lattice()
    true[..., 0] += 6 * np.sin(true[..., 1] / waves_px * 2 * np.pi)
    seen = true + rng.normal(0, 0.8, true.shape)
    seen[rng.random(true.shape[:2]) < 0.02] += (9, -9)
    error = np.linalg.norm(run._smoothed(seen) - true, axis=-1)
    assert np.median(error) < typical
    assert np.percentile(error, 99) < worst


@pytest.mark.parametrize(
    ("phase", "seen", "asked"),
    [("auto", True, False), ("auto", False, True), ("always", True, True), ("never", True, False)],
)
def test_the_phase_of_the_grid_is_asked_where_the_network_sees_no_lattice(phase: str, seen: bool, asked: bool) -> None:
    """A grid two px beside the lattice: the phase finds it, a smooth surface stays where the network has put it."""
    run = PageRun(OnnxBackend(), DigitizerOptions(phase_refinement=phase), "page")
    run.homography = np.eye(3)
    run.image = np.full((STANDARD_PAGE.height, STANDARD_PAGE.width, 3), 240, np.uint8)
    lines = np.round(STANDARD_PAGE.lattice()).astype(int)[1:-1, 1:-1]
    run.image[:, lines[0, :, 0] + 2] = (240, 60, 60)
    run.image[lines[:, 0, 1]] = (240, 60, 60)
    moved = run._refined(STANDARD_PAGE.lattice(), seen) - STANDARD_PAGE.lattice()
    assert ("phase" in run.diagnostics) == asked
    assert np.median(moved[..., 0]) == pytest.approx(2.0 * asked, abs=0.3)
    assert np.median(moved[..., 1]) == pytest.approx(0.0, abs=0.3)


class Listener:
    """The released networks, and what each was last shown."""

    def __init__(self) -> None:
        self.backend, self.shown = OnnxBackend(), {}

    def infer(self, model: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.shown[model] = inputs
        return self.backend.infer(model, inputs)


@pytest.mark.parametrize("shares", [(0.0, 0.0), (0.5, 0.2)])
def test_the_extractor_is_shown_the_page_with_its_lines_faded(shares: tuple[float, float]) -> None:
    listener = Listener()
    run = PageRun(listener, DigitizerOptions(line_fading=shares), "page")
    page = np.full((STANDARD_PAGE.height, STANDARD_PAGE.width, 3), 240, np.uint8)
    lines = np.round(STANDARD_PAGE.lattice()).astype(int)[1:-1, 1:-1]  # the outermost leave the page
    x, y = lines[20, 30]
    page[:, lines[0, :, 0]] = 40
    page[lines[:, 0, 1]] = 40
    run._flat = page.copy()
    run._cover()
    shown = listener.shown["waveform_extractor"]["page"][0].transpose(1, 2, 0)
    assert np.abs(shown[y + 15, x] - (40 + 200 * shares[0])).max() <= 1
    assert np.abs(shown[y, x + 15] - (40 + 200 * shares[1])).max() <= 1
    assert np.array_equal(run.rectified, page)  # what is drawn and kept has its lines


@pytest.mark.parametrize(
    ("second_pass", "grid", "seen", "looks"),
    [
        ("auto", (250, 120, 120), 1.0, 1),
        ("auto", (30, 30, 30), 1.0, 2),
        ("auto", (30, 30, 30), 0.5, 1),
        ("always", (250, 120, 120), 1.0, 2),
        ("never", (30, 30, 30), 1.0, 1),
    ],
)
def test_the_extractor_looks_again_where_only_it_tells_ink_from_lines(
    second_pass: str, grid: tuple[int, int, int], seen: float, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    rendered = lay_out(open_signals(None, 1, 3).record(0), CLEAN_STYLE, rng)
    asked = []
    run = PageRun(OnnxBackend(), DigitizerOptions(second_pass=second_pass), "page")
    run.homography = np.eye(3)
    image = np.full((STANDARD_PAGE.height, STANDARD_PAGE.width, 3), 250, np.uint8)
    lines = np.round(STANDARD_PAGE.lattice()).astype(int)[1:-1, 1:-1]
    image[:, lines[0, :, 0]] = grid
    image[lines[:, 0, 1]] = grid
    coverage = rendered.coverage()
    image[coverage.max(axis=0) > 127] = 30
    run.image, run.base = image, STANDARD_PAGE.lattice()
    run.nodes = run._on_lines(None)
    run._flatten()
    run.lattice_score = seen

    def cover() -> None:
        asked.append(run.nodes)
        run.coverage = coverage

    monkeypatch.setattr(run, "_cover", cover)
    run.extract()
    assert len(asked) == looks
    assert np.abs(asked[-1] - STANDARD_PAGE.lattice())[8:-2, 2:-2].max() < 0.6
