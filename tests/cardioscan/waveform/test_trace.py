"""The stage that reads the traces."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from cardioscan.page.leads import LEAD_INDEX
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.waveform import trace as stage
from tests.cardioscan.waveform.drawn_pages import simulated


def traced(monkeypatch: pytest.MonkeyPatch, displacement: list[float], inside: slice = slice(None)) -> stage.Traced:
    """The stage over true coverage of a page that is inside the photo in some columns."""
    valid = np.zeros((REFERENCE_PAGE.sheet.height, REFERENCE_PAGE.sheet.width), bool)
    valid[:, inside] = True
    flattened = SimpleNamespace(pixels=None, inside=lambda: valid)
    rows = SimpleNamespace(
        flattened=flattened, page=REFERENCE_PAGE, bar_displacement=np.array(displacement), diagnostics={"seen": 1}
    )
    monkeypatch.setattr(stage, "row_coverage", lambda *_: simulated(0)[0])
    return stage.trace(rows, None, crossing=True)  # type: ignore[arg-type]


def test_it_keeps_what_was_found_and_says_how_thick_the_pen_is(monkeypatch: pytest.MonkeyPatch) -> None:
    done = traced(monkeypatch, [0.0, 0.0, 0.0])
    assert done.diagnostics == {"seen": 1, "pen_px": pytest.approx(2.5, abs=0.4)}
    assert done.coverage is simulated(0)[0] and done.rows.page is REFERENCE_PAGE


def test_beside_a_bar_that_stands_to_the_side_the_trace_is_read_there(monkeypatch: pytest.MonkeyPatch) -> None:
    straight, moved = (
        traced(monkeypatch, shift).decoded.traces["V1"][0, 0] for shift in ([0.0, 0.0, 0.0], [0.0, 0.5, np.nan])
    )
    assert moved - straight == pytest.approx(0.3, abs=0.01)


def test_what_was_outside_the_photo_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    signals = traced(monkeypatch, [0.0, 0.0, 0.0], slice(0, 1500)).decoded.signals
    assert np.isnan(signals[LEAD_INDEX["V4"]]).all()
    assert np.isfinite(signals[LEAD_INDEX["aVR"]]).sum() == 1250
