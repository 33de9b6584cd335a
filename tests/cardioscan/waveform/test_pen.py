"""The pen, measured and undone."""

from __future__ import annotations

import pytest

from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.waveform import decode_rows
from tests.cardioscan.waveform.drawn_pages import simulated


@pytest.mark.parametrize("pen", [2.5, 4.0])
def test_pen_is_measured(pen: float) -> None:
    assert decode_rows(simulated(0, pen)[0], REFERENCE_PAGE).pen_px == pytest.approx(pen, abs=0.4)
