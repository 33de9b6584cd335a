"""Traces of one row in the ink of another, and letters in the way."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cardioscan.page.leads import LEAD_INDEX
from cardioscan.page.template import STANDARD_PAGE, LeadSegment
from cardioscan.synthesis.strokes import stroke_coverage, trace_polyline
from cardioscan.waveform import DecodingOptions, decode_rows
from cardioscan.waveform.bands import Bands
from cardioscan.waveform.crossing import claims, lendable_ink, settle_claims, share_ink
from cardioscan.waveform.path import VERTICAL_STEP

PAGE = replace(
    STANDARD_PAGE,
    name="two rows",
    width=434,
    height=620,
    zero_mv_y=(130.0, 300.0),
    column_bounds=(20.0, 414.0),
    segments=(LeadSegment("V1", 0, 20.0, 414.0, 0.0), LeadSegment("II", 1, 20.0, 414.0, 0.0)),
)
BANDS = Bands.of(PAGE, DecodingOptions())
V1, II = LEAD_INDEX["V1"], LEAD_INDEX["II"]
TIME = np.arange(1001)


def wave(centre: float, width: float, height: float) -> NDArray[np.float64]:
    return height * np.exp(-0.5 * ((centre - TIME) / width) ** 2)


def page(upper: NDArray[np.float64], lower: NDArray[np.float64]) -> NDArray[np.uint8]:
    """True coverage of the two rows."""
    maps = []
    for signal, zero in ((upper, 130.0), (lower, 300.0)):
        line = trace_polyline(signal, 20.0, zero, PAGE.px_per_sample, PAGE.px_per_mv)
        maps.append(stroke_coverage([line], 3.0, PAGE.width, PAGE.height))
    return np.stack(maps)


def by_place(coverage: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """As the network gives it: ink of either row belongs to the row in whose half of the page it lies."""
    ink = coverage.max(axis=0)
    upper = np.clip((215 - np.arange(PAGE.height)) / 10 + 0.5, 0, 1)[:, None]
    return np.stack([ink * upper, ink * (1 - upper)]).astype(np.uint8)


def worst_mv(read: NDArray[np.float64], truth: NDArray[np.float64], where: slice = slice(0, 1000)) -> float:
    error = read[:1000][where] - truth[:1000][where]
    return float(np.nanmax(np.abs(error - np.nanmedian(error))))


@pytest.mark.parametrize("depth_mv", [1.6, 1.9])
@pytest.mark.parametrize("centre", [300, 620])
def test_a_deep_wave_keeps_its_tip(depth_mv: float, centre: int) -> None:
    upper, lower = wave(centre, 8, -depth_mv), wave(800, 10, 0.6)
    coverage = by_place(page(upper, lower))
    found = decode_rows(coverage, PAGE)
    alone = decode_rows(coverage, PAGE, options=DecodingOptions(crossing=False))
    assert worst_mv(found.signals[V1], upper) < 0.15
    assert worst_mv(alone.signals[V1], upper) > 0.4  # what it is for
    assert worst_mv(found.signals[II], lower) < 0.15


def test_flat_ink_is_not_lent() -> None:
    upper, lower = wave(500, 30, 0.3), 0.2 * np.sin(TIME / 40)
    coverage = page(upper, lower)
    coverage[0, :, 150:260] = 0  # a gap in the upper row
    assert not lendable_ink(coverage, coverage)[0].any()
    found = decode_rows(coverage, PAGE)
    hidden = slice(int((155 - 20) / PAGE.px_per_sample), int((255 - 20) / PAGE.px_per_sample))
    assert np.isnan(found.signals[V1][hidden]).all()


def test_steep_ink_that_does_not_touch_is_not_lent() -> None:
    coverage = page(wave(300, 8, 0.9), wave(300, 8, 0.9))
    assert not lendable_ink(coverage, coverage).any()
    assert share_ink(coverage, BANDS) is coverage


def test_what_is_borrowed_is_missing_elsewhere() -> None:
    coverage = by_place(page(wave(300, 8, -1.8), wave(800, 10, 0.6)))
    whole = page(wave(300, 8, -1.8), wave(800, 10, 0.6))
    shared = share_ink(coverage, BANDS)
    tip = (whole[0] > 200) & (np.arange(PAGE.height)[:, None] > 230) & (np.arange(PAGE.height)[:, None] < 265)
    assert tip.sum() > 40
    assert (shared[0][tip] > 150).mean() > 0.9
    assert (shared[1][tip] == 0).mean() > 0.9


@pytest.mark.parametrize("depth_mv", [2.7, 3.2])
@pytest.mark.parametrize("beside", [0, 25])  # samples from the tip to a wave of the row that is run through
def test_a_stroke_that_runs_right_through_a_trace_is_one_rows_alone(depth_mv: float, beside: int) -> None:
    upper, lower = wave(300, 10, -depth_mv), wave(300 + beside, 30, 0.25)
    coverage = by_place(page(upper, lower))
    (claim,) = (claim for claim in claims(coverage, np.zeros(coverage.shape, bool), BANDS) if claim.just)
    assert (claim.row, claim.owner) == (0, 1) and claim.loss < 2 and claim.seen >= 3
    found = decode_rows(coverage, PAGE)
    assert worst_mv(found.signals[V1], upper) < 0.15
    assert worst_mv(found.signals[II], lower) < 0.15  # and not the tip below it


@pytest.mark.parametrize(("depth_mv", "height_mv"), [(1.05, 1.2), (1.2, 1.0), (0.9, 1.3)])
def test_a_wave_that_meets_another_rows_tip_is_left_alone(depth_mv: float, height_mv: float) -> None:
    upper, lower = wave(300, 8, -depth_mv), wave(300, 8, height_mv)
    coverage = by_place(page(upper, lower))
    assert not any(claim.just for claim in claims(coverage, np.zeros(coverage.shape, bool), BANDS))
    found = decode_rows(coverage, PAGE)
    assert worst_mv(found.signals[II], lower) < 0.25


def test_ink_that_is_settled_is_not_claimed_back() -> None:
    coverage = by_place(page(wave(300, 10, -2.9), wave(800, 10, 0.6)))
    settled, lost = settle_claims(coverage, BANDS)
    assert not lost[0].any() and lost[1].any()
    assert (settled[1][lost[1]] == 0).mean() > 0.9
    again, _ = settle_claims(settled, BANDS)
    assert not any(claim.just for claim in claims(settled, lost, BANDS))
    np.testing.assert_array_equal(again, settled)


def test_a_letter_is_no_short_cut_past_the_tip() -> None:
    upper = wave(500, 7, -0.9)
    coverage = page(upper, 0.1 * np.sin(TIME / 30))
    x = 20 + 500 * PAGE.px_per_sample
    band = coverage[0]
    bar = np.zeros_like(band)
    cv2.line(bar, (round(x) - 5, 148), (round(x) + 5, 152), 250, 4)
    coverage[0] = np.maximum(band, bar)
    found = decode_rows(coverage, PAGE)
    short = decode_rows(coverage, PAGE, options=DecodingOptions(ink_gain=0.0))
    tip = slice(490, 510)
    assert np.nanmin(found.signals[V1][tip]) < -0.8
    assert np.nanmin(short.signals[V1][tip]) >= np.nanmin(found.signals[V1][tip]) - 0.01


@pytest.mark.parametrize(("width", "depth_mv", "above_px"), [(8, 0.9, 60), (8, 1.3, 60), (12, 1.3, 45), (12, 1.3, 60)])
def test_a_tip_that_a_letter_cuts_off_is_looked_for_again(width: int, depth_mv: float, above_px: int) -> None:
    """A letter in certain ink joins both strokes of a wave, whose own ink is a little less certain below it."""
    coverage = page(wave(500, width, -depth_mv), 0.1 * np.sin(TIME / 30))
    x, top = 20 + 500 * PAGE.px_per_sample, round(PAGE.zero_mv_y[0] + depth_mv * PAGE.px_per_mv - above_px)
    coverage[0][top:] = (0.9 * coverage[0][top:]).astype(np.uint8)
    letter = np.zeros_like(coverage[0])
    cv2.line(letter, (round(x) - 9, top), (round(x) + 9, top), 255, 4)
    coverage[0] = np.maximum(coverage[0], letter)
    found, short = (
        decode_rows(coverage, PAGE, options=DecodingOptions(missed_gain=gain)).signals[V1][490:510]
        for gain in (DecodingOptions().missed_gain, DecodingOptions().ink_gain)
    )
    assert np.nanmin(found) < 0.05 - depth_mv
    assert np.nanmin(short) > 0.3 - depth_mv


def test_a_row_does_not_climb_along_the_wave_of_another() -> None:
    upper, lower = wave(300, 8, -1.6), wave(700, 10, 0.4)
    coverage = page(upper, lower)
    coverage[1] = np.where(coverage[0] > 0, coverage[0], coverage[1])  # all ink of the upper row is also the lower's
    coverage[1, : round(PAGE.zero_mv_y[1]) - 60] = 0
    found = decode_rows(coverage, PAGE)
    assert worst_mv(found.signals[V1], upper) < 0.15
    assert worst_mv(found.signals[II], lower, slice(330, 1000)) < 0.15


@pytest.mark.parametrize(("depth_mv", "height_mv"), [(0.5, 0.4), (1.6, 0.6), (2.9, 1.2)])
def test_bands_around_the_ink_give_the_same_paths(depth_mv: float, height_mv: float) -> None:
    coverage = by_place(page(wave(300, 9, -depth_mv), wave(700, 10, height_mv)))
    lent = lendable_ink(coverage, coverage)
    near = BANDS.around(np.maximum(coverage, lent))
    assert near.height < BANDS.height and near.height % VERTICAL_STEP == 0
    assert all((a - b) % VERTICAL_STEP == 0 and a >= b for a, b in zip(near.tops, BANDS.tops, strict=True))
    for bands in (BANDS, near):
        for plane, top in zip(coverage, bands.tops, strict=True):
            inked = np.flatnonzero(plane.max(axis=1) >= 8)
            assert top <= inked[0] and inked[-1] < top + bands.height
    everywhere, here = (bands.paths(coverage, lent) + np.asarray(bands.tops)[:, None] for bands in (BANDS, near))
    assert np.mean(everywhere == here) > 0.995  # among ways that cost the same to rounding, either may be taken


def test_bands_around_no_ink_are_where_the_rows_are() -> None:
    near = BANDS.around(np.zeros((2, PAGE.height, PAGE.width), np.uint8))
    middles = np.asarray(near.tops) + near.height / 2
    assert np.abs(middles - PAGE.zero_mv_y).max() <= 2
