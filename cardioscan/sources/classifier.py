"""Asking the source classifier what kind of capture a picture is."""

from __future__ import annotations

from typing import Final

import numpy as np

from cardioscan.arrays import Image
from cardioscan.backends.ask import ask
from cardioscan.backends.inference import InferenceBackend
from cardioscan.backends.specs import DETECTOR_INPUT, MARGIN_GREY
from cardioscan.imaging.geometry import area_resize
from cardioscan.sources import CATEGORIES

__all__ = ["SURE_CATEGORY", "classify", "thumbnail"]

SURE_CATEGORY: Final = 0.5
"""A category that is less likely is not told."""
_SIZE: Final = 456


def classify(image: Image, backend: InferenceBackend) -> tuple[str | None, float]:
    """What kind of capture a picture (H, W, 3) uint8 is: its category's code, None where unsure; and how likely."""
    probability = ask(backend, "source_classifier", thumbnail(image))["source_probability"][0]
    best = int(np.argmax(probability))
    return CATEGORIES[best].code if probability[best] >= SURE_CATEGORY else None, float(probability[best])


def thumbnail(image: Image) -> Image:
    """What the source classifier is shown of a picture (H, W, 3) uint8: (456, 456, 3) uint8.

    It is the letterboxed picture squeezed to a square, made at once: of the label detector's 1440 x 1152 px only every
    third to either side would be left.
    """
    rows, columns = image.shape[:2]
    across, down = (_SIZE / side for side in DETECTOR_INPUT)
    scale = min(DETECTOR_INPUT[0] / columns, DETECTOR_INPUT[1] / rows)
    width, height = max(1, round(columns * scale * across)), max(1, round(rows * scale * down))
    left, top = (_SIZE - width) // 2, (_SIZE - height) // 2
    square = np.full((_SIZE, _SIZE, 3), MARGIN_GREY, np.uint8)
    square[top : top + height, left : left + width] = area_resize(np.ascontiguousarray(image), width, height)[0]
    return square
