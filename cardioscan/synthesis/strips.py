"""Training samples of the waveform extractor: strips of a page as rectification leaves it, with true coverage."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from cardioscan.synthesis.flat import FlatPage, Region
from cardioscan.synthesis.photometry import relief_shading, smooth_noise
from cardioscan.synthesis.recipes import CaptureRecipe, degrade
from cardioscan.synthesis.strokes import stroke_coverage


@dataclass(frozen=True)
class WaveformSample:
    """A strip and its truth.

    Attributes:
        image: (h, w, 3) uint8 RGB.
        coverage: (rows, h, w) uint8, 255 where the pen covers the pixel whole.
        origin: (x, y) px of the strip's first pixel in the reference frame.
    """

    image: NDArray[np.uint8]
    coverage: NDArray[np.uint8]
    origin: tuple[int, int]


def waveform_strip(
    page: FlatPage, recipe: CaptureRecipe, region: Region, rng: Generator, residual_px: float = 1.5
) -> WaveformSample:
    """Draw a strip of a page as a capture by ``recipe`` would look after rectification.

    Rectification leaves a smooth residual displacement of up to about ``residual_px``; the traces are displaced
    exactly and the picture around them is warped to match (by one step of fixed-point inversion, below 0.05 px off).
    """
    height, width = region.height, region.width
    image = page.draw(region)
    maps = np.stack([smooth_noise((height, width), rng.uniform(150, 500), rng) for _ in range(2)])
    bent = recipe.crumple[1] > 0 or recipe.bend[1] > 0
    maps *= np.float32(rng.uniform(0, residual_px) * (1.0 if bent else 0.4) / 2)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    image = cv2.remap(image, x - maps[0], y - maps[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    rows = []
    for row in page.rows:
        moved = []
        for line in row:
            local = line - (region.x, region.y)
            column = np.clip(np.round(local), 0, (width - 1, height - 1)).astype(int)
            moved.append(local + maps[:, column[:, 1], column[:, 0]].T)
        rows.append(stroke_coverage(moved, page.style.pen, width, height))
    if recipe.folds[1] or recipe.crumple[1] > 2:
        relief = smooth_noise((height, width), rng.uniform(60, 300), rng)
        relief += np.float32(1.5) * np.tanh(8 * smooth_noise((height, width), rng.uniform(300, 900), rng))
        image = relief_shading(image, np.clip(relief / 2, -1, 1), float(rng.uniform(0, 0.3)), rng)
    image = degrade(np.ascontiguousarray(image), recipe, 1.0, rng)
    if rng.random() < 0.06:
        # What lies outside the photograph is filled with one colour by the warp.
        edge = int(rng.uniform(0.75, 1.0) * height)
        image[edge:] = rng.choice([0.0, 1.0])
        for row_map in rows:
            row_map[edge:] = 0
    return WaveformSample((image * 255 + 0.5).astype(np.uint8), np.stack(rows), (region.x, region.y))
