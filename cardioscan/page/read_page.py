"""One page in the reference frame: which rows, cells, names, bars and pulses stand where.

The same value is the truth of a rendered page and the result of reading one.
"""

from __future__ import annotations

from dataclasses import dataclass

from cardioscan.page.layout import Cell, Layout
from cardioscan.page.leads import RECORD_SAMPLES, SAMPLING_RATE_HZ
from cardioscan.page.scale import Scale
from cardioscan.page.sheet import Sheet


@dataclass(frozen=True)
class Segment:
    """Where a cell is printed: it covers ``x_start <= x < x_end``, px of the reference frame."""

    cell: Cell
    x_start: float
    x_end: float

    @property
    def lead(self) -> str:
        """The lead's name."""
        return self.cell.lead

    @property
    def row(self) -> int:
        """The page's row, from the top, 0-based."""
        return self.cell.row


@dataclass(frozen=True)
class PrintedName:
    """A printed lead name: its text without a minus, the row that it names, and its keypoint (x, y), px."""

    lead: str
    row: int
    x: float
    y: float


@dataclass(frozen=True)
class Bars:
    """The upright bars between the leads of a row.

    Attributes:
        x: bounds of the columns that they separate, px.
        offset_px: where the middle of a bar stands beside its bound, positive to the right.
        half_height_px: how far they reach up and down from the zero line.
    """

    x: tuple[float, ...]
    offset_px: float
    half_height_px: float


@dataclass(frozen=True)
class ReadPage:
    """What stands where on one page. Lengths are px of the reference frame (:mod:`cardioscan.page.sheet`).

    Attributes:
        sheet: the ruled paper.
        layout: which lead is printed where and when.
        scale: paper speed and gain, and how they are known.
        zero_y: height of 0 mV in each row.
        segments: the extent of each cell, in the order of ``layout.cells``.
        names: the printed lead names.
        bars: between the leads; None where there are none.
        pulse_x: left and right edge of the calibration pulse before each row; None where there is none.

    Raises:
        ValueError: rows or segments are not those of the layout.
    """

    sheet: Sheet
    layout: Layout
    scale: Scale
    zero_y: tuple[float, ...]
    segments: tuple[Segment, ...]
    names: tuple[PrintedName, ...] = ()
    bars: Bars | None = None
    pulse_x: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Check that rows and segments are those of the layout."""
        if len(self.zero_y) != self.layout.n_rows:
            raise ValueError(f"{self.layout.name} has {self.layout.n_rows} rows, not {len(self.zero_y)}")
        if tuple(segment.cell for segment in self.segments) != self.layout.cells:
            raise ValueError(f"the segments are not the cells of {self.layout.name}")

    @property
    def n_rows(self) -> int:
        """Number of printed rows, top to bottom."""
        return len(self.zero_y)

    def row_segments(self, row: int) -> tuple[Segment, ...]:
        """The segments printed in one row, left to right."""
        return tuple(segment for segment in self.segments if segment.row == row)

    def samples(self, segment: Segment) -> tuple[int, int]:
        """First and one-past-last sample of a segment in its record of 500 Hz, by its extent and the paper speed."""
        start = round(segment.cell.t_start * SAMPLING_RATE_HZ)
        seconds = (segment.x_end - segment.x_start) / self.scale.px_per_s
        return start, min(start + round(seconds * SAMPLING_RATE_HZ), RECORD_SAMPLES)
