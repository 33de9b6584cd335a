"""ECG paper that is no readable standard page: blank, one strip, another layout, no trace, or no grid.

Every kind is a function from a random generator to a picture, (H, W, 3) uint8 RGB, 1200 to 2400 px wide.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from benchmarks.refusal_set.captures import capture_page
from cardioscan.arrays import Image
from cardioscan.page.catalogue import find_layout
from cardioscan.page.read_page import PrintedName, Segment
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.page.sheet import PITCH_PX
from cardioscan.synthesis.flat import FlatPage, lay_out
from cardioscan.synthesis.simulator import SimulatedSignals
from cardioscan.synthesis.style import random_style, without_grid

_LEFT_PX: Final = 118.0  # where rows begin


def ecg_paper(rng: Generator) -> Image:
    """Blank millimetre paper of a random pitch."""
    pitch = float(rng.uniform(24, 60))
    sheet = replace(
        REFERENCE_PAGE.sheet,
        pitch=pitch,
        n_vertical_lines=int(2200 / pitch) + 1,
        n_horizontal_lines=int(1690 / pitch) + 1,
        raster_y0=None,
    )
    printed = replace(REFERENCE_PAGE, sheet=sheet)
    page = FlatPage(printed, random_style(rng), np.zeros((12, 5000), np.float32), ((),) * printed.n_rows, (), (), ())
    return capture_page(page, rng)


def rhythm_strip(rng: Generator) -> Image:
    """One row of one lead on ECG paper, without a name."""
    lines = int(rng.integers(6, 13))
    height = round(lines * PITCH_PX) + 14
    layout = find_layout("II")
    printed = replace(
        REFERENCE_PAGE,
        sheet=replace(REFERENCE_PAGE.sheet, height=height, n_horizontal_lines=lines + 1, raster_y0=None),
        layout=layout,
        zero_y=(0.6 * height,),
        segments=(Segment(layout.cells[0], _LEFT_PX, _LEFT_PX + 10 * REFERENCE_PAGE.scale.px_per_s),),
        names=(),
        bars=None,
    )
    style = replace(random_style(rng), header_lines=int(rng.integers(0, 2)), handwriting=0, barcode=False)
    return capture_page(lay_out(_signals(rng), style, rng, printed), rng)


def six_by_two(rng: Generator) -> Image:
    """Another printer's page: six rows of two leads, 5 s each, every one with its name."""
    layout, second, bars = find_layout("6x2"), REFERENCE_PAGE.scale.px_per_s, REFERENCE_PAGE.bars
    starts = [_LEFT_PX + second * cell.t_start for cell in layout.cells]
    printed = replace(
        REFERENCE_PAGE,
        layout=layout,
        zero_y=tuple(480.0 + 200.0 * row for row in range(6)),
        segments=tuple(
            Segment(cell, x, x + second * cell.seconds) for cell, x in zip(layout.cells, starts, strict=True)
        ),
        # Of a name only its text, its row and the order of its column are drawn.
        names=tuple(PrintedName(cell.lead, cell.row, x, 0.0) for cell, x in zip(layout.cells, starts, strict=True)),
        bars=None if bars is None else replace(bars, x=(_LEFT_PX + 5 * second,)),
    )
    return capture_page(lay_out(_signals(rng), random_style(rng), rng, printed), rng)


def page_without_traces(rng: Generator) -> Image:
    """A standard page with grid, header and all lead names, on which nothing was recorded."""
    page = lay_out(_signals(rng), replace(random_style(rng), handwriting=0), rng, REFERENCE_PAGE)
    return capture_page(replace(page, rows=((),) * page.printed.n_rows, extras=()), rng)


def page_without_grid(rng: Generator) -> Image:
    """A standard page on plain paper: names and traces, but nothing that gives their scale."""
    style = without_grid(random_style(rng))
    return capture_page(lay_out(_signals(rng), style, rng, REFERENCE_PAGE), rng)


def _signals(rng: Generator) -> NDArray[np.float32]:
    """(12, 5000) float32 mV of the simulator."""
    return SimulatedSignals(1, seed=int(rng.integers(2**31))).record(0)
