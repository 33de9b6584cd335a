"""Asking the waveform extractor which ink of a flat page is which row's."""

from __future__ import annotations

from typing import Final

from cardioscan.arrays import Image
from cardioscan.backends.ask import ask
from cardioscan.backends.inference import InferenceBackend
from cardioscan.flatten.fading import fade_lines
from cardioscan.page.sheet import Sheet

__all__ = ["row_coverage"]

FADING: Final = (0.55, 0.4)
"""Share of their darkness that the vertical and the horizontal 5 mm lines lose before the traces are looked for."""


def row_coverage(pixels: Image, sheet: Sheet, backend: InferenceBackend) -> Image:
    """The stroke coverage of each of the extractor's places.

    Args:
        pixels: (1700, 2200, 3) uint8, a flat page with its rows in the extractor's places.
        sheet: its ruled paper.
        backend: runs the network.

    Returns:
        (4, 1700, 2200) uint8, 255 where the row's stroke covers the pixel.
    """
    coverage: Image = ask(backend, "waveform_extractor", fade_lines(pixels, *FADING, sheet))["row_coverage"][0]
    return coverage
