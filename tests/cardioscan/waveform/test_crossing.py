"""Traces of one row in the ink of another."""

from __future__ import annotations

import numpy as np
import pytest

from cardioscan.waveform import decode_rows
from cardioscan.waveform.bands import Bands
from cardioscan.waveform.crossing import assign_ink, claims, lendable_ink, settle_claims
from tests.cardioscan.waveform.drawn_pages import II, TIME, TWO_ROWS, V1, by_place, two_rows, wave, worst_mv

BANDS = Bands.of(TWO_ROWS)


@pytest.mark.parametrize("depth_mv", [1.6, 1.9])
@pytest.mark.parametrize("centre", [300, 620])
def test_a_deep_wave_keeps_its_tip(depth_mv: float, centre: int) -> None:
    upper, lower = wave(centre, 8, -depth_mv), wave(800, 10, 0.6)
    coverage = by_place(two_rows(upper, lower))
    found = decode_rows(coverage, TWO_ROWS)
    alone = decode_rows(coverage, TWO_ROWS, crossing=False)
    assert worst_mv(found.signals[V1], upper) < 0.15
    assert worst_mv(alone.signals[V1], upper) > 0.4  # what it is for
    assert worst_mv(found.signals[II], lower) < 0.15


def test_flat_ink_is_not_lent() -> None:
    upper, lower = wave(500, 30, 0.3), 0.2 * np.sin(TIME / 40)
    coverage = two_rows(upper, lower)
    coverage[0, :, 150:260] = 0  # a gap in the upper row
    assert not lendable_ink(coverage, coverage)[0].any()
    found = decode_rows(coverage, TWO_ROWS)
    hidden = slice(int((155 - 20) / TWO_ROWS.scale.px_per_sample), int((255 - 20) / TWO_ROWS.scale.px_per_sample))
    assert np.isnan(found.signals[V1][hidden]).all()


def test_steep_ink_that_does_not_touch_is_not_lent() -> None:
    coverage = two_rows(wave(300, 8, 0.9), wave(300, 8, 0.9))
    assert not lendable_ink(coverage, coverage).any()
    assert assign_ink(coverage, BANDS)[0] is coverage


def test_what_is_borrowed_is_missing_elsewhere() -> None:
    coverage = by_place(two_rows(wave(300, 8, -1.8), wave(800, 10, 0.6)))
    whole = two_rows(wave(300, 8, -1.8), wave(800, 10, 0.6))
    shared, _ = assign_ink(coverage, BANDS)
    tip = (
        (whole[0] > 200)
        & (np.arange(TWO_ROWS.sheet.height)[:, None] > 230)
        & (np.arange(TWO_ROWS.sheet.height)[:, None] < 265)
    )
    assert tip.sum() > 40
    assert (shared[0][tip] > 150).mean() > 0.9
    assert (shared[1][tip] == 0).mean() > 0.9


@pytest.mark.parametrize("depth_mv", [2.7, 3.2])
@pytest.mark.parametrize("beside", [0, 25])  # samples from the tip to a wave of the row that is run through
def test_a_stroke_that_runs_right_through_a_trace_is_one_rows_alone(depth_mv: float, beside: int) -> None:
    upper, lower = wave(300, 10, -depth_mv), wave(300 + beside, 30, 0.25)
    coverage = by_place(two_rows(upper, lower))
    (claim,) = (claim for claim in claims(coverage, np.zeros(coverage.shape, bool), BANDS) if claim.just)
    assert (claim.row, claim.owner) == (0, 1) and claim.loss < 2 and claim.seen >= 3
    found = decode_rows(coverage, TWO_ROWS)
    assert worst_mv(found.signals[V1], upper) < 0.15
    assert worst_mv(found.signals[II], lower) < 0.15  # and not the tip below it


@pytest.mark.parametrize(("depth_mv", "height_mv"), [(1.05, 1.2), (1.2, 1.0), (0.9, 1.3)])
def test_a_wave_that_meets_another_rows_tip_is_left_alone(depth_mv: float, height_mv: float) -> None:
    upper, lower = wave(300, 8, -depth_mv), wave(300, 8, height_mv)
    coverage = by_place(two_rows(upper, lower))
    assert not any(claim.just for claim in claims(coverage, np.zeros(coverage.shape, bool), BANDS))
    found = decode_rows(coverage, TWO_ROWS)
    assert worst_mv(found.signals[II], lower) < 0.25


def test_ink_that_is_settled_is_not_claimed_back() -> None:
    coverage = by_place(two_rows(wave(300, 10, -2.9), wave(800, 10, 0.6)))
    settled, lost = settle_claims(coverage, BANDS)
    assert not lost[0].any() and lost[1].any()
    assert (settled[1][lost[1]] == 0).mean() > 0.9
    again, _ = settle_claims(settled, BANDS)
    assert not any(claim.just for claim in claims(settled, lost, BANDS))
    np.testing.assert_array_equal(again, settled)
