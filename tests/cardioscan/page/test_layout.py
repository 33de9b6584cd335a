from __future__ import annotations

import json
from typing import Any

import pytest

from cardioscan.errors import LayoutError
from cardioscan.page.layout import Cell, Layout

I10 = Cell("I", 0, 0, 0.0, 10.0)


def strips(lead: str, *prints: tuple[int, float]) -> Layout:
    """A layout with a row of one lead for each (row, seconds)."""
    return Layout("strips", tuple(Cell(lead, row, 0, 0.0, seconds) for row, seconds in prints))


def test_a_cell_is_named_as_it_is_printed() -> None:
    assert I10.label == "I"
    assert Cell("aVR", 0, 0, 0.0, 10.0, sign=-1).label == "-aVR"


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        ((), "no cell"),
        ((Cell("V7", 0, 0, 0.0, 10.0),), "a lead 'V7'; known are I, II, III"),
        ((Cell("-aVR", 0, 0, 0.0, 10.0),), "a lead '-aVR'"),
        ((Cell("I", 0, 0, 0.0, 0.0),), "no extent in time"),
        ((Cell("I", 0, 0, 0.0, float("nan")),), "no extent in time"),
        ((Cell("I", 0, 0, -1.0, 5.0),), "no extent in time"),
        ((Cell("I", 0, 0, 0.0, float("inf")),), "no extent in time"),
        ((Cell("I", -1, 0, 0.0, 5.0), Cell("II", 0, 0, 0.0, 5.0)), "has no row"),
        ((Cell("I", 0, 0, 0.0, 5.0, sign=0),), "sign that is not 1 or -1"),
        ((Cell("I", 0, 1, 0.0, 5.0),), "row 0 are not numbered from the left"),
        ((I10, Cell("II", 1, 0, 0.0, 5.0), Cell("V1", 1, 2, 5.0, 5.0)), "row 1 are not numbered"),
        ((Cell("V1", 0, 1, 5.0, 5.0), Cell("I", 0, 0, 0.0, 5.0)), "row 0 are not numbered"),
        ((I10, I10), "row 0 are not numbered"),
    ],
)
def test_cells_that_are_no_layout(cells: tuple[Cell, ...], text: str) -> None:
    with pytest.raises(LayoutError, match=text):
        Layout("odd", cells)


def test_rows_of_a_layout() -> None:
    layout = Layout("own", (Cell("I", 0, 0, 0.0, 2.5), Cell("V1", 0, 1, 2.5, 3.0), Cell("II", 1, 0, 0.0, 4.0)))
    assert layout.n_rows == 2
    assert [[cell.lead for cell in layout.row(row)] for row in range(3)] == [["I", "V1"], ["II"], []]
    assert layout.seconds == 5.5
    assert layout.lead_seconds() == {"I": 2.5, "V1": 3.0, "II": 4.0}


@pytest.mark.parametrize(("starts", "sequential"), [((0.0, 2.5), True), ((0.0, 0.0), False)])
def test_columns_follow_one_another_or_begin_together(starts: tuple[float, ...], sequential: bool) -> None:
    layout = Layout("two", tuple(Cell("I", 0, column, start, 2.5) for column, start in enumerate(starts)))
    assert layout.sequential == sequential


@pytest.mark.parametrize(
    ("prints", "order", "names"),
    [
        ([(0, 10.0)], [0], ["II"]),
        ([(1, 2.5), (3, 10.0)], [3, 1], ["II", "II (rhythm)"]),
        ([(0, 10.0), (3, 2.5)], [0, 3], ["II (rhythm)", "II"]),
        ([(0, 5.0), (1, 5.0)], [1, 0], ["II", "II (rhythm)"]),
        ([(1, 2.5), (3, 10.0), (4, 10.0)], [4, 3, 1], ["II", "II (row 4)", "II (rhythm)"]),
        ([(0, 5.0), (1, 2.5), (2, 10.0)], [2, 0, 1], ["II (row 1)", "II", "II (rhythm)"]),
        ([(0, 5.0), (1, 5.0), (2, 5.0), (3, 5.0)], [3, 2, 1, 0], ["II", "II (row 2)", "II (row 3)", "II (rhythm)"]),
    ],
)
def test_every_print_of_a_lead_has_a_name_of_its_own(
    prints: list[tuple[int, float]], order: list[int], names: list[str]
) -> None:
    layout = strips("II", *prints)
    assert [cell.row for cell in layout.prints("II")] == order
    assert [layout.trace_name(cell) for cell in layout.cells] == names
    assert [layout.is_rhythm(cell) for cell in layout.cells] == ["rhythm" in name for name in names]
    assert layout.lead_seconds() == {"II": max(seconds for _, seconds in prints)}
    assert layout.prints("V1") == ()


def test_prints_of_one_row_have_names_of_their_own_too() -> None:
    quarters = tuple(Cell("II", 0, column, 2.5 * column, 2.5) for column in range(4))
    layout = Layout("quarters", (*quarters, Cell("II", 1, 0, 0.0, 10.0)))
    names = [layout.trace_name(cell) for cell in layout.cells]
    assert len(set(names)) == 5 and names[-1] == "II (rhythm)"


def test_columns_of_a_simultaneous_layout_begin_together() -> None:
    layout = Layout("own", (Cell("I", 0, 0, 0.0, 2.5), Cell("aVR", 0, 1, 2.5, 3.0, -1), Cell("II", 1, 0, 0.0, 5.5)))
    together = layout.simultaneous()
    assert together.name == "own simultaneous" and not together.sequential
    assert together.cells == (layout.cells[0], Cell("aVR", 0, 1, 0.0, 3.0, -1), layout.cells[2])
    assert together.seconds == 5.5


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"name": "x"},
        {"name": "x", "cells": []},
        {"name": "x", "cells": None},
        {"name": "x", "cells": "I"},
        {"name": "x", "cells": [{"lead": "I"}]},
        {"name": "x", "cells": [{"lead": "I", "row": 0, "column": 0, "t_start": "a", "seconds": 5.0}]},
        {"name": "x", "cells": [{"lead": "I", "row": 0, "column": 0, "t_start": 0, "seconds": 5, "colour": "red"}]},
        {"name": "x", "cells": [{"lead": "Z", "row": 0, "column": 0, "t_start": 0.0, "seconds": 5.0}]},
    ],
    ids=str,
)
def test_json_that_is_no_layout(value: dict[str, Any]) -> None:
    with pytest.raises(LayoutError):
        Layout.from_json_dict(value)


def test_a_layout_of_ones_own_survives_json() -> None:
    layout = Layout("own", (Cell("I", 0, 0, 0.0, 3.333), Cell("aVR", 0, 1, 3.333, 1.87, sign=-1)))
    assert Layout.from_json_dict(json.loads(json.dumps(layout.to_json_dict()))) == layout
