"""Stroke coverage: exact area, exact place, lifted pens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioscan.synthesis.strokes import split_at_gaps, stroke_coverage, trace_polyline


@pytest.mark.parametrize("pen", [1.5, 2.5, 4.0])
@settings(max_examples=20, deadline=None)
@given(y=st.floats(15, 45))
def test_horizontal_line_has_the_pens_height_and_place(pen: float, y: float) -> None:
    coverage = stroke_coverage([np.array([[-20.0, y], [120.0, y]])], pen, 100, 60) / 255
    column = coverage[:, 50]
    assert column.sum() == pytest.approx(pen, abs=0.3)
    assert (column * np.arange(60)).sum() / column.sum() == pytest.approx(y, abs=0.2)  # edges fall on quarter pixels


def test_nothing_drawn_is_empty() -> None:
    assert not stroke_coverage([], 2.5, 20, 10).any()
    assert not stroke_coverage([np.full((4, 2), np.nan)], 2.5, 20, 10).any()


def test_nan_lifts_the_pen() -> None:
    signal = np.zeros(200)
    signal[80:120] = np.nan
    line = trace_polyline(signal, 0.0, 20.0, 1.0, 78.74)
    assert [len(run) for run in split_at_gaps(line)] == [80, 80]
    coverage = stroke_coverage([line], 2.5, 200, 40)
    assert coverage[20, 40] > 200 and not coverage[:, 90:110].any()


def test_positive_voltage_lies_above_the_zero_line() -> None:
    line = trace_polyline(np.array([0.0, 1.0]), 118.0, 707.0, 0.3937, 78.74)
    assert line[1, 0] == pytest.approx(118.3937)
    assert line[1, 1] == pytest.approx(707 - 78.74)
