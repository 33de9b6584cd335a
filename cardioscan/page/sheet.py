"""The ruled sheet, and the frame in which everything on it is measured.

**The reference frame**: a flat page at 200 dpi, 7.874 px per mm in both directions; ``x`` to the right, ``y`` down,
integer coordinates at pixel centres. Lattice nodes are named ``(j, i)``: horizontal 5 mm line ``j`` from the top,
vertical 5 mm line ``i`` from the left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from cardioscan.arrays import Floats

MM_PER_INCH: Final = 25.4
DPI: Final = 200.0
PX_PER_MM: Final = DPI / MM_PER_INCH
"""Pixels of the reference frame per millimetre of paper, the same in x and y."""
PITCH_PX: Final = 39.37
"""Pixels of the reference frame from one 5 mm line to the next."""


@dataclass(frozen=True)
class Sheet:
    """A flat sheet of ruled paper. The origin is arbitrary: the first lines need not be the paper's first.

    Attributes:
        width, height: px of the reference frame.
        n_vertical_lines, n_horizontal_lines: number of 5 mm lines.
        x0, y0: where the first vertical and the first horizontal line stand, px.
        raster_y0: exact height of line 0, px, where the printer draws its lines on whole pixels of the page; None for
            printers that do not, see :meth:`raster_offsets`.
        pitch: px from one 5 mm line to the next; another one than 5 mm only on paper that is no ECG paper.
    """

    width: int
    height: int
    n_vertical_lines: int
    n_horizontal_lines: int
    x0: float
    y0: float
    raster_y0: float | None = None
    pitch: float = PITCH_PX

    def lattice(self) -> Floats:
        """All 5 mm nodes: ``(n_horizontal_lines, n_vertical_lines, 2)`` float64, (x, y) px."""
        x = self.x0 + self.pitch * np.arange(self.n_vertical_lines)
        y = self.y0 + self.pitch * np.arange(self.n_horizontal_lines)
        return np.stack(np.meshgrid(x, y), axis=-1)

    def node(self, j: int, i: int) -> tuple[float, float]:
        """(x, y) px of lattice node ``(j, i)``."""
        return self.x0 + self.pitch * i, self.y0 + self.pitch * j

    def corners(self) -> Floats:
        """(4, 2) float64 px, centres of the corner pixels: upper left, upper right, lower right, lower left."""
        right, bottom = self.width - 1.0, self.height - 1.0
        return np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]])

    def line_distances(self, step: int = 1) -> tuple[Floats, Floats]:
        """Px from every ``step``-th column (width / step,) and row (height / step,) to the nearest 5 mm line."""
        half = self.pitch / 2
        x = np.arange(0, self.width, step) - self.x0
        y = np.arange(0, self.height, step) - self.y0
        return np.abs((x + half) % self.pitch - half), np.abs((y + half) % self.pitch - half)

    def raster_offsets(self) -> tuple[Floats, Floats] | None:
        """By how much each 5 mm line is printed beside its nominal place, px: x of the vertical, y of the others.

        A page that was drawn as a picture has its grid lines on whole pixels, up to half a pixel (1.3 samples) beside
        where the trace, which is drawn smooth, has them. None for sheets that are not drawn so.
        """
        if self.raster_y0 is None:
            return None
        exact = 5 * PX_PER_MM
        offsets = []
        for start, exact_start, count in (
            (self.x0, self.x0, self.n_vertical_lines),
            (self.y0, self.raster_y0, self.n_horizontal_lines),
        ):
            lines = np.arange(count)
            offsets.append(np.floor(exact_start + exact * lines + 0.5) - (start + self.pitch * lines))
        return offsets[0], offsets[1]
