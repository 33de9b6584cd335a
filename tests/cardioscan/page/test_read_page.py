from __future__ import annotations

from dataclasses import replace

import pytest

from cardioscan.page.catalogue import find_layout
from cardioscan.page.layout import Cell, Layout
from cardioscan.page.read_page import ReadPage, Segment
from cardioscan.page.scale import Scale
from cardioscan.page.sheet import Sheet

SHEET = Sheet(2200, 1700, 57, 44, 0.0, 7.0)
USUAL = Scale(25.0, 10.0)


def page_of(layout: Layout, scale: Scale = USUAL, left: float = 100.0) -> ReadPage:
    """A page that prints columns side by side, each as long as it lasts, row below row."""
    segments = []
    for row in range(layout.n_rows):
        x = left
        for cell in layout.row(row):
            segments.append(Segment(cell, x, x + scale.px_per_s * cell.seconds))
            x = segments[-1].x_end
    return ReadPage(SHEET, layout, scale, tuple(100.0 + 200 * row for row in range(layout.n_rows)), tuple(segments))


@pytest.mark.parametrize("scale", [USUAL, Scale(50.0, 10.0), Scale(12.5, 5.0), Scale(24.7, 10.0)], ids=repr)
@pytest.mark.parametrize("seconds", [3.333, 1.87, 2.5, 0.002, 0.998, 4.0001, 7.7777, 10.0])
def test_a_segment_is_as_long_as_it_is_printed(seconds: float, scale: Scale) -> None:
    page = page_of(Layout("one", (Cell("I", 0, 0, 0.0, seconds),)), scale, left=117.7)
    assert page.samples(page.segments[0]) == (0, round(seconds * 500))


@pytest.mark.parametrize(("x_end", "stop"), [(300.0, 508), (300.2, 509), (300.5, 509), (301.0, 511), (500.0, 1016)])
def test_the_paper_says_how_long_a_segment_is_not_the_layout(x_end: float, stop: int) -> None:
    page = page_of(find_layout("I"))
    assert page.samples(Segment(page.layout.cells[0], 100.0, x_end)) == (0, stop)


@pytest.mark.parametrize(
    ("t_start", "seconds", "samples"),
    [(3.334, 1.87, (1667, 2602)), (2.5, 2.5, (1250, 2500)), (7.5, 2.5, (3750, 5000)), (7.5, 3.0, (3750, 5000))],
)
def test_a_segment_begins_at_its_time_and_ends_with_the_record(
    t_start: float, seconds: float, samples: tuple[int, int]
) -> None:
    page = page_of(Layout("late", (Cell("I", 0, 0, t_start, seconds),)))
    assert page.samples(page.segments[0]) == samples


@pytest.mark.parametrize("name", ["3x4+1", "3x4+3", "6x2 Cabrera", "12x1", "4x3+2", "V1"])
def test_sequential_segments_cover_each_row_of_the_record_once(name: str) -> None:
    page = page_of(find_layout(name))
    for row in range(page.n_rows):
        bounds = [page.samples(segment) for segment in page.row_segments(row)]
        assert bounds[0][0] == 0 and bounds[-1][1] == 5000
        assert all(abs(stop - start) <= 1 for (_, stop), (start, _) in zip(bounds, bounds[1:], strict=False))


@pytest.mark.parametrize("name", ["3x4+1", "6x2"])
def test_simultaneous_segments_begin_with_the_record(name: str) -> None:
    layout = find_layout(name).simultaneous()
    page = page_of(layout)
    lengths = [round(500 * cell.seconds) for cell in layout.cells]
    assert [page.samples(segment) for segment in page.segments] == [(0, length) for length in lengths]


def test_segments_know_their_lead_and_row() -> None:
    page = page_of(find_layout("3x4 Cabrera+1"))
    assert page.n_rows == 4
    assert [segment.lead for segment in page.row_segments(2)] == ["aVR", "III", "V3", "V6"]
    assert {segment.row for segment in page.row_segments(3)} == {3}
    assert page.row_segments(4) == ()


@pytest.mark.parametrize("rows", [3, 5, 0])
def test_a_page_has_the_rows_of_its_layout(rows: int) -> None:
    with pytest.raises(ValueError, match=rf"3x4\+1 has 4 rows, not {rows}"):
        replace(page_of(find_layout("3x4+1")), zero_y=tuple(range(rows)))


@pytest.mark.parametrize("change", ["one fewer", "one more", "another order", "another cell", "none"])
def test_segments_are_the_cells_of_the_layout(change: str) -> None:
    page = page_of(find_layout("3x4+1"))
    first, *others = page.segments
    wrong = {
        "one fewer": others,
        "one more": [*page.segments, first],
        "another order": [*others, first],
        "another cell": [replace(first, cell=replace(first.cell, seconds=2.4)), *others],
        "none": [],
    }[change]
    with pytest.raises(ValueError, match=r"not the cells of 3x4\+1"):
        replace(page, segments=tuple(wrong))


def test_a_page_read_at_twice_the_speed_is_half_as_long() -> None:
    slow = replace(page_of(find_layout("3x4+1")), scale=Scale(50.0, 10.0))
    assert [stop - start for start, stop in map(slow.samples, slow.row_segments(0))] == [625] * 4
