"""The printed report, read back with PDFium."""

from __future__ import annotations

import re

import numpy as np
import pytest

from cardioscan.evaluate.evaluation import only_printed
from cardioscan.formats import writers
from cardioscan.page.catalogue import find_layout
from cardioscan.page.leads import LEADS
from cardioscan.page.scale import Scale
from cardioscan.page.sheet import MM_PER_INCH
from cardioscan.record import Calibration

pytest.importorskip("matplotlib", reason="needs matplotlib (extra 'plot')")
pdfium = pytest.importorskip("pypdfium2", reason="needs pypdfium2")

PX_PER_MM = 10
POINTS_PER_MM = 72 / MM_PER_INCH


def document(record):
    (content,) = writers()["pdf"].files(record).values()
    return pdfium.PdfDocument(content)


def text_of(record) -> str:
    return document(record)[0].get_textpage().get_text_range()


def test_it_is_one_sheet_of_a4_with_every_lead_named(page_record):
    pages = document(page_record)
    assert len(pages) == 1
    width, height = (round(side / POINTS_PER_MM) for side in pages[0].get_size())
    assert (width, height) == (297, 210)
    text = text_of(page_record)
    assert all(re.search(rf"\b{lead}\b", text) for lead in LEADS)
    assert "25 mm/s" in text and "72/min" in text and "Jane_Doe_1950" in text


def test_what_was_not_read_is_said(page_record, make_record, page_signals):
    lines = text_of(page_record).splitlines()
    assert any(re.match(r"aVF\s+not read\s+\(!\)", line) for line in lines)
    assert any(re.match(r"I\s+2\.48 s\s+confidence 0\.75$", line.strip()) for line in lines)
    assert "Heart rate not measured" in text_of(make_record(page_signals)).replace("  ", " ")


def test_edits_by_hand_are_said(page_signals, make_record):
    edited = make_record(page_signals, edits=({"kind": "redraw", "lead": "I"},))
    assert "Corrected by hand: redraw" in text_of(edited)
    assert "Corrected by hand" not in text_of(make_record(page_signals))


def test_printed_at_full_size_it_is_to_scale(make_record):
    signals = np.full((12, 5000), np.nan)
    signals[1] = np.where(np.arange(5000) < 2500, 0.0, 1.0)  # the rhythm row rises by 1 mV after 5 s
    page = (
        document(make_record(signals, layout=find_layout("3x4+1")))[0]
        .render(scale=PX_PER_MM / POINTS_PER_MM)
        .to_numpy()
    )
    top, bottom = 118 * PX_PER_MM, 140 * PX_PER_MM  # the rhythm row, without the name above it and the frame below it
    black = page[top:bottom, :, :3].max(axis=2) < 60

    def height_mm(x_mm: float) -> float:
        return float(np.flatnonzero(black[:, round(x_mm * PX_PER_MM)]).mean()) / PX_PER_MM

    assert height_mm(100) - height_mm(200) == pytest.approx(10, abs=0.1)
    # The calibration pulse is as high, and 5 mm wide.
    inner = black[:, 18 * PX_PER_MM : 279 * PX_PER_MM]  # within the frame of the sheet
    tall = np.flatnonzero(inner.sum(axis=0) > 8 * PX_PER_MM) / PX_PER_MM
    rise, fall, step = tall[np.r_[True, np.diff(tall) > 1]]
    assert fall - rise == pytest.approx(5, abs=0.2)
    assert step - fall == pytest.approx(1 + 125, abs=0.2)  # sample 0 stands 1 mm behind the pulse


@pytest.mark.parametrize("name", ["3x4+1(V1)", "4x3", "6x2", "12x1", "6x2 Cabrera", "3x4+3"])
def test_every_print_of_a_lead_is_named(make_record, name):
    layout = find_layout(name)
    text = text_of(make_record(only_printed(np.zeros((12, 5000)), layout), layout=layout))
    for cell in layout.cells:
        alike = [other for other in layout.cells if other.label == cell.label]
        named_in_table = cell.label in LEADS
        found = re.findall(rf"(?<![\w-]){re.escape(cell.label)}\b", text)
        assert len(found) >= len(alike) + named_in_table, cell.label


@pytest.mark.parametrize(
    ("name", "speed"),
    [
        ("3x4+1", 25.0),
        ("3x4", 12.5),
        ("3x4+2", 25.0),
        ("6x2", 25.0),
        ("12x1", 25.0),
        ("3x4+1", 50.0),
    ],
)
def test_the_sheet_ends_before_the_table_and_the_edge_of_the_paper(make_record, name, speed):
    layout, calibration = find_layout(name), Calibration.of(Scale(speed, 10.0))
    record = make_record(only_printed(np.zeros((12, 5000)), layout), layout=layout, calibration=calibration)
    pixels = document(record)[0].render(scale=PX_PER_MM / POINTS_PER_MM).to_numpy()
    white = pixels[:, :, :3].min(axis=2) > 250
    assert white[153 * PX_PER_MM].all() and white[:, 293 * PX_PER_MM].all()


@pytest.mark.parametrize(
    ("speed", "gain"),
    [
        (25.0, 10.0),
        (12.5, 5.0),
    ],
)
def test_the_note_says_the_scale_of_the_sheet(make_record, page_signals, speed, gain):
    record = make_record(page_signals, layout=find_layout("3x4+1"), calibration=Calibration.of(Scale(speed, gain)))
    assert f"{speed:g} mm/s and {gain:g} mm/mV" in text_of(record)
