"""Fading the printed lines: what it changes on a flat page, what it leaves, and that the extractor is shown it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioscan.flatten.fading import fade_lines
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.waveform.extraction import FADING, row_coverage

SHEET = REFERENCE_PAGE.sheet
HEIGHT, WIDTH = SHEET.height, SHEET.width
LINES_X = np.round(SHEET.lattice()[0, :, 0]).astype(int)
LINES_Y = np.round(SHEET.lattice()[:, 0, 1]).astype(int)
INNER = 20  # an inner line's number
PAPER, TRACE = 240, 20
RED, GREY, BLACK = (235, 120, 130), (150, 150, 150), (0, 0, 0)


def ruled(vertical: tuple[int, int, int] | None, horizontal: tuple[int, int, int] | None = None) -> np.ndarray:
    """A page with 5 mm lines of three pixels and nothing else."""
    page = np.full((HEIGHT, WIDTH, 3), PAPER, np.uint8)
    for off in (-1, 0, 1):
        if horizontal is not None:
            page[np.clip(LINES_Y + off, 0, HEIGHT - 1)] = horizontal
        if vertical is not None:
            page[:, np.clip(LINES_X + off, 0, WIDTH - 1)] = vertical
    return page


def near_line(size: int, lines: np.ndarray) -> np.ndarray:
    """Which of ``size`` pixels lie within 2.5 px of a line."""
    return np.abs(np.arange(size)[:, None] - lines).min(axis=1) <= 2.5


@pytest.mark.parametrize("colour", [RED, GREY, BLACK])
@pytest.mark.parametrize("share", [0.3, 1.0])
@pytest.mark.parametrize("direction", ["vertical", "horizontal"])
def test_a_line_loses_its_share_of_darkness(colour: tuple[int, int, int], share: float, direction: str) -> None:
    upright = direction == "vertical"
    page = ruled(colour, None) if upright else ruled(None, colour)
    faded = fade_lines(page, share if upright else 0.0, 0.0 if upright else share, SHEET)
    line = faded[100:-100, LINES_X[INNER]] if upright else faded[LINES_Y[INNER], 100:-100]
    wanted = np.array(colour) + share * (PAPER - np.array(colour))
    assert np.abs(line - wanted).max() <= 1


def test_the_other_direction_is_left() -> None:
    page = ruled(RED, GREY)
    faded = fade_lines(page, 0.5, 0.0, SHEET)
    away = ~near_line(WIDTH, LINES_X)
    assert np.array_equal(faded[:, away], page[:, away])


def test_without_shares_the_page_comes_back_as_it_was() -> None:
    page = ruled(RED, RED)
    faded = fade_lines(page, 0.0, 0.0, SHEET)
    assert np.array_equal(faded, page)
    assert faded is not page


@pytest.mark.parametrize("squares", [2, 8, 30])
def test_a_stroke_along_a_line_stays_darker_than_the_line(squares: int) -> None:
    """However long it is: on a coloured grid it loses at most half as much again as the line may."""
    page = ruled(RED)
    start = 300
    page[start : start + squares * 40, LINES_X[INNER] - 1 : LINES_X[INNER] + 2] = TRACE
    faded = fade_lines(page, 1.0, 0.0, SHEET)
    stroke = faded[start : start + squares * 40, LINES_X[INNER]]
    assert (stroke[:, 1] <= TRACE + 1.5 * (PAPER - RED[1]) + 1).all()
    assert np.abs(faded[100:-100, LINES_X[INNER + 1]].astype(int) - PAPER).max() <= 1


def test_a_level_baseline_on_a_line_is_not_taken_for_it() -> None:
    page = ruled(None, RED)
    page[LINES_Y[INNER] - 1 : LINES_Y[INNER] + 2, 100:2100] = TRACE
    faded = fade_lines(page, 0.0, 0.5, SHEET)
    assert (faded[LINES_Y[INNER], 100:2100, 1] <= TRACE + 0.75 * (PAPER - RED[1]) + 1).all()


def test_uneven_light_is_followed() -> None:
    light = np.linspace(0.5, 1.0, HEIGHT)[:, None, None]
    faded = fade_lines((ruled(RED) * light).astype(np.uint8), 1.0, 0.0, SHEET)
    paper = PAPER * light[:, 0, 0]
    seen = faded[:, LINES_X[INNER], 1]
    assert np.abs(seen - paper)[200:-200].max() < 0.08 * PAPER


def test_a_part_is_faded_as_the_whole() -> None:
    page = ruled(RED, GREY)
    x, y = 402, 300
    part = fade_lines(page[y : y + 1216, x : x + 384], 0.5, 0.3, SHEET, origin=(x, y))
    whole = fade_lines(page, 0.5, 0.3, SHEET)[y : y + 1216, x : x + 384]
    inside = np.s_[8:-8, 8:-8]  # a line too close to the part's edge for its paper to be seen stays
    assert np.abs(part[inside].astype(int) - whole[inside]).max() <= 1


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    vertical=st.floats(0, 1),
    horizontal=st.floats(0, 1),
    x=st.integers(0, 300),
    y=st.integers(0, 300),
)
def test_nothing_darkens_and_nothing_changes_away_from_lines(
    seed: int, vertical: float, horizontal: float, x: int, y: int
) -> None:
    page = np.random.default_rng(seed).integers(0, 256, (500, 420, 3), np.uint8)
    faded = fade_lines(page, vertical, horizontal, SHEET, origin=(x, y))
    assert (faded >= page).all()
    away = ~near_line(500, LINES_Y - y)[:, None] & ~near_line(420, LINES_X - x)
    assert np.array_equal(faded[away], page[away])


def test_paper_without_lines_is_left_nearly_as_it_was() -> None:
    rng = np.random.default_rng(3)
    page = np.clip(rng.normal(200, 12, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
    assert np.abs(fade_lines(page, 1.0, 1.0, SHEET).astype(int) - page).max() <= 12


class Extractor:
    """A waveform extractor that finds nothing, and the page that it was shown."""

    def infer(self, model: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert model == "waveform_extractor"
        self.shown = inputs["page"][0].transpose(1, 2, 0)
        return {"row_coverage": np.zeros((1, 4, HEIGHT, WIDTH), np.uint8)}

    def model_versions(self) -> dict[str, tuple[str, str]]:
        return {}


def test_the_extractor_is_shown_the_page_with_its_lines_faded() -> None:
    page = np.full((HEIGHT, WIDTH, 3), PAPER, np.uint8)
    page[:, LINES_X[1:-1]] = 40  # the outermost leave the page
    page[LINES_Y[1:-1]] = 40
    before, extractor = page.copy(), Extractor()
    assert row_coverage(page, SHEET, extractor).shape == (4, HEIGHT, WIDTH)
    x, y = LINES_X[31], LINES_Y[21]
    for seen, share in zip((extractor.shown[y + 15, x], extractor.shown[y, x + 15]), FADING, strict=True):
        assert np.abs(seen - (40 + 200 * share)).max() <= 1
    assert np.array_equal(page, before)  # what is drawn and kept has its lines
