"""The page that the networks know, against its own arithmetic and against real clean pages."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from cardioscan.backends.specs import EXTRACTION_PLACES, NAME_PLACES, RECTIFIER_WINDOW
from cardioscan.page.leads import LEADS
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.page.scale import Source

SHEET, SCALE = REFERENCE_PAGE.sheet, REFERENCE_PAGE.scale
BOUNDS = (117.7165, 609.8425, 1101.9685, 1594.0945, 2086.2205)
"""Three squares from the left and every 2.5 s from there, a sample early."""


def test_the_sheet_is_us_letter_at_200_dpi() -> None:
    assert (SHEET.width, SHEET.height, SHEET.n_vertical_lines, SHEET.n_horizontal_lines) == (2200, 1700, 57, 44)
    assert (SHEET.x0, SHEET.y0, SHEET.raster_y0, SHEET.pitch) == (0.0, 7.0, 7.085, 39.37)
    assert SHEET.lattice().shape == (44, 57, 2)


def test_the_scale_is_usual_and_nobody_has_measured_it() -> None:
    assert (SCALE.speed_mm_per_s, SCALE.gain_mm_per_mv) == (25.0, 10.0)
    assert SCALE.px_per_mv == pytest.approx(78.740, abs=1e-3)
    assert SCALE.px_per_s == pytest.approx(196.850, abs=1e-3)
    assert SCALE.px_per_sample == pytest.approx(0.3937, abs=1e-4)
    assert SCALE.speed_source is SCALE.gain_source is Source.ASSUMED


def test_every_lead_is_printed_once_and_two_also_as_rhythm() -> None:
    assert REFERENCE_PAGE.layout.name == "3x4+1"
    leads = [segment.lead for segment in REFERENCE_PAGE.segments]
    assert leads == ["I", "aVR", "V1", "V4", "II", "aVL", "V2", "V5", "III", "aVF", "V3", "V6", "II"]
    assert sorted(set(leads)) == sorted(LEADS)
    assert [segment.row for segment in REFERENCE_PAGE.segments] == [0] * 4 + [1] * 4 + [2] * 4 + [3]


def test_rows_and_segments_lie_where_the_printer_has_them() -> None:
    assert REFERENCE_PAGE.zero_y == (707.0, 991.0, 1273.0, 1533.0)
    assert REFERENCE_PAGE.pulse_x == (79.0, 118.0)
    for row in range(3):
        segments = REFERENCE_PAGE.row_segments(row)
        assert [segment.x_start for segment in segments] == pytest.approx(BOUNDS[:-1], abs=1e-3)
        assert [segment.x_end for segment in segments] == pytest.approx(BOUNDS[1:], abs=1e-3)
        assert [REFERENCE_PAGE.samples(s) for s in segments] == [(1250 * n, 1250 * (n + 1)) for n in range(4)]
    (rhythm,) = REFERENCE_PAGE.row_segments(3)
    assert (rhythm.x_start, rhythm.x_end) == pytest.approx((BOUNDS[0], BOUNDS[-1]), abs=1e-3)
    assert REFERENCE_PAGE.samples(rhythm) == (0, 5000)
    assert REFERENCE_PAGE.layout.lead_seconds() == {lead: 10.0 if lead == "II" else 2.5 for lead in LEADS}


def test_bars_stand_between_the_columns() -> None:
    bars = REFERENCE_PAGE.bars
    assert bars is not None
    assert (bars.x, bars.offset_px, bars.half_height_px) == ((610.0, 1102.0, 1594.0), -0.5, 27.0)


def test_names_stand_at_nodes_above_their_segments() -> None:
    nodes = [(j, i) for j in (19, 26, 33) for i in (3, 16, 28, 41)] + [(40, 3)]
    assert [(name.x, name.y) for name in REFERENCE_PAGE.names] == [SHEET.node(j, i) for j, i in nodes]
    assert [(label.j, label.i) for label in NAME_PLACES.classes] == nodes
    for name, segment in zip(REFERENCE_PAGE.names, REFERENCE_PAGE.segments, strict=True):
        assert (name.lead, name.row) == (segment.lead, segment.row)
        assert abs(name.y - REFERENCE_PAGE.zero_y[name.row]) < 60
        assert segment.x_start < name.x < segment.x_end


def test_classes_of_the_networks_are_the_printed_names() -> None:
    assert [label.class_id for label in NAME_PLACES.classes] == list(range(1, 14))
    leads = {label.class_id: label.lead for label in NAME_PLACES.classes}
    assert leads[1] == "I" and leads[4] == "V4" and leads[9] == "III" and leads[13] == "II"
    assert NAME_PLACES.points().tolist() == [[name.x, name.y] for name in REFERENCE_PAGE.names]
    assert NAME_PLACES.sheet == RECTIFIER_WINDOW.sheet == SHEET
    assert (EXTRACTION_PLACES.width, EXTRACTION_PLACES.height) == (SHEET.width, SHEET.height)
    assert EXTRACTION_PLACES.zero_y == REFERENCE_PAGE.zero_y


@pytest.mark.parametrize("points", [[[0.0, 0.0]], [[2199.0, 1699.0], [1100.0, 850.0]]])
def test_the_rectifier_sees_the_whole_page_with_a_margin(points: list[list[float]]) -> None:
    window = RECTIFIER_WINDOW
    there = window.from_reference(np.array(points))
    assert np.allclose((there - (window.offset_x, window.offset_y)) / window.scale, points)
    homogeneous = np.column_stack([np.array(points), np.ones(len(points))]) @ window.matrix.T
    assert np.allclose(homogeneous[:, :2], there)
    assert (there >= 70).all() and (there <= (window.width - 70, window.height - 70)).all()
    assert window.pitch == pytest.approx(39.37 * 1280 / 2200)


@pytest.fixture(params=["892067079", "91831581"])
def clean_page(request: pytest.FixtureRequest, shared_data: Path) -> np.ndarray:
    image = cv2.imread(str(shared_data / "pages" / f"{request.param}-0001.png"))
    assert image is not None
    return image[:, :, ::-1].astype(np.float32)


def test_grid_lines_of_clean_pages_lie_on_the_lattice(clean_page: np.ndarray) -> None:
    redness = clean_page[:, :, 0] - clean_page[:, :, 1:].mean(axis=2)
    by_column, by_row = redness.mean(axis=0), redness.mean(axis=1)
    for profile, start, count in ((by_column, SHEET.x0, 56), (by_row, SHEET.y0, 43)):
        for k in range(1, count):
            expected = start + SHEET.pitch * k
            window = np.arange(int(expected) - 4, int(expected) + 6)
            assert abs(window[np.argmax(profile[window])] - expected) <= 1.0


def test_bars_and_pulses_of_clean_pages_lie_in_their_places(clean_page: np.ndarray) -> None:
    assert REFERENCE_PAGE.bars is not None
    dark = clean_page.max(axis=2) < 90
    for row, zero in enumerate(REFERENCE_PAGE.zero_y):
        foot = dark[int(zero) - 60 : int(zero) + 5, 77:83].any(axis=1)
        assert abs(int(zero) - 60 + np.flatnonzero(foot)[-1] - zero) <= 3
        top = dark[int(zero - SCALE.px_per_mv) - 4 : int(zero - SCALE.px_per_mv) + 5, 90:110]
        assert top.any(axis=0).all()
        if row < 3:
            for boundary in REFERENCE_PAGE.bars.x:
                bar = dark[int(zero) - 20 : int(zero) + 20, int(boundary) - 6 : int(boundary) + 7].all(axis=0)
                centre = int(boundary) - 6 + np.flatnonzero(bar).mean()
                assert centre == pytest.approx(boundary - 0.5, abs=1.0)
