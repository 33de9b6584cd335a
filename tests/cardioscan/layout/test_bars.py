"""Timing by the bars between leads: measured on drawn pages, and what comes of it in the signals."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from cardioscan.layout.bars import REACH_PX, SHARE, measure_bars, time_shift
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.synthesis.flat import lay_out
from cardioscan.synthesis.simulator import SimulatedSignals
from cardioscan.synthesis.style import PageStyle

BOUNDS = np.array(REFERENCE_PAGE.bars.x)


@pytest.fixture(scope="module")
def flat():
    page = lay_out(SimulatedSignals(4, seed=5).record(1), PageStyle(), np.random.default_rng(5), REFERENCE_PAGE).draw()
    return np.clip(np.round(255 * page), 0, 255).astype(np.uint8)


def moved(image, shift):
    """The picture with what is at x moved to x + shift(x)."""
    x, y = np.meshgrid(np.arange(image.shape[1], dtype=np.float32), np.arange(image.shape[0], dtype=np.float32))
    return cv2.remap(image, (x - shift(x)).astype(np.float32), y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


@pytest.mark.parametrize("by", [(0.0, 0.0, 0.0), (0.3, -0.2, 0.5), (-0.7, 0.1, 0.0)], ids=str)
def test_bars_are_found_where_they_are(flat, by):
    image = moved(flat, lambda x: np.interp(x, BOUNDS, by))
    np.testing.assert_allclose(measure_bars(image, REFERENCE_PAGE), by, atol=0.08)


@pytest.mark.parametrize(
    ("spoil", "unknown"),
    [
        (lambda image: np.full_like(image, 255), [True, True, True]),
        (lambda image: moved(image, lambda x: 0 * x + 2.5), [True, True, True]),
        (
            lambda image: np.where(np.abs(np.arange(image.shape[1]) - 1102)[:, None] < 30, 255, image),
            [False, True, False],
        ),
    ],
    ids=["blank", "too far", "one covered"],
)
def test_what_is_no_bar_says_nothing(flat, spoil, unknown):
    page = spoil(flat).astype(np.uint8)
    assert np.isnan(measure_bars(page, REFERENCE_PAGE)).tolist() == unknown


def test_a_page_without_bars_has_none_to_measure(flat):
    page = replace(REFERENCE_PAGE, bars=None)
    assert measure_bars(flat, page).shape == (0,)
    assert not time_shift(np.empty(0), page).any()


def test_bars_of_one_row_are_not_believed(flat):
    flat = flat.copy()
    for zero in REFERENCE_PAGE.zero_y[1:]:
        flat[round(zero) - 40 : round(zero) + 40] = 255
    assert np.isnan(measure_bars(flat, REFERENCE_PAGE)).all()


def test_rows_that_contradict_each_other_say_nothing(flat):
    apart = moved(flat, lambda x: 0 * x + 0.9)
    apart[:850] = moved(flat, lambda x: 0 * x - 0.9)[:850]
    apart[1130:] = flat[1130:]
    assert np.isnan(measure_bars(apart, REFERENCE_PAGE)).all()


def test_the_shift_falls_off_around_each_bar():
    shift = time_shift(np.array([0.5, np.nan, -0.2]), REFERENCE_PAGE)
    assert shift.shape == (REFERENCE_PAGE.sheet.width,) and np.isfinite(shift).all()
    np.testing.assert_allclose(shift[[610, 1102, 1594]], [SHARE * 0.5, 0, SHARE * -0.2], atol=1e-3)
    np.testing.assert_allclose(shift[610 + round(REACH_PX)], SHARE * 0.5 * np.exp(-0.5), rtol=1e-3)
    assert abs(shift[118]) < 1e-3 and not time_shift(np.full(3, np.nan), REFERENCE_PAGE).any()
