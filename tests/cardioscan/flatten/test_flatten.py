"""The stage from the picture of a page to the flat page."""

from __future__ import annotations

import numpy as np
import pytest

from cardioscan.arrays import Image
from cardioscan.backends.specs import NAME_PLACES, RECTIFIER_WINDOW
from cardioscan.errors import RefusalCode, StageError
from cardioscan.flatten import flatten as stage
from cardioscan.flatten.first_lattice import FirstLattice, SeenLattice
from cardioscan.flatten.flatten import Flattened, flatten, flatten_by
from cardioscan.locate.locate import Located
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.synthesis.flat import lay_out
from cardioscan.synthesis.signals import open_signals
from cardioscan.synthesis.style import CLEAN_STYLE
from tests.cardioscan.flatten.perfect_rectifier import (
    ALL,
    LATTICE,
    SHEET,
    Rectifier,
    flattened,
    left_part,
    located,
    ruled,
)

RED, GREY, BLACK = (250, 120, 120), (140, 140, 140), (30, 30, 30)
FIRST = FirstLattice(LATTICE, 1.0, 1.0, {})


@pytest.fixture(scope="module")
def ink() -> Image:
    """The traces of a page: (1700, 2200) uint8."""
    page = lay_out(open_signals(None, 1, 3).record(0), CLEAN_STYLE, np.random.default_rng(5), REFERENCE_PAGE)
    return page.coverage().max(axis=0)


def page_with(ink: Image, grid: tuple[int, int, int]) -> Image:
    page = ruled(grid)
    page[ink > 127] = 30
    return page


class Extractor:
    """Finds the ink that is there, and keeps the pages that it is asked about."""

    def __init__(self, ink: Image) -> None:
        self.ink, self.asked = ink, []

    def __call__(self, pixels: Image) -> Image:
        self.asked.append(pixels)
        return self.ink


def flat_page(
    image: Image, rectifier: Rectifier, find_ink: Extractor | None, rounds: tuple[int, int] = (2, 2)
) -> Flattened:
    return flatten(located(image), rectifier, RECTIFIER_WINDOW, NAME_PLACES, rounds, find_ink)


@pytest.mark.parametrize(
    ("grid", "keep", "rounds", "looks"),
    [
        (RED, ALL, (2, 2), 0),
        (BLACK, ALL, (2, 2), 1),
        (BLACK, left_part(0.75), (2, 2), 0),
        (BLACK, left_part(0.85), (2, 2), 1),
        (BLACK, ALL, (2, 0), 0),
        (BLACK, ALL, (0, 2), 1),
        (GREY, ALL, (1, 1), 1),
    ],
    ids=["colour", "black", "part of a lattice", "most of a lattice", "no second", "no first", "grey"],
)
def test_ink_is_asked_for_where_nothing_else_tells_it_from_lines(
    grid: tuple[int, int, int], keep: np.ndarray, rounds: tuple[int, int], looks: int, ink: Image
) -> None:
    extractor = Extractor(ink)
    flat = flat_page(page_with(ink, grid), Rectifier(keep=keep), extractor, rounds)
    assert len(extractor.asked) == looks
    assert all(page.shape == (1700, 2200, 3) for page in extractor.asked)
    assert np.abs(flat.nodes - LATTICE)[8:-2, 2:-2].max() < 0.6
    assert flat.diagnostics["lines"]["applied"]


def test_ink_is_never_asked_for_without_an_extractor(ink: Image) -> None:
    flat = flat_page(page_with(ink, BLACK), Rectifier(), None)
    assert np.abs(flat.nodes - LATTICE)[8:-2, 2:-2].max() < 0.6


def test_lines_are_measured_again_from_where_they_were_found(ink: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, refine_lines = [], stage.refine_lines

    def counted(*given):
        nodes, report = refine_lines(*given)
        calls.append((given, nodes, report))
        return nodes, report

    monkeypatch.setattr(stage, "refine_lines", counted)
    extractor = Extractor(ink)
    flat = flat_page(page_with(ink, BLACK), Rectifier(), extractor, (1, 2))
    (before, _, first), (after, nodes, second) = calls
    assert before[3:] == (None, 1)
    image, start, sheet, known, rounds, page, begun = after
    assert (sheet, rounds) == (SHEET, 2) and known is ink and begun is first.displacement
    assert np.array_equal(start, before[1]) and image is before[0]
    assert page.pixels is extractor.asked[0] and page.valid.shape == (1700, 2200)
    assert flat.lines is second and flat.nodes is nodes


def test_a_second_measurement_that_fails_leaves_the_first(ink: Image) -> None:
    everywhere = Extractor(np.full_like(ink, 255))
    page = page_with(ink, BLACK)
    first, flat = flat_page(page, Rectifier(), None), flat_page(page, Rectifier(), everywhere)
    assert len(everywhere.asked) == 1
    assert np.array_equal(flat.nodes, first.nodes)
    assert flat.lines is not None and not flat.lines.applied
    assert flat.moved_px is None and not flat.diagnostics["lines"]["applied"]


def test_diagnostics_of_all_that_was_done_are_kept() -> None:
    flat = flat_page(ruled(RED), Rectifier(), None)
    assert set(flat.diagnostics) == {
        "labels_found",
        "lattice_score",
        "lattice_residual_px",
        "lattice_smoothness",
        "lines",
    }
    assert flat.lattice_score > 0.95 and flat.sheet == SHEET
    assert flat.moved_px == pytest.approx(flat.diagnostics["lines"]["moved_px"], abs=1e-3)


@pytest.mark.parametrize(
    ("names", "score", "refused"),
    [(5, 1.0, True), (6, 1.0, False), (8, 0.75, False), (8, 0.65, True), (9, 0.45, False), (0, 0.0, True)],
)
@pytest.mark.parametrize("by_hand", [False, True])
def test_few_names_and_part_of_a_grid_are_another_layout_unless_a_person_says_so(
    names: int, score: float, refused: bool, by_hand: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "see_lattice", lambda *given: SeenLattice(LATTICE, score, {}))
    found = located(ruled(RED), names=names, by_hand=by_hand)

    def run() -> Flattened:
        return flatten(found, Rectifier(), RECTIFIER_WINDOW, NAME_PLACES, (0, 0), None)

    if refused and not by_hand:
        with pytest.raises(StageError, match=f"Only {names} lead names") as caught:
            run()
        assert caught.value.code is RefusalCode.ALIGNMENT_FAILED
        assert caught.value.found == {"lattice_score": score}
    else:
        assert run().lattice_score == score


@pytest.mark.parametrize(
    ("names", "by_hand", "settled", "confidence"),
    [
        (13, False, 1.0, 1.0),
        (9, False, 1.0, 1.0),
        (6, False, 1.0, 6 / 9),
        (13, False, 0.49, 0.49),
        (6, False, 0.49, 6 / 9 * 0.49),
        (0, True, 1.0, 1.0),
        (0, True, 0.49, 0.49),
    ],
)
def test_doubts_about_place_and_lattice_multiply(names: int, by_hand: bool, settled: float, confidence: float) -> None:
    found = located(ruled(RED), names=names, by_hand=by_hand)
    flat = flatten_by(found, SHEET, FirstLattice(LATTICE, 0.9, settled, {"own": 1}), 0)
    assert flat.confidence == pytest.approx(confidence)
    assert flat.diagnostics == {"labels_found": names, "own": 1}


@pytest.mark.parametrize(("rounds", "moved"), [(0, 0.0), (1, 2.0), (2, 2.0)])
def test_the_lattice_goes_to_the_lines_in_so_many_rounds(rounds: int, moved: float) -> None:
    flat = flatten_by(located(ruled(RED, beside_px=2)), SHEET, FIRST, rounds)
    assert np.median((flat.nodes - LATTICE)[..., 0]) == pytest.approx(moved, abs=0.3)
    assert (flat.lines is None) == (flat.moved_px is None) == (rounds == 0)
    assert ("lines" in flat.diagnostics) == (rounds > 0)


@pytest.mark.parametrize(
    ("page", "rounds", "grey"),
    [(RED, 2, False), (BLACK, 2, True), (GREY, 2, True), (RED, 0, True)],
    ids=["coloured", "black", "grey", "not measured"],
)
def test_a_page_is_grey_where_neither_colour_nor_darkness_tells_ink_from_lines(
    page: tuple[int, int, int], rounds: int, grey: bool, ink: Image
) -> None:
    assert flatten_by(located(page_with(ink, page)), SHEET, FIRST, rounds).is_grey == grey


def test_the_flat_page_is_sampled_once_when_it_is_asked_for() -> None:
    image = ruled(RED)
    flat = flattened(image)
    assert "pixels" not in vars(flat)
    pixels = flat.pixels
    assert flat.pixels is pixels and pixels.shape == (1700, 2200, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels[100:-100, 100:-100].astype(int) - image[100:-100, 100:-100]).mean() < 8


@pytest.mark.parametrize("visible", [1.0, 0.6])
def test_what_of_the_flat_page_lies_in_the_picture(visible: float) -> None:
    width = round(2200 * visible)
    inside = flattened(np.ascontiguousarray(ruled(RED)[:, :width])).inside()
    assert inside.shape == (1700, 2200)
    assert np.mean(inside[:, :width]) > 1 - 1e-4  # bilinear in cells, so not quite at corners
    assert not inside[:, width + 1 :].any()


def test_a_flat_page_holds_where_it_lay() -> None:
    found = located(ruled(RED))
    assert isinstance(found, Located) and flatten_by(found, SHEET, FIRST, 0).located is found
