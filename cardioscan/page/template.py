"""Leads, the page template, its reference frame and the calibration: the one place for numbers of the page.

Frames (pixel coordinates, ``x`` to the right, ``y`` down, integer coordinates at pixel centres):

* **reference frame**: the printed page, US letter landscape at 200 dpi, 2200 x 1700 px, isotropic. All calibration
  happens here: 25 mm/s and 10 mm/mV make 196.85 px/s and 78.74 px/mV.
* **aligned frame**: 1440 wide x 1152 high, what the grid rectifier sees: the reference frame scaled by 1280/2200 with
  a margin, so that a page that is bent or slightly misplaced is still inside.

Lattice nodes are named ``(j, i)``: horizontal 5 mm line ``j`` from the top, vertical 5 mm line ``i`` from the left.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

LEADS: Final = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The twelve leads in the order of every array, table and file that CardioScan writes."""

LEAD_INDEX: Final = {name: index for index, name in enumerate(LEADS)}
SAMPLING_RATE_HZ: Final = 500
RECORD_SECONDS: Final = 10.0
RECORD_SAMPLES: Final = 5000
MM_PER_INCH: Final = 25.4


@dataclass(frozen=True)
class LeadSegment:
    """Where one lead is printed: row, horizontal extent in the reference frame, and its place in time.

    ``row`` counts the traces from the top (0-based); the segment covers ``x_start <= x < x_end`` (px) and starts
    ``t_start`` seconds into the record.
    """

    lead: str
    row: int
    x_start: float
    x_end: float
    t_start: float


@dataclass(frozen=True)
class LeadLabel:
    """A printed lead name: its class in the label map and the lattice node ``(j, i)`` its keypoint belongs to."""

    class_id: int
    name: str
    j: int
    i: int


@dataclass(frozen=True)
class AlignedFrame:
    """The frame of stage 1: ``x' = x * scale + offset_x``, ``y' = y * scale + offset_y`` from the reference frame."""

    width: int = 1440
    height: int = 1152
    scale: float = 1280 / 2200
    offset_x: float = 74.0
    offset_y: float = 90.0

    def from_reference(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map reference-frame points ``(..., 2)`` as (x, y) to this frame, float64."""
        return np.asarray(points, np.float64) * self.scale + (self.offset_x, self.offset_y)

    def to_reference(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map points ``(..., 2)`` of this frame as (x, y) to the reference frame, float64."""
        return (np.asarray(points, np.float64) - (self.offset_x, self.offset_y)) / self.scale

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The 3x3 matrix that takes homogeneous reference points to this frame."""
        return np.array([[self.scale, 0, self.offset_x], [0, self.scale, self.offset_y], [0, 0, 1]], np.float64)


def _standard_segments() -> tuple[LeadSegment, ...]:
    # Leads begin three squares from the left and every 2.5 s from there, and each sample is drawn one sample (0.39 px)
    # early: seen on all 18 development photographs to a tenth of a sample, per column (docs/accuracy.md).
    px_per_s = 200 / MM_PER_INCH * 25
    first = 3 * 5 * 200 / MM_PER_INCH - px_per_s / SAMPLING_RATE_HZ
    bounds = tuple(first + 2.5 * px_per_s * column for column in range(5))
    grid = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
    segments = [
        LeadSegment(lead, row, bounds[column], bounds[column + 1], 2.5 * column)
        for row, names in enumerate(grid)
        for column, lead in enumerate(names)
    ]
    return (*segments, LeadSegment("II", 3, bounds[0], bounds[-1], 0.0))


def _standard_labels() -> tuple[LeadLabel, ...]:
    names = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
    nodes_j, nodes_i = (19, 26, 33, 40), (3, 16, 28, 41)
    labels = [
        LeadLabel(4 * row + column + 1, name, nodes_j[row], nodes_i[column])
        for row, line in enumerate(names)
        for column, name in enumerate(line)
    ]
    return (*labels, LeadLabel(13, "II", nodes_j[3], nodes_i[0]))


@dataclass(frozen=True)
class PageTemplate:
    """One printer's page: size, grid, rows, lead places and calibration. The default is the project's standard page.

    Heights and places are px of the reference frame; other printers get another value of this class.

    ``grid_raster_y0`` is the exact height of line 0 for printers that draw their grid on whole pixels of the page (the
    standard page does), None for those that do not; see :meth:`raster_offsets`. ``separator_dx`` is where the middle of
    the bar between two leads stands beside the bound of their columns (measured on clean prints: -0.50, sd 0.02).
    """

    name: str = "standard-3x4+1"
    width: int = 2200
    height: int = 1700
    dpi: float = 200.0
    speed_mm_per_s: float = 25.0
    gain_mm_per_mv: float = 10.0
    n_vertical_lines: int = 57
    n_horizontal_lines: int = 44
    grid_x0: float = 0.0
    grid_y0: float = 7.0
    grid_pitch: float = 39.37
    grid_raster_y0: float | None = 7.085
    zero_mv_y: tuple[float, ...] = (707.0, 991.0, 1273.0, 1533.0)
    column_bounds: tuple[float, ...] = (118.0, 610.0, 1102.0, 1594.0, 2087.0)
    pulse_x: tuple[float, float] = (79.0, 118.0)
    separator_half_height: float = 27.0
    separator_dx: float = -0.5
    segments: tuple[LeadSegment, ...] = field(default_factory=_standard_segments)
    labels: tuple[LeadLabel, ...] = field(default_factory=_standard_labels)
    aligned: AlignedFrame = field(default_factory=AlignedFrame)

    @property
    def px_per_mm(self) -> float:
        """Pixels of the reference frame per millimetre of paper, the same in x and y."""
        return self.dpi / MM_PER_INCH

    @property
    def px_per_mv(self) -> float:
        """Pixels per millivolt (78.74 on the standard page)."""
        return self.px_per_mm * self.gain_mm_per_mv

    @property
    def px_per_s(self) -> float:
        """Pixels per second (196.85 on the standard page)."""
        return self.px_per_mm * self.speed_mm_per_s

    @property
    def px_per_sample(self) -> float:
        """Pixels per sample at 500 Hz (0.394 on the standard page)."""
        return self.px_per_s / SAMPLING_RATE_HZ

    @property
    def n_rows(self) -> int:
        """Number of printed traces, top to bottom."""
        return len(self.zero_mv_y)

    def lattice(self) -> NDArray[np.float64]:
        """All 5 mm nodes in the reference frame: ``(n_horizontal_lines, n_vertical_lines, 2)`` float64, (x, y) px."""
        x = self.grid_x0 + self.grid_pitch * np.arange(self.n_vertical_lines)
        y = self.grid_y0 + self.grid_pitch * np.arange(self.n_horizontal_lines)
        return np.stack(np.meshgrid(x, y), axis=-1)

    def raster_offsets(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """By how much each 5 mm line is printed beside its nominal place, px: x of the vertical, y of the others.

        A page that was drawn as a picture has its grid lines on whole pixels, up to half a pixel (1.3 samples) beside
        where the trace, which is drawn smooth, has them. None for templates that are not drawn so.
        """
        if self.grid_raster_y0 is None:
            return None
        exact = 5 * self.px_per_mm
        offsets = []
        for start, exact_start, count in (
            (self.grid_x0, self.grid_x0, self.n_vertical_lines),
            (self.grid_y0, self.grid_raster_y0, self.n_horizontal_lines),
        ):
            lines = np.arange(count)
            offsets.append(np.floor(exact_start + exact * lines + 0.5) - (start + self.grid_pitch * lines))
        return offsets[0], offsets[1]

    def node(self, j: int, i: int) -> tuple[float, float]:
        """Reference-frame (x, y) of lattice node ``(j, i)``."""
        return self.grid_x0 + self.grid_pitch * i, self.grid_y0 + self.grid_pitch * j

    def label_points(self) -> NDArray[np.float64]:
        """Keypoints of the labels in ``self.labels`` order: ``(n_labels, 2)`` float64, (x, y) px, reference frame."""
        return np.array([self.node(label.j, label.i) for label in self.labels], np.float64)

    def lead_seconds(self) -> dict[str, float]:
        """How much of each lead is printed, s; of a lead that is printed twice, its longer print."""
        seconds: dict[str, float] = {}
        for segment in self.segments:
            length = round((segment.x_end - segment.x_start) / self.px_per_s, 1)
            seconds[segment.lead] = max(length, seconds.get(segment.lead, 0.0))
        return seconds

    def row_segments(self, row: int) -> tuple[LeadSegment, ...]:
        """The segments printed in one row, left to right."""
        return tuple(segment for segment in self.segments if segment.row == row)


STANDARD_PAGE: Final = PageTemplate()
