"""The table of variants is one the pipeline understands, and each variant does what its name says."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click
import numpy as np
import pytest

from benchmarks.ablation import (
    DEFAULT,
    VARIANTS,
    Measured,
    RememberingBackend,
    Variant,
    changed,
    chosen_variants,
    measure,
    picture_in_window,
    variant_rows,
)
from benchmarks.accuracy import Page
from cardioscan import DigitizerOptions
from cardioscan.backends.inference import Tensors
from cardioscan.backends.specs import NAME_PLACES, RECTIFIER_WINDOW
from cardioscan.errors import StageError
from cardioscan.evaluate.measure import compare, refused_page
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.synthesis.dataset import RenderedPage, render_page
from cardioscan.synthesis.simulator import SimulatedSignals
from cardioscan.synthesis.views import label_map
from cardioscan.waveform import decode_rows


@pytest.fixture(scope="module")
def rendered() -> RenderedPage:
    return render_page(SimulatedSignals(4, seed=2).record(1), "clean", np.random.default_rng(0))


class Counting:
    """A backend that answers with the sum of its input and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def infer(self, model: str, inputs: Tensors) -> dict[str, Any]:
        self.asked += 1
        return {"sum": np.array([len(model) + sum(int(array.sum()) for array in inputs.values())])}

    def model_versions(self) -> dict[str, tuple[str, str]]:
        return {"counting": ("1", "")}


class Labels:
    """A backend that knows where the lead names of a flat page are, and nothing else."""

    def infer(self, model: str, inputs: Tensors) -> dict[str, Any]:
        assert model == "label_detector"
        height, width = inputs["page"].shape[2:]
        scale = min(width / 2200, height / 1700)
        left, top = (width - round(2200 * scale)) // 2, (height - round(1700 * scale)) // 2
        fitting = np.array([[scale, 0, left + (scale - 1) / 2], [0, scale, top + (scale - 1) / 2], [0, 0, 1]])
        rendered = render_page(SimulatedSignals(4, seed=2).record(1), "clean", np.random.default_rng(0))
        labels, _ = label_map(NAME_PLACES, rendered.geometry.after(fitting), (width, height))
        probability = (labels[None] == np.arange(14)[:, None, None]).astype(np.uint8) * 255
        return {"label_probability": probability[None], "orientation_probability": np.eye(8, dtype=np.float32)[:1]}

    def model_versions(self) -> dict[str, tuple[str, str]]:
        return {}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_names_what_exists_and_changes_something(name: str) -> None:
    variant = VARIANTS[name]
    differs = DigitizerOptions(**variant.options) != DigitizerOptions() or variant.window_scale is not None
    for place, value in variant.constants.items():
        module, constant = place.split(":")
        differs |= getattr(import_module(module), constant) is not value
    assert differs == (name != DEFAULT)


def test_an_answer_is_asked_for_once_and_its_time_counted_each_time() -> None:
    counting = Counting()
    backend = RememberingBackend(counting)
    page, other = np.ones((1, 2), np.uint8), np.ones((2, 1), np.uint8)
    first, again = (backend.infer("a", {"page": page})["sum"] for _ in range(2))
    assert counting.asked == 1 and first == again == 3
    once = backend.saved
    assert once[0] > 0
    backend.infer("a", {"page": page})
    np.testing.assert_allclose(backend.saved, 2 * once)
    backend.infer("b", {"page": page})
    backend.infer("a", {"page": other})
    assert counting.asked == 3
    backend.forget()
    backend.infer("a", {"page": page})
    assert counting.asked == 4
    assert backend.model_versions() == counting.model_versions()


@pytest.mark.parametrize("name", [name for name, variant in VARIANTS.items() if variant.constants])
def test_the_decoder_runs_with_changed_constants(name: str) -> None:
    sheet = REFERENCE_PAGE.sheet
    blank = np.zeros((REFERENCE_PAGE.n_rows, sheet.height, sheet.width), np.uint8)
    with changed(VARIANTS[name]), pytest.raises(StageError, match="no row shows a trace"):
        decode_rows(blank, REFERENCE_PAGE, np.ones(blank.shape[1:], bool), np.zeros(sheet.width))


def test_constants_are_changed_inside_the_block_only(rendered: RenderedPage) -> None:
    coverage, truth = rendered.page.coverage(), rendered.page.printed_signals()

    def error_mv(variant: Variant) -> float:
        with changed(variant):
            return compare(decode_rows(coverage, REFERENCE_PAGE).signals, truth).mean_rmse_mv

    fitted, discs, middle = (error_mv(VARIANTS[n]) for n in (DEFAULT, "pen by discs alone", "pen not undone"))
    assert 1.2 * fitted < discs and 1.2 * discs < middle
    with pytest.raises(RuntimeError, match="in between"), changed(VARIANTS["pen not undone"]):
        raise RuntimeError("in between")
    assert error_mv(VARIANTS[DEFAULT]) == pytest.approx(fitted)


@pytest.mark.parametrize("name", ["two warps", "two warps at full size"])
def test_the_first_of_two_warps_puts_the_page_into_the_window(name: str, rendered: RenderedPage) -> None:
    scale = VARIANTS[name].window_scale
    assert scale is not None
    picture = picture_in_window(rendered.image, Labels(), scale)
    assert picture is not None
    window = RECTIFIER_WINDOW
    assert picture.shape == (round(window.height * scale), round(window.width * scale), 3)
    # The page's corners are inside, and outside is the grey of the margin.
    top, left = round(window.offset_y * scale), round(window.offset_x * scale)
    assert (picture[: top - 6] == 128).all() and (picture[:, : left - 6] == 128).all()
    assert picture[top + 6 :, left + 6 : -left - 6].mean() > 200


def test_pages_are_the_outer_loop_and_refused_pages_count(rendered: RenderedPage) -> None:
    truth = rendered.page.printed_signals()
    blank = np.full((1700, 2200, 3), 255, np.uint8)
    pages = [Page("a", blank, truth), Page("b", blank[::2], truth)]
    backend = RememberingBackend(Silent())
    seen = list(measure(pages, [DEFAULT, "einthoven off"], backend, DigitizerOptions()))
    assert [page.name for page, _ in seen] == ["a", "b"]
    for _, results in seen:
        assert list(results) == [DEFAULT, "einthoven off"]
        assert all(score.ratio == 0 and (seconds > 0).all() for score, seconds in results.values())


class Silent:
    """A backend whose networks see nothing at all."""

    def infer(self, model: str, inputs: Tensors) -> dict[str, Any]:
        labels = np.zeros((1, 14, 288, 360), np.uint8)
        labels[:, 0] = 255
        return {
            "source_probability": np.eye(12, dtype=np.float32)[:1],
            "label_probability": labels,
            "orientation_probability": np.eye(8, dtype=np.float32)[:1],
        }

    def model_versions(self) -> dict[str, tuple[str, str]]:
        return {}


def test_variants_are_set_against_the_default(rendered: RenderedPage) -> None:
    truth = rendered.page.printed_signals()
    perfect, refused = compare(truth, truth), refused_page(truth)
    rows = variant_rows(
        "x",
        {
            DEFAULT: Measured([perfect, perfect], [np.array([2.0, 4.0]), np.array([2.0, 4.0])]),
            "other": Measured([perfect, refused], [np.array([4.0, 2.0]), np.array([2.0, 2.0])]),
        },
    )
    assert [row["variant"] for row in rows] == [DEFAULT, "other"]
    assert rows[0]["against default"] == 0 and rows[0]["time ratio"] == rows[0]["CPU ratio"] == 1
    assert rows[1]["against default"] == pytest.approx(-3.01, abs=0.01)
    assert rows[1]["time ratio"] == 1.5 and rows[1]["CPU ratio"] == 0.5
    assert rows[1]["digitized"] == 1 and rows[1]["p10 dB"] is None


def test_the_default_is_always_measured() -> None:
    assert chosen_variants(None) == list(VARIANTS)
    assert chosen_variants("einthoven off, two warps") == [DEFAULT, "einthoven off", "two warps"]
    with pytest.raises(click.UsageError, match="unknown variant 'warp'"):
        chosen_variants("warp")
