from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cardioscan.sources import CATEGORIES
from cardioscan.sources import preprocessing as p

Image = NDArray[np.uint8]
STEPS = (p.white_balance, p.correct_background, p.equalise_contrast, p.denoise_bilateral, p.denoise_median)


def ruled(height: int = 480, width: int = 640) -> Image:
    """White paper with a grid and one black stroke across."""
    page = np.full((height, width, 3), 235, np.uint8)
    page[::20] = page[:, ::20] = (240, 160, 160)
    page[238:242] = 20
    return page


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_a_step_keeps_shape_and_type_and_leaves_its_argument_alone(step: p.Step) -> None:
    image = ruled()
    before = image.copy()
    result = step(image)
    assert result.shape == image.shape and result.dtype == np.uint8
    assert np.array_equal(image, before)
    # What is black on white stays black on white.
    assert result[239, 305].mean() < 90 < 180 < result[230, 309].mean()


def test_white_balance_takes_off_a_tint() -> None:
    tinted = (ruled() * np.array([1.0, 0.85, 0.7])).astype(np.uint8)
    means = p.white_balance(tinted).mean(axis=(0, 1))
    assert np.ptp(means) < 2 < np.ptp(tinted.mean(axis=(0, 1)))


def test_white_balance_does_not_turn_a_red_picture_grey() -> None:
    red = np.zeros((20, 20, 3), np.uint8)
    red[..., 0] = 200
    balanced = p.white_balance(red)
    assert balanced[0, 0, 0] >= 100 and balanced[0, 0, 1] == 0


def test_the_background_of_shadowed_paper_becomes_even() -> None:
    shadow = np.linspace(0.45, 1.0, 640)[None, :, None]
    shadowed = (ruled() * shadow).astype(np.uint8)
    corrected = p.correct_background(shadowed)
    paper = corrected[30:200:20, 30:630:20].mean(axis=(0, 2))
    assert np.ptp(paper) < 12 < 80 < np.ptp(shadowed[30:200:20, 30:630:20].mean(axis=(0, 2)))
    assert corrected[239, 60].mean() < 70


def test_specks_go_and_strokes_stay_under_the_median() -> None:
    image = ruled()
    image[100, 110] = 0
    cleaned = p.denoise_median(image)
    assert cleaned[100, 110].mean() > 150 and cleaned[239, 305].mean() < 30


def test_contrast_of_a_faint_stroke_grows() -> None:
    paper = np.random.default_rng(1).normal(200, 4, (240, 320, 1))
    paper[118:122] -= 15
    faint = np.repeat(paper, 3, axis=2).astype(np.uint8)
    better = p.equalise_contrast(faint)
    assert better[100:110].mean() - better[118:122].mean() > 1.3 * (faint[100:110].mean() - faint[118:122].mean())


def test_every_published_category_has_a_branch_and_only_those() -> None:
    assert set(p.BRANCHES) == {category.code for category in CATEGORIES if category.published}
    assert {step for steps in p.BRANCHES.values() for step in steps} == set(STEPS)


@pytest.mark.parametrize("category", [None, "0001", "0002", "9999"])
def test_there_is_nothing_to_choose_from_without_a_branch(category: str | None) -> None:
    assert p.preprocess(ruled(), category) is None


def test_steps_run_in_order() -> None:
    image = (ruled() * np.array([1.0, 0.9, 0.8])).astype(np.uint8)
    wanted = image
    for step in p.BRANCHES["0005"]:
        wanted = step(wanted)
    result = p.preprocess(image, "0005")
    assert result is not None and np.array_equal(result, wanted)
