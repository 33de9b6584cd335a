"""Every layout that printers use, with every number of rhythm rows."""

from __future__ import annotations

import json
import re

import pytest

from cardioscan.errors import LayoutError
from cardioscan.page.catalogue import NAMES, find_layout
from cardioscan.page.layout import Layout
from cardioscan.page.leads import LEADS

TWELVE = [name for name in NAMES if re.match(r"3x4|4x3|6x2|12x1", name)]
RHYTHMS = ("", "+1", "+3", "+1(-aVR)", "+2(V2, V5)", "+3(II,II,II)")


@pytest.fixture(params=[name + rhythm for name in NAMES for rhythm in RHYTHMS])
def layout(request: pytest.FixtureRequest) -> Layout:
    return find_layout(request.param)


def test_the_name_finds_the_layout_again(layout: Layout) -> None:
    assert find_layout(layout.name) == layout
    assert find_layout(f"  {layout.name} ") == layout


def test_cells_cover_each_row_once(layout: Layout) -> None:
    assert sorted({cell.row for cell in layout.cells}) == list(range(layout.n_rows))
    assert list(layout.cells) == sorted(layout.cells, key=lambda cell: (cell.row, cell.column))
    for row in range(layout.n_rows):
        end = 0.0
        for cell in layout.row(row):
            assert cell.t_start == pytest.approx(end)
            end = cell.t_start + cell.seconds
        assert end == pytest.approx(10.0)
        assert len({cell.seconds for cell in layout.row(row)}) == 1
    assert layout.seconds == pytest.approx(10.0)


def test_only_avr_is_turned_over_and_only_where_the_name_says_so(layout: Layout) -> None:
    turned = [cell.lead for cell in layout.cells if cell.sign < 0]
    assert turned == ["aVR"] * (("Cabrera" in layout.name) + ("-aVR" in layout.name))


def test_traces_have_names_of_their_own(layout: Layout) -> None:
    names = [layout.trace_name(cell) for cell in layout.cells]
    assert len(set(names)) == len(names)
    assert [layout.is_rhythm(cell) for cell in layout.cells] == [name.endswith("(rhythm)") for name in names]


def test_layouts_survive_json(layout: Layout) -> None:
    assert Layout.from_json_dict(json.loads(json.dumps(layout.to_json_dict()))) == layout


def test_simultaneous_columns_differ_in_time_only(layout: Layout) -> None:
    together = layout.simultaneous()
    assert find_layout(together.name) == together
    assert not together.sequential
    assert [cell.label for cell in together.cells] == [cell.label for cell in layout.cells]
    assert together.lead_seconds() == layout.lead_seconds()
    assert together.seconds == max(cell.seconds for cell in layout.cells)


@pytest.mark.parametrize("name", TWELVE)
def test_twelve_leads_are_printed_once_each(name: str) -> None:
    layout = find_layout(name)
    assert sorted(cell.lead for cell in layout.cells) == sorted(LEADS)
    assert not any(layout.is_rhythm(cell) for cell in layout.cells)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("3x4", "I aVR V1 V4/II aVL V2 V5/III aVF V3 V6"),
        ("3x4+1", "I aVR V1 V4/II aVL V2 V5/III aVF V3 V6/II"),
        ("3x4+2", "I aVR V1 V4/II aVL V2 V5/III aVF V3 V6/II/V1"),
        ("3x4+3", "I aVR V1 V4/II aVL V2 V5/III aVF V3 V6/V1/II/V5"),
        ("3x4+3(V2,V4,I)", "I aVR V1 V4/II aVL V2 V5/III aVF V3 V6/V2/V4/I"),
        ("3x4 Cabrera+1", "aVL II V1 V4/I aVF V2 V5/-aVR III V3 V6/II"),
        ("4x3", "I aVR V1/II aVL V2/III aVF V3/V4 V5 V6"),
        ("6x2", "I V1/II V2/III V3/aVR V4/aVL V5/aVF V6"),
        ("6x2 Cabrera", "aVL V1/I V2/-aVR V3/II V4/aVF V5/III V6"),
        ("12x1", "I/II/III/aVR/aVL/aVF/V1/V2/V3/V4/V5/V6"),
        ("12x1 Cabrera", "aVL/I/-aVR/II/aVF/III/V1/V2/V3/V4/V5/V6"),
        ("6x1 limb", "I/II/III/aVR/aVL/aVF"),
        ("6x1 limb Cabrera", "aVL/I/-aVR/II/aVF/III"),
        ("6x1 chest", "V1/V2/V3/V4/V5/V6"),
        ("3x1", "I/II/III"),
        ("II", "II"),
        ("V6+1", "V6/II"),
    ],
)
def test_leads_stand_in_their_order(name: str, rows: str) -> None:
    layout = find_layout(name)
    printed = [" ".join(cell.label for cell in layout.row(row)) for row in range(layout.n_rows)]
    assert "/".join(printed) == rows


@pytest.mark.parametrize("lead", LEADS)
def test_any_lead_may_be_the_rhythm_lead_and_stand_alone(lead: str) -> None:
    layout = find_layout(f"3x4+1({lead})")
    rhythm = layout.row(3)[0]
    assert (rhythm.lead, rhythm.seconds, rhythm.t_start) == (lead, 10.0, 0.0)
    assert layout.is_rhythm(rhythm) and layout.trace_name(rhythm) == f"{lead} (rhythm)"
    assert [cell.seconds for cell in layout.prints(lead)] == [10.0, 2.5]
    assert layout.lead_seconds() == {name: 10.0 if name == lead else 2.5 for name in LEADS}
    assert [cell.lead for cell in find_layout(lead).cells] == [lead]


@pytest.mark.parametrize(
    ("name", "rows"),
    [("3x4+3(II,II,II)", [5, 4, 3, 1]), ("3x4+2(V1,V1)", [4, 3, 0]), ("12x1+1", [12, 1]), ("II+1", [1, 0])],
)
def test_the_longest_print_counts_and_of_equals_the_lowest(name: str, rows: list[int]) -> None:
    layout = find_layout(name)
    lead = layout.row(layout.n_rows - 1)[0].lead
    assert [cell.row for cell in layout.prints(lead)] == rows


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "known are 3x4, 3x4 Cabrera, 4x3"),
        ("5x5", r"unknown layout '5x5'; known are 3x4.*'3x4\+1\(V1\)'"),
        ("3X4", "unknown layout '3X4'"),
        ("3x4+", "unknown layout"),
        ("3x4+0", "unknown layout"),
        ("3x4+4", "unknown layout"),
        ("3x4(V1)", "unknown layout"),
        ("3x4+1(V1", "unknown layout"),
        ("3x4+1 (V1)", "unknown layout"),
        ("3x4\n+1", "unknown layout"),
        ("3x4+2(V1)", "says 2 rhythm rows and names 1"),
        ("3x4+1(V1,II)", "says 1 rhythm rows and names 2"),
        ("3x4+1(V7)", "a lead 'V7'; known are I, II"),
        ("3x4+1()", "a lead ''; known are I, II"),
    ],
    ids=repr,
)
def test_a_name_that_is_none_says_what_there_is(name: str, text: str) -> None:
    with pytest.raises(LayoutError, match=text):
        find_layout(name)
