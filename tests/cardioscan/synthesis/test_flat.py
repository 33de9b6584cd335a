"""The flat page: what is drawn where, on any layout."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cardioscan.page.catalogue import find_layout
from cardioscan.page.leads import LEAD_INDEX
from cardioscan.page.read_page import Bars, PrintedName, ReadPage, Segment
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.page.scale import Scale
from cardioscan.page.sheet import PX_PER_MM
from cardioscan.synthesis import flat
from cardioscan.synthesis.flat import Region, lay_out
from cardioscan.synthesis.simulator import SimulatedSignals
from cardioscan.synthesis.style import CLEAN_STYLE

SIGNALS = SimulatedSignals(4, seed=5)
SHEET = REFERENCE_PAGE.sheet


def test_printed_signals_follow_the_layout() -> None:
    page = lay_out(SIGNALS.record(2), CLEAN_STYLE, np.random.default_rng(0), REFERENCE_PAGE)
    printed = page.printed_signals()
    assert np.isfinite(printed).sum(axis=1).tolist() == [1250, 5000, *[1250] * 10]
    assert np.isfinite(printed[3, 1250:2500]).all() and np.isnan(printed[3, :1250]).all()
    missing = lay_out(SIGNALS.record(2), CLEAN_STYLE, np.random.default_rng(0), REFERENCE_PAGE, missing_row=0)
    assert np.isnan(missing.printed_signals()[0]).all()
    assert not missing.coverage()[0].any()


def test_coverage_stands_at_the_signals_height() -> None:
    page = lay_out(SIGNALS.record(3), CLEAN_STYLE, np.random.default_rng(0), REFERENCE_PAGE)
    coverage = page.coverage(Region(118, 0, 1960, 1700))[3].astype(float)
    centre = (coverage * np.arange(1700)[:, None]).sum(axis=0) / coverage.sum(axis=0)
    x = 118 + np.arange(1960)
    truth = REFERENCE_PAGE.zero_y[3] - REFERENCE_PAGE.scale.px_per_mv * np.interp(
        (x - 118) / REFERENCE_PAGE.scale.px_per_sample, np.arange(5000), page.signals[1]
    )
    assert np.median(np.abs(centre - truth)) < 0.5


def printed_as(name: str, page: ReadPage = REFERENCE_PAGE) -> ReadPage:
    """A page of this layout on the sheet of the reference page, without bars, names or pulses."""
    layout, second = find_layout(name), page.scale.px_per_s
    starts = [100.0 + second * sum(other.seconds for other in layout.row(c.row)[: c.column]) for c in layout.cells]
    segments = tuple(Segment(c, x, x + second * c.seconds) for c, x in zip(layout.cells, starts, strict=True))
    zero_y = tuple(300.0 + 100 * row for row in range(layout.n_rows))
    return ReadPage(page.sheet, layout, page.scale, zero_y, segments)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("12x1", {"I": 10.0, "V6": 10.0}),
        ("6x2", {"I": 5.0, "V6": 5.0}),
        ("4x3", {"I": 3.334, "aVR": 3.334, "V6": 3.334}),
        ("3x4+1(V1)", {"II": 2.5, "V1": 10.0}),
        ("3x4+3(V1,II,V5)", {"V1": 10.0, "II": 10.0, "V5": 10.0, "V6": 2.5}),
    ],
)
def test_any_layout_is_drawn_row_by_row(name: str, seconds: dict[str, float]) -> None:
    page = printed_as(name)
    drawn = lay_out(SIGNALS.record(2), CLEAN_STYLE, np.random.default_rng(0), page)
    assert [len(row) for row in drawn.rows] == [len(page.row_segments(row)) for row in range(page.n_rows)]
    assert drawn.extras == () and drawn.bars == ()
    shown = np.isfinite(drawn.printed_signals()).sum(axis=1) / 500
    assert {lead: pytest.approx(shown[LEAD_INDEX[lead]]) for lead in seconds} == seconds
    coverage = drawn.coverage()
    assert coverage.shape == (page.n_rows, 1700, 2200) and coverage.any(axis=(1, 2)).all()
    picture = drawn.draw()
    assert picture.shape == (1700, 2200, 3) and picture[coverage.max(axis=0) == 255].max() < 0.2


def test_simultaneous_columns_show_the_same_time() -> None:
    page = printed_as("3x4")
    layout = page.layout.simultaneous()
    segments = tuple(replace(s, cell=cell) for s, cell in zip(page.segments, layout.cells, strict=True))
    drawn = lay_out(
        SIGNALS.record(2), CLEAN_STYLE, np.random.default_rng(0), replace(page, layout=layout, segments=segments)
    )
    np.testing.assert_array_equal(np.isfinite(drawn.printed_signals()), np.tile(np.arange(5000) < 1250, (12, 1)))


def test_an_inverted_lead_is_drawn_upside_down_and_kept_upright() -> None:
    page = printed_as("6x1 limb Cabrera")
    signals = np.zeros((12, 5000), np.float32)
    signals[LEAD_INDEX["aVR"]] = signals[LEAD_INDEX["aVL"]] = 0.5
    drawn = lay_out(signals, CLEAN_STYLE, np.random.default_rng(0), page)
    for segment in page.segments:
        wanted = {"aVR": -0.5, "aVL": 0.5}.get(segment.lead, 0.0)
        heights = drawn.rows[segment.row][0][:, 1]
        np.testing.assert_allclose(page.zero_y[segment.row] - heights, wanted * page.scale.px_per_mv)
    np.testing.assert_array_equal(drawn.printed_signals()[:6], signals[:6])


@pytest.mark.parametrize("pulse_x", [None, (60.0, 100.0)])
@pytest.mark.parametrize("bars", [None, Bars((1084.0,), 0.0, 27.0)])
def test_bars_and_pulses_are_drawn_where_there_are_some(bars: Bars | None, pulse_x: tuple[float, float] | None) -> None:
    page = replace(printed_as("6x2+1"), bars=bars, pulse_x=pulse_x)
    drawn = lay_out(SIGNALS.record(2), CLEAN_STYLE, np.random.default_rng(0), page)
    assert len(drawn.extras) == (7 if pulse_x else 0)
    assert len(drawn.bars) == (6 if bars else 0)  # none in the rhythm row


@pytest.mark.parametrize(("speed", "gain"), [(25.0, 5.0), (25.0, 20.0), (12.5, 10.0)])
def test_a_page_is_drawn_at_its_scale(speed: float, gain: float) -> None:
    page = printed_as("II", replace(REFERENCE_PAGE, scale=Scale(speed, gain)))
    signals = np.full((12, 5000), 0.7, np.float32)
    ((line,),) = lay_out(signals, CLEAN_STYLE, np.random.default_rng(0), page).rows
    np.testing.assert_allclose(page.zero_y[0] - line[:, 1], 0.7 * gain * PX_PER_MM)
    assert np.ptp(line[:, 0]) == pytest.approx(9.998 * speed * PX_PER_MM)


def words_on(page: ReadPage, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All text that is printed on a page."""
    words: list[str] = []
    draw = flat.text_sprite
    monkeypatch.setattr(flat, "text_sprite", lambda text, *how: (words.append(text), draw(text, *how))[1])
    lay_out(SIGNALS.record(2), CLEAN_STYLE, np.random.default_rng(0), page)
    return words


@pytest.mark.parametrize("name", ["3x4+1", "6x2", "4x3", "12x1"])
def test_lead_names_are_printed_where_the_page_has_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = printed_as(name)
    names = tuple(PrintedName(s.lead, s.row, s.x_start, page.zero_y[s.row]) for s in page.segments)
    words = words_on(replace(page, names=names), monkeypatch)
    assert words[: len(names)] == [segment.lead for segment in page.segments]


def test_an_inverted_lead_is_named_so(monkeypatch: pytest.MonkeyPatch) -> None:
    page = printed_as("6x1 limb Cabrera")
    names = tuple(PrintedName(s.lead, s.row, s.x_start, page.zero_y[s.row]) for s in page.segments)
    assert "-aVR" in words_on(replace(page, names=names), monkeypatch)


@pytest.mark.parametrize(
    ("speed", "gain"),
    [(25.0, 10.0), (50.0, 5.0)],
)
def test_the_footer_says_the_scale(speed: float, gain: float, monkeypatch: pytest.MonkeyPatch) -> None:
    words = words_on(replace(REFERENCE_PAGE, scale=Scale(speed, gain)), monkeypatch)
    assert {f"{speed:g}mm/s", f"{gain:g}mm/mV"} <= set(words)
