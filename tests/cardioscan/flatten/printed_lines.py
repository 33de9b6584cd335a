"""Printed lines, drawn and real."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from cardioscan.arrays import Floats, Image
from cardioscan.page.reference import REFERENCE_PAGE

SHEET = REFERENCE_PAGE.sheet
LATTICE = SHEET.lattice()
PITCH = SHEET.pitch


def stripes(u: Floats, pitch: float, width: float) -> Floats:
    """Coverage by lines of a width, a pitch apart, by the place across them."""
    return np.clip((width + 1) / 2 - np.abs((u + pitch / 2) % pitch - pitch / 2), 0, 1)


def clean_page(shared_data: Path, name: str) -> Image:
    """A digital original, on which the page lies as in the reference frame."""
    return cv2.cvtColor(cv2.imread(str(shared_data / "pages" / f"{name}-0001.png")), cv2.COLOR_BGR2RGB)
