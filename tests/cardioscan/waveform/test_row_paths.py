"""Letters in the way of a path, and other rows' waves beside it."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
import pytest

from cardioscan.waveform import decode_rows, row_paths
from cardioscan.waveform.bands import Bands
from cardioscan.waveform.path import INK_GAIN, trace_paths
from tests.cardioscan.waveform.drawn_pages import II, TIME, TWO_ROWS, V1, by_place, two_rows, wave, worst_mv


def test_a_letter_is_no_short_cut_past_the_tip(monkeypatch: pytest.MonkeyPatch) -> None:
    upper = wave(500, 7, -0.9)
    coverage = two_rows(upper, 0.1 * np.sin(TIME / 30))
    x = 20 + 500 * TWO_ROWS.scale.px_per_sample
    band = coverage[0]
    bar = np.zeros_like(band)
    cv2.line(bar, (round(x) - 5, 148), (round(x) + 5, 152), 250, 4)
    coverage[0] = np.maximum(band, bar)
    found = decode_rows(coverage, TWO_ROWS)
    monkeypatch.setattr(row_paths, "trace_paths", partial(trace_paths, ink_gain=0.0))
    short = decode_rows(coverage, TWO_ROWS)
    tip = slice(490, 510)
    assert np.nanmin(found.signals[V1][tip]) < -0.8
    assert np.nanmin(short.signals[V1][tip]) >= np.nanmin(found.signals[V1][tip]) - 0.01


@pytest.mark.parametrize(("width", "depth_mv", "above_px"), [(8, 0.9, 60), (8, 1.3, 60), (12, 1.3, 45), (12, 1.3, 60)])
def test_a_tip_that_a_letter_cuts_off_is_looked_for_again(
    monkeypatch: pytest.MonkeyPatch, width: int, depth_mv: float, above_px: int
) -> None:
    """A letter in certain ink joins both strokes of a wave, whose own ink is a little less certain below it."""
    coverage = two_rows(wave(500, width, -depth_mv), 0.1 * np.sin(TIME / 30))
    x = 20 + 500 * TWO_ROWS.scale.px_per_sample
    top = round(TWO_ROWS.zero_y[0] + depth_mv * TWO_ROWS.scale.px_per_mv - above_px)
    coverage[0][top:] = (0.9 * coverage[0][top:]).astype(np.uint8)
    letter = np.zeros_like(coverage[0])
    cv2.line(letter, (round(x) - 9, top), (round(x) + 9, top), 255, 4)
    coverage[0] = np.maximum(coverage[0], letter)
    found = decode_rows(coverage, TWO_ROWS).signals[V1][490:510]
    monkeypatch.setattr(row_paths, "_MISSED_GAIN", INK_GAIN)
    short = decode_rows(coverage, TWO_ROWS).signals[V1][490:510]
    assert np.nanmin(found) < 0.05 - depth_mv
    assert np.nanmin(short) > 0.3 - depth_mv


def test_a_row_does_not_climb_along_the_wave_of_another() -> None:
    upper, lower = wave(300, 8, -1.6), wave(700, 10, 0.4)
    coverage = two_rows(upper, lower)
    coverage[1] = np.where(coverage[0] > 0, coverage[0], coverage[1])  # all ink of the upper row is also the lower's
    coverage[1, : round(TWO_ROWS.zero_y[1]) - 60] = 0
    found = decode_rows(coverage, TWO_ROWS)
    assert worst_mv(found.signals[V1], upper) < 0.15
    assert worst_mv(found.signals[II], lower, slice(330, 1000)) < 0.15


def test_what_a_path_costs_tells_it_from_others() -> None:
    coverage = two_rows(wave(300, 9, 0.5), wave(700, 10, 0.4))
    bands = Bands.of(TWO_ROWS)
    found = row_paths.paths(bands, coverage)
    least = row_paths.cost(bands, found, coverage)
    assert (row_paths.cost(bands, found + 12, coverage) > least + 100).all()


def test_only_rows_with_something_lent_reach_for_it() -> None:
    coverage = by_place(two_rows(wave(300, 8, -1.6), wave(700, 10, 0.4)))
    lent = np.zeros_like(coverage)
    assert not row_paths.borrowed_reach(Bands.of(TWO_ROWS), coverage, lent).any()
    lent[0] = coverage[1]
    reach = row_paths.borrowed_reach(Bands.of(TWO_ROWS), coverage, lent)
    assert reach[0].any() and not reach[1].any()
