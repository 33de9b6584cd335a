"""The stage that says what is printed where on a flat page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cardioscan.arrays import Floats
from cardioscan.flatten.flatten import Flattened
from cardioscan.layout.bars import measure_bars
from cardioscan.page.read_page import ReadPage

__all__ = ["RowsFound", "find_rows"]


@dataclass(frozen=True, eq=False)
class RowsFound:
    """A flat page whose rows and leads are known.

    Attributes:
        flattened: the flat page.
        page: what is printed where on it.
        bar_displacement: (n,) float64 px, how far each bar between leads stands beside its place; NaN where unclear.
        diagnostics: what was found, up to here.
    """

    flattened: Flattened
    page: ReadPage
    bar_displacement: Floats
    diagnostics: Mapping[str, Any]


def find_rows(flattened: Flattened, page: ReadPage) -> RowsFound:
    """Find the rows of a flat page that is known to be like ``page``.

    Args:
        flattened: the flat page, on the sheet of ``page``.
        page: where this printer prints rows, cells, bars and pulses.
    """
    displacement = measure_bars(flattened.pixels, page)
    shown = [None if np.isnan(px) else round(float(px), 3) for px in displacement]
    return RowsFound(flattened, page, displacement, {**flattened.diagnostics, "separators_px": shown})
