"""The refusal set: pictures that hold no readable standard 12-lead page, and that a digitizer must refuse.

Every kind is a function from a random generator to a picture, (H, W, 3) uint8 RGB, 800 to 2400 px wide. Sheets come as
they are, scanned, or photographed on a desk. The nearest misses are the last four kinds: ECG paper with one strip, with
another layout, with lead names but no trace, and traces without a grid, which nothing calibrates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from numpy.random import Generator

from benchmarks.refusal_set import pages, pictures
from cardioscan.arrays import Image

Distractor = Callable[[Generator], Image]

DISTRACTORS: Final[Mapping[str, Distractor]] = MappingProxyType(
    {
        "text": pictures.text_page,
        "form": pictures.form,
        "line_chart": pictures.line_chart,
        "bar_chart": pictures.bar_chart,
        "spectrum": pictures.spectrum,
        "stock_chart": pictures.stock_chart,
        "noise": pictures.noise,
        "desk": pictures.desk_scene,
        "ecg_paper": pages.ecg_paper,
        "graph_paper": pictures.graph_paper,
        "tiles": pictures.tiles,
        "spreadsheet": pictures.spreadsheet,
        "music": pictures.music,
        "landscape": pictures.landscape,
        "shapes": pictures.shapes,
        "codes": pictures.codes,
        "rhythm_strip": pages.rhythm_strip,
        "six_by_two": pages.six_by_two,
        "page_without_traces": pages.page_without_traces,
        "page_without_grid": pages.page_without_grid,
    }
)
"""The kinds by name."""
