"""The stage that reads the traces of a page whose rows are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cardioscan.arrays import Image
from cardioscan.backends.inference import InferenceBackend
from cardioscan.layout.bars import time_shift
from cardioscan.layout.rows import RowsFound
from cardioscan.waveform.decode import DecodedPage, decode_rows
from cardioscan.waveform.extraction import row_coverage

__all__ = ["Traced", "trace"]


@dataclass(frozen=True, eq=False)
class Traced:
    """A page whose traces are read.

    Attributes:
        rows: the page and what is printed where.
        coverage: (rows, height, width) uint8 as the waveform extractor answered.
        decoded: signals, clarity and traces.
        diagnostics: what was found, up to here.
    """

    rows: RowsFound
    coverage: Image
    decoded: DecodedPage
    diagnostics: Mapping[str, Any]


def trace(rows: RowsFound, backend: InferenceBackend, crossing: bool) -> Traced:
    """Read the traces.

    Args:
        rows: the page and what is printed where.
        backend: runs the waveform extractor.
        crossing: whether a row may claim steep ink of other rows that its own strokes run into.

    Raises:
        StageError: ``TRACE_NOT_FOUND``.
    """
    flattened, page = rows.flattened, rows.page
    coverage = row_coverage(flattened.pixels, page.sheet, backend)
    shift = time_shift(rows.bar_displacement, page)
    decoded = decode_rows(coverage, page, flattened.inside(), shift, crossing)
    return Traced(rows, coverage, decoded, {**rows.diagnostics, "pen_px": round(float(decoded.pen_px), 3)})
