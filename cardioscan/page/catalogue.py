"""The layouts that printers use, as data. To add one, add a line to ``_ORDERS`` (and a test page).

A layout's name is one of these, with ``+1``, ``+2`` or ``+3`` for rhythm rows below, and the leads of these in
brackets where they are not the usual ones: ``3x4+1``, ``3x4+1(V1)``, ``3x4+3(V1,II,V5)``, ``6x2 Cabrera``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from cardioscan.errors import LayoutError
from cardioscan.page.layout import Cell, Layout
from cardioscan.page.leads import LEADS, RECORD_SECONDS

_ORDERS: Final = {
    "3x4": "I aVR V1 V4 / II aVL V2 V5 / III aVF V3 V6",
    "3x4 Cabrera": "aVL II V1 V4 / I aVF V2 V5 / -aVR III V3 V6",
    "4x3": "I aVR V1 / II aVL V2 / III aVF V3 / V4 V5 V6",
    "6x2": "I V1 / II V2 / III V3 / aVR V4 / aVL V5 / aVF V6",
    "6x2 Cabrera": "aVL V1 / I V2 / -aVR V3 / II V4 / aVF V5 / III V6",
    "12x1": "I / II / III / aVR / aVL / aVF / V1 / V2 / V3 / V4 / V5 / V6",
    "12x1 Cabrera": "aVL / I / -aVR / II / aVF / III / V1 / V2 / V3 / V4 / V5 / V6",
    "6x1 limb": "I / II / III / aVR / aVL / aVF",
    "6x1 limb Cabrera": "aVL / I / -aVR / II / aVF / III",
    "6x1 chest": "V1 / V2 / V3 / V4 / V5 / V6",
    "3x1": "I / II / III",
    **{lead: lead for lead in LEADS},
}
"""Rows from the top, each from left to right; a minus is an inverted lead. Columns share ten seconds."""

_RHYTHM: Final = {1: ("II",), 2: ("II", "V1"), 3: ("V1", "II", "V5")}
"""The usual rhythm leads below a layout, from the top, by how many there are."""

NAMES: Final = tuple(_ORDERS)
"""The layouts without rhythm rows, by name."""

_SIMULTANEOUS: Final = " simultaneous"
_NAME: Final = re.compile(r"(?P<order>.*?)(?:\+(?P<count>[1-3])(?:\((?P<leads>[^)]*)\))?)?")


def find_layout(name: str) -> Layout:
    """The layout of that name, see the module; columns are sequential where the name does not end in "simultaneous".

    Raises:
        LayoutError: there is none; the text names those that there are.
    """
    if name.endswith(_SIMULTANEOUS):
        return find_layout(name.removesuffix(_SIMULTANEOUS)).simultaneous()
    match = _NAME.fullmatch(name.strip())
    if match is None or match["order"] not in _ORDERS:
        raise LayoutError(
            f"unknown layout {name!r}; known are {', '.join(_ORDERS)}, each also with rhythm rows: '3x4+1', "
            "'3x4+1(V1)', '3x4+3(V1,II,V5)'"
        )
    leads: Sequence[str] = ()
    if match["count"]:
        count = int(match["count"])
        leads = _RHYTHM[count] if match["leads"] is None else [lead.strip() for lead in match["leads"].split(",")]
        if len(leads) != count:
            raise LayoutError(f"layout {name!r} says {count} rhythm rows and names {len(leads)}")
    return Layout(name.strip(), _cells(_ORDERS[match["order"]], leads))


def _cells(order: str, rhythm: Sequence[str]) -> tuple[Cell, ...]:
    rows = [row.split() for row in order.split("/")] + [[lead] for lead in rhythm]
    cells = []
    for row, labels in enumerate(rows):
        seconds = RECORD_SECONDS / len(labels)
        for column, label in enumerate(labels):
            sign = -1 if label.startswith("-") else 1
            cells.append(Cell(label.removeprefix("-"), row, column, column * seconds, seconds, sign))
    return tuple(cells)
