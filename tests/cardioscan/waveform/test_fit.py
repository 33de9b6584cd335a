"""Analysis by synthesis, and what is held where the ink is hidden."""

from __future__ import annotations

import numpy as np
import pytest

from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.waveform import decode_rows
from cardioscan.waveform.fit import Curves, hold_under_bars, hold_under_pulse, under_bars
from tests.cardioscan.waveform.drawn_pages import error_mv, simulated


def test_fit_beats_the_discs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    coverage, truth = simulated(0)
    fitted = decode_rows(coverage, REFERENCE_PAGE).signals
    monkeypatch.setattr("cardioscan.waveform.fit.ROUNDS", 0)
    discs = decode_rows(coverage, REFERENCE_PAGE).signals
    assert error_mv(fitted, truth) < 0.8 * error_mv(discs, truth)


@pytest.mark.parametrize(("ink", "hidden"), [(0.0, True), (0.9, True), (0.99, False), (1.0, False)])
def test_bars_are_told_by_ink_that_is_uncertain(ink: float, hidden: bool) -> None:
    columns = np.arange(100.0)
    seen = np.ones(100)
    seen[50] = ink
    assert under_bars(seen, columns, np.array([20.0, 50.5]), -0.5).tolist() == [False, hidden]


def test_curves_are_held_up_to_the_bar_only() -> None:
    curves = Curves(np.arange(40) * 0.5, np.array([0, 20]), np.array([True]))
    y = np.arange(40.0)
    level, held = hold_under_bars(y, curves, -0.5)
    # The bar's middle stands at 9.5 px; its core reaches from 8.1 to 10.9 px.
    assert np.flatnonzero(held).tolist() == list(range(17, 22))
    assert level[17:20].tolist() == [15.0] * 3 and level[20:22].tolist() == [23.0] * 2
    assert np.array_equal(level[~held], y[~held])
    nowhere, none = hold_under_bars(y, Curves(curves.x, curves.first, np.array([False])), -0.5)
    assert np.array_equal(nowhere, y) and not none.any()


@pytest.mark.parametrize(("seen", "held"), [(0.4, 5), (1.0, 0)])
def test_a_row_does_not_begin_on_the_calibration_pulse(seen: float, held: int) -> None:
    curves = Curves(17.7 + 0.4 * np.arange(60), np.array([0]), np.zeros(0, bool))
    y = np.concatenate([np.linspace(-70, -5, 5), np.arange(55.0)])
    columns = np.arange(10.0, 45.0)
    ink = np.where(np.abs(columns - 18.0) < 2, seen, 1.0)
    # The pulse's edge stands at 18 px; its core reaches to 19.4 px.
    level, hidden = hold_under_pulse(y, curves, ink, columns, 18.0)
    assert hidden.tolist() == [True] * held + [False] * (60 - held)
    assert level[:held].tolist() == [1.0] * held
    assert np.array_equal(level[held:], y[held:])
