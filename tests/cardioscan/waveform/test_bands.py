"""The bands in which the rows' traces are looked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cardioscan.page.layout import Cell, Layout
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.page.scale import Scale
from cardioscan.page.sheet import PX_PER_MM
from cardioscan.waveform import decode_rows
from cardioscan.waveform.bands import Bands
from cardioscan.waveform.crossing import lendable_ink
from cardioscan.waveform.path import VERTICAL_STEP
from cardioscan.waveform.row_paths import paths
from tests.cardioscan.waveform.drawn_pages import II, TIME, TWO_ROWS, by_place, drawn, page_of, two_rows, wave

BANDS = Bands.of(TWO_ROWS)


@pytest.mark.parametrize(("depth_mv", "height_mv"), [(0.5, 0.4), (1.6, 0.6), (2.9, 1.2)])
def test_bands_around_the_ink_give_the_same_paths(depth_mv: float, height_mv: float) -> None:
    coverage = by_place(two_rows(wave(300, 9, -depth_mv), wave(700, 10, height_mv)))
    lent = lendable_ink(coverage, coverage)
    near = BANDS.around(np.maximum(coverage, lent))
    assert near.height < BANDS.height and near.height % VERTICAL_STEP == 0
    assert all((a - b) % VERTICAL_STEP == 0 and a >= b for a, b in zip(near.tops, BANDS.tops, strict=True))
    for bands in (BANDS, near):
        for plane, top in zip(coverage, bands.tops, strict=True):
            inked = np.flatnonzero(plane.max(axis=1) >= 8)
            assert top <= inked[0] and inked[-1] < top + bands.height
    everywhere, here = (paths(bands, coverage, lent) + np.asarray(bands.tops)[:, None] for bands in (BANDS, near))
    assert np.mean(everywhere == here) > 0.995  # among ways that cost the same to rounding, either may be taken


def test_bands_around_no_ink_are_where_the_rows_are() -> None:
    near = BANDS.around(np.zeros((2, TWO_ROWS.sheet.height, TWO_ROWS.sheet.width), np.uint8))
    middles = np.asarray(near.tops) + near.height / 2
    assert np.abs(middles - TWO_ROWS.zero_y).max() <= 2


@pytest.mark.parametrize("gain", [5.0, 10.0, 20.0])
def test_bands_are_as_high_on_paper_at_any_gain(gain: float) -> None:
    bands = Bands.of(replace(REFERENCE_PAGE, scale=Scale(25.0, gain)))
    assert bands.height == 2 * round(60 * PX_PER_MM)
    assert [top + bands.height / 2 for top in bands.tops] == list(REFERENCE_PAGE.zero_y)


@pytest.mark.parametrize(("gain", "height_mv"), [(5.0, 8.0), (10.0, 4.0), (20.0, 2.5)])
def test_tall_waves_stay_within_their_band(gain: float, height_mv: float) -> None:
    """Of 40 mm and 50 mm; a band of 6 mV would be left at 5 mm/mV."""
    page = page_of(Layout("II", (Cell("II", 0, 0, 0.0, 2.0),)), (450.0,), (434, 500), Scale(25.0, gain))
    signals = np.zeros((12, 5000))
    signals[II, : TIME.size] = wave(500, 12, height_mv)
    read = decode_rows(drawn(signals, 2.5, page)[0], page).signals[II]
    assert np.nanmax(read) == pytest.approx(height_mv, rel=0.02)


@pytest.mark.parametrize("height", [100, 400])
def test_bands_are_no_higher_than_they_need_be_on_small_sheets(height: int) -> None:
    page = replace(TWO_ROWS, sheet=replace(TWO_ROWS.sheet, height=height))
    assert Bands.of(page).height == 2 * height


def test_bands_reach_from_the_first_printed_column_to_the_last() -> None:
    bands = Bands.of(REFERENCE_PAGE)
    starts = [segment.x_start for segment in REFERENCE_PAGE.segments]
    ends = [segment.x_end for segment in REFERENCE_PAGE.segments]
    assert bands.left - min(starts) < 1 and max(ends) - bands.right < 1
    assert [int(np.count_nonzero(row)) for row in bands.begins] == [4, 4, 4, 1]
