"""How the pictures of the refusal set are taken: left as they are drawn, scanned, or photographed.

Pictures are (H, W, 3) uint8 RGB.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import cv2
import numpy as np
from numpy.random import Generator

from benchmarks.refusal_set.drawing import to_bytes
from cardioscan.arrays import Image
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.synthesis.capture import CaptureGeometry, bend_paper, desk, photograph, view_homography
from cardioscan.synthesis.flat import FlatPage
from cardioscan.synthesis.recipes import RECIPES, degrade

_CAPTURES: Final = ("clean", "color_scan", "bw_scan", "phone_photo")


def degrade_picture(picture: Image, recipe: str, rng: Generator) -> Image:
    """Add the light, noise and compression of a recipe (a key of ``RECIPES``) to a picture; same shape.

    Noise and blur are as large as on a page that fills the picture's width.
    """
    scale = picture.shape[1] / REFERENCE_PAGE.sheet.width
    return to_bytes(degrade(picture.astype(np.float32) / np.float32(255), RECIPES[recipe], scale, rng) * 255 + 0.5)


def capture_sheet(sheet: Image, rng: Generator) -> Image:
    """Take a sheet in one of four ways: as drawn, by a colour or black-and-white scanner, or by a phone; same shape."""
    name = str(rng.choice(_CAPTURES))
    if name == "clean":
        return sheet
    recipe = RECIPES[name]
    height, width = sheet.shape[:2]
    frame = replace(REFERENCE_PAGE.sheet, width=width, height=height)
    matrix = view_homography(frame, recipe, (width, height), rng)
    seen = cv2.warpPerspective(sheet, matrix, (width, height), flags=cv2.INTER_LINEAR)
    cover = cv2.warpPerspective(np.ones((height, width), np.float32), matrix, (width, height))[..., None]
    around = desk((width, height), rng) * 255 if name == "phone_photo" else np.float32(rng.uniform(215, 255))
    return degrade_picture(to_bytes(seen * cover + around * (1 - cover)), name, rng)


def capture_page(page: FlatPage, rng: Generator) -> Image:
    """Take a laid-out page in one of the same four ways: as drawn at its own size, else 1200 to 2400 px wide."""
    sheet = page.printed.sheet
    name = str(rng.choice(_CAPTURES))
    if name == "clean":
        return to_bytes(page.draw() * 255 + 0.5)
    recipe = RECIPES[name]
    width = int(rng.integers(1200, 2401))
    # A photograph keeps the usual shape of photographs, a scan that of the sheet.
    ratio = max(0.6, sheet.height / sheet.width) if name == "phone_photo" else sheet.height / sheet.width
    size = (width, round(width * ratio))
    geometry = CaptureGeometry(view_homography(sheet, recipe, size, rng), bend_paper(sheet, recipe, rng))
    return photograph(page, geometry, size, recipe, rng)
