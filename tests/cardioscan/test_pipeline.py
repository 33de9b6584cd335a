"""The whole pipeline with the released networks, on pages that the project renders itself."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cardioscan import Digitizer, EcgRecord
from cardioscan.backends.inference import OnnxBackend, Tensors
from cardioscan.backends.specs import NAME_PLACES, SPECS
from cardioscan.errors import CardioscanError
from cardioscan.evaluate.measure import compare
from cardioscan.flatten.phase import refine_nodes
from cardioscan.options import PROFILES, DigitizerOptions
from cardioscan.page.layout import Layout
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.page.scale import Source
from cardioscan.plots import overlay_of
from cardioscan.record import Digitization
from cardioscan.synthesis.capture import desk
from cardioscan.synthesis.dataset import render_page
from cardioscan.synthesis.simulator import SimulatedSignals

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def digitizer() -> Digitizer:
    return Digitizer()


@pytest.fixture(scope="module")
def example(digitizer: Digitizer) -> Digitization:
    return digitizer.digitize_with_details(EXAMPLES / "page-photo.jpg")


def test_the_example_photograph_is_digitized(example: Digitization) -> None:
    record = example.record
    assert record.outcome == "digitized", record.reasons
    with np.load(EXAMPLES / "page-photo.npz") as truth:
        score = compare(np.array(record.signals), truth["signals"].astype(np.float64))
        nodes = truth["nodes"]
    assert score.snr_db > 8.0
    assert example.lattice is not None
    inner = np.linalg.norm(example.lattice - nodes, axis=-1)[15:, 2:-2]
    assert np.median(inner) < 2.0
    assert record.heart_rate_bpm is not None and 30 < record.heart_rate_bpm < 250


def test_the_record_says_how_it_came_about(example: Digitization) -> None:
    content = json.loads(json.dumps(example.record.to_json_dict()))
    assert {model["name"] for model in content["models"]} == set(SPECS)
    assert all(model["sha256"] == SPECS[model["name"]].sha256 for model in content["models"])
    assert set(SPECS) <= set(content["timings_s"])
    assert content["calibration"]["px_per_mv"] == pytest.approx(78.74, abs=0.01)
    assert content["calibration"]["gain_source"] == Source.ASSUMED.value
    assert Layout.from_json_dict(content["layout"]) == REFERENCE_PAGE.layout
    assert example.page == REFERENCE_PAGE and 0 < example.page_confidence <= 1
    told = {None, "0001", "0003", "0004", "0005", "0006", "0009", "0010", "0011", "0012"}
    assert example.record.source_category in told


def test_traces_lie_on_the_picture(example: Digitization) -> None:
    assert example.image is not None
    height, width = example.image.shape[:2]
    points = np.concatenate([trace[np.isfinite(trace).all(axis=1)] for trace in example.traces.values()])
    layout = REFERENCE_PAGE.layout
    assert list(example.traces) == [layout.trace_name(cell) for cell in layout.cells]
    assert (points > -5).all() and (points < (width + 5, height + 5)).all()
    assert overlay_of(example).shape == example.image.shape


def test_the_flat_page_is_sampled_when_it_is_asked_for_and_has_its_lines_on_the_lattice(example: Digitization) -> None:
    page = example.rectified
    assert page is not None and page.shape == (1700, 2200, 3) and page.dtype == np.uint8
    assert example.rectified is page
    assert example.row_coverage is not None
    darkness = 255.0 - page.min(axis=2)
    assert darkness[example.row_coverage.max(axis=0) > 250].mean() > 3 * np.median(darkness)
    sheet = REFERENCE_PAGE.sheet
    _, report = refine_nodes(page, sheet.lattice(), sheet, NAME_PLACES)
    assert np.median(report.moved_px[report.clarity > 0.5]) < 0.5  # steep waves beside a line pull single nodes


def test_a_page_refused_before_it_is_flat_has_no_flat_page() -> None:
    assert Digitizer().digitize_with_details(b"nothing").rectified is None


def test_the_same_page_gives_the_same_answer(digitizer: Digitizer, example: Digitization) -> None:
    assert example.image is not None
    again = digitizer.digitize(np.array(example.image))
    np.testing.assert_array_equal(again.signals, example.record.signals)


@pytest.mark.parametrize("orientation", [0, 2])
def test_a_clean_page_scores_well_upright_and_upside_down(digitizer: Digitizer, orientation: int) -> None:
    rng = np.random.default_rng(5)
    rendered = render_page(SimulatedSignals(8, seed=21).record(3), "clean", rng, orientation=orientation)
    record = digitizer.digitize(rendered.image)
    assert record.outcome == "digitized", record.reasons
    assert record.diagnostics["orientation"] == orientation
    assert compare(np.array(record.signals), rendered.page.printed_signals()).snr_db > 12


def no_ecg(kind: str) -> np.ndarray:
    rng = np.random.default_rng(8)
    if kind == "blank":
        return np.full((1200, 1600, 3), 255, np.uint8)
    if kind == "noise":
        return rng.integers(0, 256, (1200, 1600, 3), dtype=np.uint8)
    if kind == "desk":
        return (desk((1600, 1200), rng) * 255).astype(np.uint8)
    squares = np.full((1200, 1600, 3), 250, np.uint8)
    squares[::24] = squares[:, ::24] = (120, 120, 200)
    return squares


@pytest.mark.parametrize("kind", ["blank", "noise", "desk", "squared paper"])
def test_pictures_without_an_ecg_are_refused(digitizer: Digitizer, kind: str) -> None:
    record = digitizer.digitize(no_ecg(kind))
    assert record.outcome == "refused"
    assert record.reasons[0].code in {"no_labels_found", "alignment_failed", "grid_not_found", "trace_not_found"}
    assert np.isnan(record.signals).all() and record.heart_rate_bpm is None


def test_a_file_that_is_no_picture_is_refused_not_raised(digitizer: Digitizer, tmp_path: Path) -> None:
    path = tmp_path / "letter.png"
    path.write_text("Dear colleague")
    record = digitizer.digitize(path)
    assert isinstance(record, EcgRecord) and record.outcome == "refused"
    assert record.reasons[0].code == "not_an_image"


@pytest.mark.parametrize(
    ("profile", "line_rounds", "second_look", "crossing", "arithmetic"),
    [
        ("fast", (1, 1), False, False, "auto"),
        ("balanced", (2, 2), True, True, "auto"),
        ("accurate", (2, 2), True, True, "float"),
    ],
)
def test_profiles_are_options_that_exist_and_changes_go_first(
    profile: str, line_rounds: tuple[int, int], second_look: bool, crossing: bool, arithmetic: str
) -> None:
    options = DigitizerOptions.of_profile(profile)
    assert options == DigitizerOptions(
        line_rounds=line_rounds,
        second_look=second_look,
        crossing=crossing,
        arithmetic=arithmetic,  # type: ignore[arg-type]
    )
    changed = DigitizerOptions.of_profile(profile, second_look=not second_look, threads=3)
    assert changed == replace(options, second_look=not second_look, threads=3)


def test_there_are_three_profiles_and_no_others() -> None:
    assert list(PROFILES) == ["fast", "balanced", "accurate"]
    assert DigitizerOptions.of_profile() == DigitizerOptions()
    with pytest.raises(CardioscanError, match="fast, balanced, accurate"):
        DigitizerOptions.of_profile("quick")


class Listening:
    """Passes questions on and keeps the names of the networks that were asked."""

    def __init__(self) -> None:
        self.backend, self.asked = OnnxBackend(threads=1), list[str]()

    def infer(self, model: str, inputs: Tensors) -> dict[str, NDArray[Any]]:
        self.asked.append(model)
        return self.backend.infer(model, inputs)

    def model_versions(self) -> dict[str, tuple[str, str]]:
        return self.backend.model_versions()


@pytest.mark.parametrize(
    ("page", "source_aware", "place"), [("ecg", False, -1), ("noise", False, -1), ("ecg", True, 0)]
)
def test_the_kind_of_capture_is_asked_once_and_last_where_nothing_waits_for_it(
    page: str, source_aware: bool, place: int
) -> None:
    listening = Listening()
    options = DigitizerOptions(source_aware=source_aware)
    source = EXAMPLES / "page-photo.jpg" if page == "ecg" else no_ecg(page)
    record = Digitizer(listening, options).digitize(source)
    assert record.outcome == ("digitized" if page == "ecg" else "refused")
    assert listening.asked.count("source_classifier") == 1
    assert listening.asked[place] == "source_classifier"
    assert "source_probability" in record.diagnostics
    assert "source_classifier" in {model.name for model in record.models}


def test_opening_ahead_opens_networks_and_imports_the_stages() -> None:
    digitizer = Digitizer(options=DigitizerOptions(threads=1))
    digitizer.open_ahead().join()
    assert isinstance(digitizer.backend, OnnxBackend)
    assert digitizer.backend.model_versions() == {}  # nothing was asked
    assert {"cardioscan.stages", "scipy.signal"} <= sys.modules.keys()


# --- stages
