"""The page that the networks were trained on: one printer's 3x4+1 sheet, US letter landscape, 25 mm/s and 10 mm/mV.

Every number of that printer stands here. It is never a default: whoever draws or expects this page names it.
"""

from __future__ import annotations

from typing import Final

from cardioscan.page.catalogue import find_layout
from cardioscan.page.read_page import Bars, PrintedName, ReadPage, Segment
from cardioscan.page.scale import Scale
from cardioscan.page.sheet import Sheet

_ZERO_Y: Final = (707.0, 991.0, 1273.0, 1533.0)
_COLUMN_BOUNDS: Final = (118.0, 610.0, 1102.0, 1594.0, 2087.0)
_NAME_ROWS_J: Final = (19, 26, 33, 40)
_NAME_COLUMNS_I: Final = (3, 16, 28, 41)
"""A name's keypoint is the node (j, i) of its row and column."""


def _reference_page() -> ReadPage:
    sheet = Sheet(2200, 1700, n_vertical_lines=57, n_horizontal_lines=44, x0=0.0, y0=7.0, raster_y0=7.085)
    layout, scale = find_layout("3x4+1"), Scale(25.0, 10.0)
    # Leads begin three squares from the left and every 2.5 s from there, and each sample is drawn one sample (0.39 px)
    # early: seen on all 18 development photographs to a tenth of a sample, per column.
    px_per_s = 200 / 25.4 * 25
    first = 3 * 5 * 200 / 25.4 - scale.px_per_sample
    bounds = [first + 2.5 * px_per_s * column for column in range(5)]
    segments = tuple(
        Segment(cell, bounds[cell.column], bounds[-1] if cell.seconds == 10 else bounds[cell.column + 1])
        for cell in layout.cells
    )
    names = tuple(
        PrintedName(cell.lead, cell.row, *sheet.node(_NAME_ROWS_J[cell.row], _NAME_COLUMNS_I[cell.column]))
        for cell in layout.cells
    )
    bars = Bars(_COLUMN_BOUNDS[1:-1], offset_px=-0.5, half_height_px=27.0)  # offset on clean prints: -0.50, sd 0.02
    return ReadPage(sheet, layout, scale, _ZERO_Y, segments, names, bars, pulse_x=(79.0, 118.0))


KNOWN_PAGE: Final = "3 rows of 4 leads and a rhythm row, 25 mm/s, 10 mm/mV"
"""That page in words, for people whose page is another one."""
REFERENCE_PAGE: Final = _reference_page()
"""That page."""
