"""What a page is refused for once it has been read."""

from __future__ import annotations

import numpy as np
import pytest

from cardioscan.digitization import DigitizerOptions
from cardioscan.errors import RefusalCode, StageError
from cardioscan.inference import OnnxBackend
from cardioscan.page import LEADS, STANDARD_PAGE
from cardioscan.run import PageRun
from cardioscan.search import SURE_NAMES
from cardioscan.synthesis.flat import lay_out
from cardioscan.synthesis.signals import open_signals
from cardioscan.synthesis.style import CLEAN_STYLE


def page_with_names(n_names: int, beside_squares: float = 0.0, scale: float = 1.7) -> PageRun:
    """A page in the middle of its run: its lattice, and lead names beside their nodes by part of a square."""
    run = PageRun(OnnxBackend(), DigitizerOptions(), "page")
    run.nodes = scale * STANDARD_PAGE.lattice() + 100
    labels = STANDARD_PAGE.labels[:n_names]
    beside = scale * STANDARD_PAGE.grid_pitch * beside_squares
    run.labels = np.array([[label.class_id, *(run.nodes[label.j, label.i] + (beside, 0))] for label in labels])
    return run


def contradicting_signals() -> np.ndarray:
    """Twelve leads that have nothing to do with each other."""
    return np.random.default_rng(0).normal(0, 0.2, (len(LEADS), 5000))


@pytest.mark.parametrize(
    ("names", "beside", "in_place"), [(0, 0.0, 0), (9, 0.0, 9), (9, 0.4, 9), (9, 0.6, 0), (13, -0.4, 13)]
)
def test_names_stand_at_their_nodes_or_not(names: int, beside: float, in_place: int) -> None:
    run = page_with_names(names, beside)
    run.labels = run.labels.reshape(-1, 3)
    assert run._names_in_place() == in_place


def test_a_name_of_another_place_is_not_in_place() -> None:
    run = page_with_names(13)
    run.labels[:, 0] = np.roll(run.labels[:, 0], 1)
    assert run._names_in_place() < SURE_NAMES


@pytest.mark.parametrize(
    ("names", "beside", "refused"), [(13, 0.0, False), (9, 0.3, False), (8, 0.0, True), (0, 0.0, True)]
)
def test_leads_that_contradict_are_refused_unless_the_page_is_surely_the_right_one(
    names: int, beside: float, refused: bool
) -> None:
    run = page_with_names(names, beside)
    run.labels = run.labels.reshape(-1, 3)
    if refused:
        with pytest.raises(StageError, match="contradict each other") as caught:
            run._refuse_unreadable(contradicting_signals(), 0.3)
        assert caught.value.code == RefusalCode.ALIGNMENT_FAILED
    else:
        run._refuse_unreadable(contradicting_signals(), 0.3)
    run._refuse_unreadable(contradicting_signals(), 0.05)


@pytest.mark.parametrize("in_place", [0, 3, 6, 7, 13])
def test_names_beside_their_places_refuse_whatever_was_read(in_place: int) -> None:
    run, away = page_with_names(13), page_with_names(13, beside_squares=0.7)
    run.labels[in_place:] = away.labels[in_place:]
    if in_place < 7:
        with pytest.raises(StageError, match=f"Only {in_place} of 13 lead names") as caught:
            run._refuse_unreadable(contradicting_signals(), 0.0)
        assert caught.value.code == RefusalCode.ALIGNMENT_FAILED
    else:
        run._refuse_unreadable(contradicting_signals(), 0.0)


def test_a_page_whose_names_nobody_looked_for_is_read() -> None:
    run = page_with_names(13)
    run.labels = None
    run._refuse_unreadable(contradicting_signals(), 0.05)


def test_next_to_nothing_read_is_refused_wherever_the_names_are() -> None:
    signals = contradicting_signals()
    signals[:, 200:] = np.nan
    with pytest.raises(StageError, match="only") as caught:
        page_with_names(13)._refuse_unreadable(signals, 0.0)
    assert caught.value.code == RefusalCode.TRACE_NOT_FOUND


@pytest.mark.parametrize(
    ("read", "best", "samples", "refused"),
    [
        (0.5, 0.05, 1000, True),
        (0.5, 0.3, 1000, False),
        (0.9, 0.05, 1000, False),
        (0.3, 0.0, 1000, True),
        (0.5, 0.6, 500, True),  # a piece of a lead proves nothing
    ],
)
def test_scattered_pieces_are_refused_unless_some_lead_can_be_believed(
    read: float, best: float, samples: int, refused: bool
) -> None:
    run = page_with_names(13)
    run.diagnostics["read"] = read
    signals = contradicting_signals()
    signals[:, samples:] = np.nan
    signals[3] = np.nan
    confidence = np.where(np.isfinite(signals), 0.01, 0).astype(np.float32)
    confidence[7, :1000] = best
    if refused:
        with pytest.raises(StageError, match="shows a trace") as caught:
            run._refuse_guesses(signals, confidence)
        assert caught.value.code == RefusalCode.TRACE_NOT_FOUND
    else:
        run._refuse_guesses(signals, confidence)


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
    run.diagnostics["lattice_score"] = seen

    def cover() -> None:
        asked.append(run.nodes)
        run.coverage = coverage

    monkeypatch.setattr(run, "_cover", cover)
    run.extract()
    assert len(asked) == looks
    assert np.abs(asked[-1] - STANDARD_PAGE.lattice())[8:-2, 2:-2].max() < 0.6
