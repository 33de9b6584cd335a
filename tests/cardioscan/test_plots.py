from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioscan.backends.specs import NAME_PLACES
from cardioscan.errors import CardioscanError, MissingDependencyError
from cardioscan.evaluate.evaluation import only_printed
from cardioscan.page.catalogue import find_layout
from cardioscan.page.layout import Layout
from cardioscan.page.leads import LEADS
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.page.scale import Scale
from cardioscan.plots import draw_overlay, overlay_of, plot_comparison, plot_record, sheet_of, sheet_size_mm
from cardioscan.record import Calibration, EcgRecord, Reason

STANDARD, USUAL = REFERENCE_PAGE.layout, Scale(25.0, 10.0)


def record(**changes: object) -> EcgRecord:
    signals = only_printed(np.tile(np.sin(np.arange(5000) / 40), (12, 1)), STANDARD)
    signals[1, 2000:2500] = np.nan
    confidence = np.isfinite(signals).astype(np.float32)
    values = {"name": "page", "signals": signals, "confidence": confidence, "layout": STANDARD, **changes}
    return EcgRecord(**values)  # type: ignore[arg-type]


def read_from(layout: Layout, scale: Scale = USUAL) -> EcgRecord:
    """A record of a page of this layout: lead k of LEADS is a sine about 0.1 k mV."""
    levels = 0.1 * np.arange(12)[:, None]
    signals = only_printed(levels + np.tile(0.2 * np.sin(np.arange(5000) / 40), (12, 1)), layout)
    confidence = np.isfinite(signals).astype(np.float32)
    return EcgRecord("page", signals, confidence, layout=layout, calibration=Calibration.of(scale))


# --- the sheet


@pytest.fixture
def figure_class() -> type:
    return pytest.importorskip("matplotlib.figure", reason="needs matplotlib (extra 'plot')").Figure


def leads_of(axes) -> dict[str, np.ndarray]:
    return {line.get_gid(): line.get_xydata() for line in axes.lines if line.get_gid()}


def test_the_sheet_is_drawn_to_scale(figure_class: type) -> None:
    before = "matplotlib.pyplot" in sys.modules
    figure = plot_record(record(heart_rate_bpm=71.6))
    assert isinstance(figure, figure_class) and ("matplotlib.pyplot" in sys.modules) == before
    (axes,) = figure.axes
    width_mm, height_mm = np.array(figure.get_size_inches()) * 25.4
    assert axes.get_xlim()[1] == pytest.approx(width_mm) and axes.get_ylim()[0] == pytest.approx(height_mm)
    drawn = leads_of(axes)
    assert len(drawn) == 13
    rhythm = drawn["II-3"]
    finite = rhythm[np.isfinite(rhythm).all(axis=1)]
    assert finite[-1, 0] - finite[0, 0] == pytest.approx(25 * 9.998)
    assert np.ptp(finite[:, 1]) == pytest.approx(20, abs=0.01)  # 2 mV at 10 mm/mV
    assert np.isnan(rhythm[2000:2500, 1]).all()  # a gap is a gap
    assert len(drawn["V6-2"]) == 1250 and drawn["V6-2"][0, 0] == pytest.approx(drawn["I-0"][0, 0] + 25 * 7.5)
    # Positive voltages point up: y grows downwards.
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    assert any("72/min" in text.get_text() for text in axes.texts)


def test_signals_are_drawn_over_their_truth(figure_class: type) -> None:
    truth = only_printed(np.tile(np.sin(np.arange(5000) / 40), (12, 1)), STANDARD)
    predicted = truth + 0.5
    predicted[3] = np.nan
    figure = plot_comparison(predicted, truth, STANDARD, USUAL, {"V6": "12.3 dB"})
    (axes,) = figure.axes
    drawn = leads_of(axes)
    assert len(drawn) == 26 and list(drawn)[:2] == ["truth-I-0", "digitized-I-0"]  # the later one lies on top
    # Where the sheet has them, at its scale: half a millivolt is 5 mm up.
    confidence = np.isfinite(truth).astype(np.float32)
    sheet = leads_of(plot_record(EcgRecord("t", truth, confidence, layout=STANDARD)).axes[0])
    for name, points in sheet.items():
        np.testing.assert_allclose(drawn[f"truth-{name}"], points)
    np.testing.assert_allclose(drawn["digitized-V6-2"], sheet["V6-2"] - (0, 5))
    assert np.isnan(drawn["digitized-aVR-0"][:, 1]).all()
    texts = [text.get_text() for text in axes.texts]
    assert "V6   12.3 dB" in texts and {"truth", "digitized", "V5"} <= set(texts)


@pytest.mark.parametrize(
    ("name", "speed", "gain"),
    [
        ("3x4+1(V1)", 50.0, 10.0),
        ("3x4+3(V1,II,V5)", 25.0, 5.0),
        ("3x4 Cabrera+1", 25.0, 10.0),
        ("4x3", 25.0, 10.0),
        ("6x2", 25.0, 20.0),
        ("6x2 Cabrera", 12.5, 10.0),
        ("12x1", 25.0, 10.0),
        ("6x1 chest", 50.0, 20.0),
        ("V1", 25.0, 10.0),
    ],
)
def test_a_record_is_drawn_in_its_own_layout_and_scale(
    figure_class: type, name: str, speed: float, gain: float
) -> None:
    layout, scale = find_layout(name), Scale(speed, gain)
    given = read_from(layout, scale)
    figure = plot_record(given)
    (axes,) = figure.axes
    size = np.array(figure.get_size_inches()) * 25.4
    assert size == pytest.approx(sheet_size_mm(layout, scale))
    assert sheet_of(given) == (layout, scale)
    drawn = leads_of(axes)
    assert set(drawn) == {f"{cell.lead}-{cell.row}" for cell in layout.cells}
    first = min(points[0, 0] for points in drawn.values())
    for cell in layout.cells:
        points = drawn[f"{cell.lead}-{cell.row}"]
        there = points[np.isfinite(points).all(axis=1)]
        assert there[0, 0] - first == pytest.approx(speed * cell.t_start, abs=0.06)
        assert np.ptp(there[:, 0]) == pytest.approx(speed * cell.seconds, abs=0.12)
        sample = np.round((there[:, 0] - first) / speed * 500).astype(int)
        up = 10 + 30 * (cell.row + 0.5) - there[:, 1]
        np.testing.assert_allclose(up, cell.sign * gain * given.lead(cell.lead)[sample], atol=1e-9)
    texts = [text.get_text() for text in axes.texts]
    assert [label for label in texts if label in {cell.label for cell in layout.cells}] == [
        cell.label for cell in layout.cells
    ]
    assert f"{speed:g} mm/s   {gain:g} mm/mV" in texts


def test_a_record_that_does_not_say_its_layout_is_drawn_with_one_lead_below_the_other(figure_class: type) -> None:
    unsaid = record(layout=None)
    assert sheet_of(unsaid) == (find_layout("12x1"), USUAL)
    drawn = leads_of(plot_record(unsaid).axes[0])
    assert list(drawn) == [f"{lead}-{row}" for row, lead in enumerate(LEADS)]


def test_a_lead_is_drawn_from_its_first_sample(figure_class: type) -> None:
    given = read_from(find_layout("4x3"))
    drawn = leads_of(plot_record(given).axes[0])
    for lead, row in (("V1", 0), ("V6", 3)):
        assert len(drawn[f"{lead}-{row}"]) == np.isfinite(given.lead(lead)).sum()


def test_columns_that_begin_together_stand_side_by_side(figure_class: type) -> None:
    drawn = leads_of(plot_record(read_from(find_layout("3x4").simultaneous())).axes[0])
    assert drawn["aVR-0"][0, 0] == pytest.approx(drawn["I-0"][0, 0] + 62.5)


@pytest.mark.parametrize(
    ("name", "speed", "gain"), [("6x2 Cabrera", 25.0, 10.0), ("12x1", 50.0, 10.0), ("3x4+3", 25.0, 5.0)]
)
def test_comparisons_are_drawn_in_any_layout_and_scale(
    figure_class: type, name: str, speed: float, gain: float
) -> None:
    scale = Scale(speed, gain)
    given = read_from(find_layout(name), scale)
    (axes,) = plot_comparison(given.signals, given.signals, find_layout(name), scale).axes
    drawn = leads_of(axes)
    for gid, points in leads_of(plot_record(given).axes[0]).items():
        np.testing.assert_allclose(drawn[f"truth-{gid}"], points)
        np.testing.assert_allclose(drawn[f"digitized-{gid}"], points)
    squares = f"squares: {5 / speed:g} s, {5 / gain:g} mV"
    assert squares in [text.get_text() for text in axes.texts]


def test_the_sheet_can_be_saved(figure_class: type, tmp_path) -> None:
    plot_record(record()).savefig(tmp_path / "sheet.png", dpi=30)
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_own_axes_are_used(figure_class: type) -> None:
    figure = figure_class()
    axes = figure.add_subplot()
    assert plot_record(record(), axes) is figure and len(leads_of(axes)) == 13 and len(figure.axes) == 1


def test_a_refused_record_says_why(figure_class: type) -> None:
    figure = plot_record(EcgRecord.refused("page", [Reason("grid_not_found", "no grid here")]))
    assert any("no grid here" in text.get_text() for text in figure.axes[0].texts)


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [key for key in sys.modules if key.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"cardioscan\[plot\]"):
        plot_record(record())


# --- the overlay


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return (before != after).any(axis=2)


def test_traces_are_drawn_where_they_are_and_gaps_left() -> None:
    page = np.full((400, 600, 3), 255, np.uint8)
    x = np.arange(50, 550.0)
    y = np.where((x > 250) & (x < 300), np.nan, 100.0)
    marks = changed(page, draw_overlay(page, {"I": np.stack([x, y], -1), "II": np.stack([x, y + 200], -1)}))
    assert marks[100, 60:240].all() and marks[300, 310:540].all() and not marks[:, 256:294].any()
    rows = np.flatnonzero(marks.any(axis=1))
    assert np.abs(rows - 100).min() == 0 and not marks[150:250].any()
    assert (page == 255).all()


def test_traces_have_colours_of_their_own_and_let_the_page_through() -> None:
    rng = np.random.default_rng(0)
    page = rng.integers(0, 256, (700, 600, 3), dtype=np.uint8)
    x = np.arange(600.0)
    traces = {str(k): np.stack([x, np.full(600, 25.0 + 50 * k)], -1) for k in range(13)}
    drawn = draw_overlay(page, traces)
    means = [tuple(np.round(drawn[25 + 50 * k].mean(axis=0), -1)) for k in range(13)]
    assert len(set(means)) == 13
    assert all(drawn[25 + 50 * k].std(axis=0).min() > 10 for k in range(13))


@pytest.mark.parametrize("scale", [1, 3])
def test_line_width_grows_with_the_image(scale: int) -> None:
    page = np.full((1000 * scale, 2000 * scale, 3), 255, np.uint8)
    line = np.array([[0, 500 * scale], [2000 * scale, 500 * scale]], float)
    thick = int(changed(page, draw_overlay(page, {"I": line}))[:, 1000 * scale].sum())
    assert 2 * scale - 2 <= thick <= 4 * scale + 2


def test_labels_and_lattice() -> None:
    page, sheet = np.full((1700, 2200, 3), 255, np.uint8), REFERENCE_PAGE.sheet
    points = NAME_PLACES.points()
    labels = np.column_stack([[label.class_id for label in NAME_PLACES.classes], points])
    lattice = sheet.lattice()
    lattice[5, 5] = np.nan
    marks = changed(page, draw_overlay(page, {}, labels, None))
    assert all(marks[round(y) - 8 : round(y) + 9, round(x) - 8 : round(x) + 9].any() for x, y in points)
    marks = changed(page, draw_overlay(page, {}, None, lattice))
    seen = [marks[int(y) - 1 : int(y) + 3, int(x) - 1 : int(x) + 3].any() for x, y in sheet.lattice()[6, 1:-1]]
    assert all(seen) and marks.mean() < 0.03
    x, y = sheet.node(5, 5)
    assert not marks[int(y) - 5 : int(y) + 6, int(x) - 5 : int(x) + 6].any()


@given(
    points=st.lists(st.tuples(st.floats(allow_nan=True, width=32), st.floats(allow_nan=True, width=32)), max_size=8),
    class_id=st.integers(-3, 40),
)
@settings(max_examples=40, deadline=None)
def test_wild_points_do_no_harm(points: list, class_id: int) -> None:
    page = np.full((60, 80, 3), 200, np.uint8)
    array = np.array(points, float).reshape(-1, 2)
    labels = np.column_stack([np.full(len(array), class_id), array])
    drawn = draw_overlay(page, {"I": array}, labels, array)
    assert drawn.shape == page.shape and drawn.dtype == np.uint8


@pytest.mark.parametrize("image", [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((5, 5, 4), np.uint8)])
def test_overlay_wants_rgb(image: np.ndarray) -> None:
    with pytest.raises(CardioscanError, match="RGB"):
        draw_overlay(image, {})


def test_overlay_of_a_digitization() -> None:
    page = np.full((50, 60, 3), 255, np.uint8)
    traces = {"I": np.array([[5.0, 25.0], [55.0, 25.0]])}
    whole = SimpleNamespace(record=record(), image=page, traces=traces, labels=None, lattice=None)
    np.testing.assert_array_equal(overlay_of(whole), draw_overlay(page, traces))  # type: ignore[arg-type]
    unread = SimpleNamespace(record=record(), image=None, traces={}, labels=None, lattice=None)
    with pytest.raises(CardioscanError, match="page"):
        overlay_of(unread)  # type: ignore[arg-type]
