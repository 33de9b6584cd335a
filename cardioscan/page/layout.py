"""Which lead is printed where and when: the order on the paper, without a length in px."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cardioscan.errors import LayoutError
from cardioscan.page.leads import LEAD_INDEX


@dataclass(frozen=True)
class Cell:
    """One print of a lead.

    Attributes:
        lead: its name.
        row: of the page, from the top, 0-based.
        column: of the row, from the left, 0-based.
        t_start: seconds into the record at which it begins.
        seconds: how long it is.
        sign: -1 where the inverted lead is printed, as Cabrera's order has it with -aVR; else 1.
    """

    lead: str
    row: int
    column: int
    t_start: float
    seconds: float
    sign: int = 1

    @property
    def label(self) -> str:
        """What is printed beside it: the lead's name, with a minus where it is inverted."""
        return f"-{self.lead}" if self.sign < 0 else self.lead


@dataclass(frozen=True)
class Layout:
    """The order of leads on a page.

    Attributes:
        name: as the catalogue has it (``3x4+1``, ``6x2 Cabrera``, ...), or a description.
        cells: row by row, each row from left to right.

    Raises:
        LayoutError: there is no cell, a lead is unknown, or cells of one row are not numbered from the left.
    """

    name: str
    cells: tuple[Cell, ...]

    def __post_init__(self) -> None:
        """Check the cells."""
        if not self.cells:
            raise LayoutError(f"layout {self.name!r} has no cell")
        for cell in self.cells:
            if cell.lead not in LEAD_INDEX:
                raise LayoutError(f"layout {self.name!r} has a lead {cell.lead!r}; known are {', '.join(LEAD_INDEX)}")
            lasts = 0 < cell.seconds < math.inf and 0 <= cell.t_start < math.inf
            if not (lasts and cell.row >= 0 and cell.sign in (-1, 1)):
                what = "has no row, no extent in time, or a sign that is not 1 or -1"
                raise LayoutError(f"layout {self.name!r}: {cell} {what}")
        for row in range(self.n_rows):
            columns = [cell.column for cell in self.row(row)]
            if columns != list(range(len(columns))):
                raise LayoutError(f"layout {self.name!r}: the cells of row {row} are not numbered from the left")

    @property
    def n_rows(self) -> int:
        """Number of printed rows."""
        return 1 + max(cell.row for cell in self.cells)

    @property
    def seconds(self) -> float:
        """From the beginning of the record to the end of the cell that ends last."""
        return max(cell.t_start + cell.seconds for cell in self.cells)

    @property
    def sequential(self) -> bool:
        """Whether columns follow one another in time; else all begin together."""
        return any(cell.t_start > 0 for cell in self.cells)

    def row(self, row: int) -> tuple[Cell, ...]:
        """The cells of one row, left to right."""
        return tuple(cell for cell in self.cells if cell.row == row)

    def left_s(self, cell: Cell) -> float:
        """Seconds of paper from the left end of its row to the cell, whether columns are sequential or not."""
        return sum(other.seconds for other in self.row(cell.row) if other.column < cell.column)

    @property
    def width_s(self) -> float:
        """Seconds of paper of the longest row."""
        return max(self.left_s(cell) + cell.seconds for cell in self.cells)

    def prints(self, lead: str) -> tuple[Cell, ...]:
        """All prints of one lead, the longest first; of equals the lowest, which is the rhythm row."""
        return tuple(sorted((cell for cell in self.cells if cell.lead == lead), key=lambda c: (-c.seconds, -c.row)))

    def is_rhythm(self, cell: Cell) -> bool:
        """Whether this is the longest of several prints of its lead."""
        prints = self.prints(cell.lead)
        return len(prints) > 1 and cell == prints[0]

    def trace_name(self, cell: Cell) -> str:
        """A name of its own for each print: ``II``, ``II (rhythm)``, and ``II (row 5)`` where there are more."""
        if self.is_rhythm(cell):
            return f"{cell.lead} (rhythm)"
        if cell == self.prints(cell.lead)[-1]:
            return cell.lead
        twice = sum(other.row == cell.row for other in self.prints(cell.lead)) > 1
        column = f", column {cell.column + 1}" if twice else ""
        return f"{cell.lead} (row {cell.row + 1}{column})"

    def lead_seconds(self) -> dict[str, float]:
        """How much of each lead is printed, s: the length of its longest print."""
        return {cell.lead: self.prints(cell.lead)[0].seconds for cell in self.cells}

    def simultaneous(self) -> Layout:
        """The same order with all columns beginning at the same time."""
        cells = tuple(Cell(c.lead, c.row, c.column, 0.0, c.seconds, c.sign) for c in self.cells)
        return Layout(f"{self.name} simultaneous", cells)

    def to_json_dict(self) -> dict[str, Any]:
        """The layout as plain JSON values."""
        return {"name": self.name, "cells": [asdict(cell) for cell in self.cells]}

    @classmethod
    def from_json_dict(cls, value: Mapping[str, Any]) -> Layout:
        """The layout that ``to_json_dict`` turned into JSON. Raises ``LayoutError`` where it is none."""
        try:
            return cls(str(value["name"]), tuple(Cell(**cell) for cell in value["cells"]))
        except (KeyError, TypeError) as error:
            raise LayoutError(f"this is no layout: {error}") from error
