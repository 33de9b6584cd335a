"""ECG paper that is no readable standard page: blank, one strip, another layout, no trace, or no grid.

Every kind is a function from a random generator to a picture, (H, W, 3) uint8 RGB, 1200 to 2400 px wide.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from cardioscan.page.leads import LEADS
from cardioscan.page.template import STANDARD_PAGE, LeadLabel, LeadSegment
from cardioscan.synthesis.distractor_captures import capture_page
from cardioscan.synthesis.drawing import Image
from cardioscan.synthesis.flat import FlatPage, lay_out
from cardioscan.synthesis.simulator import SimulatedSignals
from cardioscan.synthesis.style import random_style, without_grid


def ecg_paper(rng: Generator) -> Image:
    """Blank millimetre paper of a random pitch."""
    pitch = float(rng.uniform(24, 60))
    template = replace(
        STANDARD_PAGE,
        grid_pitch=pitch,
        n_vertical_lines=int(2200 / pitch) + 1,
        n_horizontal_lines=int(1690 / pitch) + 1,
        grid_raster_y0=None,
    )
    page = FlatPage(template, random_style(rng), np.zeros((12, 5000), np.float32), ((),) * template.n_rows, (), (), ())
    return capture_page(page, rng)


def rhythm_strip(rng: Generator) -> Image:
    """One row of one lead on ECG paper, without a name."""
    lines = int(rng.integers(6, 13))
    height = round(lines * STANDARD_PAGE.grid_pitch) + 14
    segment = LeadSegment("II", 0, 118.0, 118.0 + 10 * STANDARD_PAGE.px_per_s, 0.0)
    template = replace(
        STANDARD_PAGE,
        height=height,
        n_horizontal_lines=lines + 1,
        zero_mv_y=(0.6 * height,),
        segments=(segment,),
        labels=(),
        grid_raster_y0=None,
    )
    style = replace(random_style(rng), header_lines=int(rng.integers(0, 2)), handwriting=0, barcode=False)
    return capture_page(lay_out(_signals(rng), style, rng, template), rng)


def six_by_two(rng: Generator) -> Image:
    """Another printer's page: six rows of two leads, 5 s each, every one with its name."""
    second, first = STANDARD_PAGE.px_per_s, 118.0
    nodes = ((3, 0.0), (28, 5.0))
    grid = list(zip(LEADS[:6], LEADS[6:], strict=True))
    zeros = tuple(480.0 + 200.0 * row for row in range(6))
    segments = tuple(
        LeadSegment(lead, row, first + second * start, first + second * (start + 5), start)
        for row, pair in enumerate(grid)
        for lead, (_, start) in zip(pair, nodes, strict=True)
    )
    # Of a label only its name and what its number says of the row are drawn.
    labels = tuple(
        LeadLabel(4 * row + column + 1, lead, 0, nodes[column][0])
        for row, pair in enumerate(grid)
        for column, lead in enumerate(pair)
    )
    bounds = (first, first + 5 * second, first + 10 * second)
    template = replace(STANDARD_PAGE, zero_mv_y=zeros, segments=segments, labels=labels, column_bounds=bounds)
    return capture_page(lay_out(_signals(rng), random_style(rng), rng, template), rng)


def page_without_traces(rng: Generator) -> Image:
    """A standard page with grid, header and all lead names, on which nothing was recorded."""
    page = lay_out(_signals(rng), replace(random_style(rng), handwriting=0), rng)
    return capture_page(replace(page, rows=((),) * page.template.n_rows, extras=()), rng)


def page_without_grid(rng: Generator) -> Image:
    """A standard page on plain paper: names and traces, but nothing that gives their scale."""
    style = without_grid(random_style(rng))
    return capture_page(lay_out(_signals(rng), style, rng), rng)


def _signals(rng: Generator) -> NDArray[np.float32]:
    """(12, 5000) float32 mV of the simulator."""
    return SimulatedSignals(1, seed=int(rng.integers(2**31))).record(0)
