"""Samples of a row: held under bars, bridged and doubted."""

from __future__ import annotations

import numpy as np
import pytest

from cardioscan.page.leads import LEAD_INDEX
from cardioscan.waveform import DecodedPage, decode_rows
from tests.cardioscan.waveform.drawn_pages import SMALL, Coverage, constant_levels, drawn


def barred(coverage: Coverage, ink: int) -> Coverage:
    """What a network makes of the bar between I and V1: somewhere under it there is a trace, more likely above."""
    x = round(SMALL.bars.x[0] + SMALL.bars.offset_px)
    y = np.arange(coverage.shape[1]) - (SMALL.zero_y[0] - 0.25 * SMALL.scale.px_per_mv)
    guess = (ink * np.exp(-0.5 * (y / np.where(y < 0, 14, 4)) ** 2)).astype(np.uint8)
    hidden = coverage.copy()
    hidden[0, :, x - 1 : x + 2] = guess[:, None]
    return hidden


@pytest.mark.parametrize("ink", [90, 160, 230])
def test_under_a_bar_the_leads_are_held_level(ink: int) -> None:
    coverage, truth = drawn(constant_levels({"I": 0.3, "V1": 0.2, "II": -0.2}), 2.5, SMALL)
    page = decode_rows(barred(coverage, ink), SMALL)
    for lead, hidden in (("I", slice(496, 500)), ("V1", slice(500, 502))):
        i = LEAD_INDEX[lead]
        assert np.nanmax(np.abs(page.signals[i] - truth[i])) < 0.05
        assert page.clarity[i, hidden].max() < 0.6 < page.clarity[i, 520 if lead == "V1" else 480]


def test_where_no_bar_hides_the_ink_it_is_read() -> None:
    """A spike in the last samples of a lead, which holding them would lose."""
    signals = constant_levels({"I": 0.1, "V1": 0.1})
    signals[LEAD_INDEX["I"], 490:500] = np.linspace(0.1, 0.9, 10)
    coverage, truth = drawn(signals, 2.5, SMALL)
    decoded = decode_rows(coverage, SMALL).signals[LEAD_INDEX["I"]]
    assert decoded[499] > 0.7
    assert np.isnan(decoded[500:]).all() and np.nanmax(np.abs(decoded - truth[LEAD_INDEX["I"]])[:495]) < 0.1


def test_leads_do_not_pull_at_each_other_across_their_boundary() -> None:
    coverage, truth = drawn(constant_levels({"I": 0.8, "V1": -0.6}), 2.5, SMALL)
    signals = decode_rows(coverage, SMALL).signals
    for lead in ("I", "V1"):
        i = LEAD_INDEX[lead]
        assert np.nanmax(np.abs(signals[i] - truth[i])) < 0.02


def faint(rows: Coverage) -> Coverage:
    return (rows * 0.5).astype(np.uint8)


def wild(rows: Coverage) -> Coverage:
    rows = rows.copy()
    rows[:, 30:60, 80:140] = 255
    return rows


@pytest.mark.parametrize("trouble", [faint, wild], ids=["faint ink", "other ink in the columns"])
def test_trouble_lowers_clarity(trouble) -> None:
    coverage, _ = drawn(constant_levels({"I": -0.2}), 2.5, SMALL)
    part = slice(180, 280)  # columns 91..130

    def mean(page: DecodedPage) -> float:
        return float(page.clarity[LEAD_INDEX["I"], part].mean())

    assert mean(decode_rows(trouble(coverage), SMALL)) < 0.8 * mean(decode_rows(coverage, SMALL))
