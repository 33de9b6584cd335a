"""Preprocessing of a picture before the networks see it, by source category.

Every step takes and returns (H, W, 3) uint8 RGB and does not change its argument. ``BRANCHES`` lists the steps of each
source category; digital originals have none.

docs/notes/2026-11-26-candidates.md reports what each branch gains. The steps are standard: grey-world white balance
(Buchsbaum 1980), contrast-limited adaptive histogram equalisation (Zuiderveld 1994), bilateral filter (Tomasi and
Manduchi 1998), median filter, and division by the paper's own lightness in CIE L*a*b*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import cv2
import numpy as np

from cardioscan.arrays import Image

__all__ = [
    "BRANCHES",
    "Step",
    "correct_background",
    "denoise_bilateral",
    "denoise_median",
    "equalise_contrast",
    "preprocess",
    "white_balance",
]

Step = Callable[[Image], Image]

_PAPER_LIGHTNESS: Final = 245.0
"""Lightness (0..255) of the paper after :func:`correct_background`."""
_BACKGROUND_SIDE_PX: Final = 160
"""Shorter side of the reduced picture on which the background is estimated; lines and letters vanish at this size."""
_BACKGROUND_WINDOW_PX: Final = 15
"""Side of the median filter on the reduced picture."""
_WHITE_BALANCE_GAINS: Final = (0.5, 2.0)
"""Lowest and highest gain of a channel: a picture of one colour must not turn grey."""


def white_balance(image: Image) -> Image:
    """Scale the channels so that the picture's mean is grey (grey-world assumption)."""
    means = np.asarray(image, np.float64).mean(axis=(0, 1))
    gains = np.clip(means.mean() / np.maximum(means, 1.0), *_WHITE_BALANCE_GAINS)
    levels = np.arange(256)[:, None] * gains
    table = np.clip(np.round(levels), 0, 255).astype(np.uint8)
    return np.stack([table[image[..., channel], channel] for channel in range(3)], axis=-1)


def correct_background(image: Image) -> Image:
    """Even out the paper: divide by its lightness and subtract its tint, both estimated over wide windows.

    The lightness is the maximum over 5 x 5 px of the reduced picture, so that traces and grid do not darken it, then
    the median over a window of a tenth of the picture. Removes shadows, stains and yellowing; keeps ink.
    """
    height, width = image.shape[:2]
    scale = min(1.0, _BACKGROUND_SIDE_PX / min(height, width))
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    coarse = cv2.resize(lab, small, interpolation=cv2.INTER_AREA)
    paper = coarse.copy()
    paper[..., 0] = cv2.dilate(coarse[..., 0], np.ones((5, 5), np.uint8))
    paper = cv2.GaussianBlur(cv2.medianBlur(paper, _BACKGROUND_WINDOW_PX), (0, 0), 3.0)
    paper = cv2.resize(paper, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    flat = lab.astype(np.float32)
    flat[..., 0] *= _PAPER_LIGHTNESS / np.maximum(paper[..., 0], 16.0)
    flat[..., 1:] -= paper[..., 1:] - 128.0
    corrected = np.clip(np.round(flat), 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(corrected, cv2.COLOR_LAB2RGB), np.uint8)


def equalise_contrast(image: Image) -> Image:
    """CLAHE of the lightness over 8 x 8 tiles, clip limit 2: raises the contrast of faint traces, keeps colours."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(lab[..., 0])
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)


def denoise_bilateral(image: Image) -> Image:
    """Smooth differences below about 30 levels over 5 px: removes noise and moire, keeps the edges of strokes."""
    return np.asarray(cv2.bilateralFilter(image, 5, 30.0, 3.0), np.uint8)


def denoise_median(image: Image) -> Image:
    """Median over 3 x 3 px: removes single specks, keeps strokes of two px and more."""
    return np.asarray(cv2.medianBlur(image, 3), np.uint8)


BRANCHES: Final[Mapping[str, tuple[Step, ...]]] = MappingProxyType(
    {
        "0001": (),
        "0003": (correct_background,),
        "0004": (denoise_median,),
        "0005": (white_balance, correct_background, equalise_contrast),
        "0006": (white_balance, denoise_bilateral, correct_background),
        "0009": (white_balance, correct_background),
        "0010": (white_balance, correct_background, equalise_contrast),
        "0011": (correct_background, denoise_bilateral),
        "0012": (denoise_median, correct_background),
    }
)
"""The steps of each published source category, in order."""


def preprocess(image: Image, category: str | None) -> Image | None:
    """The picture after its category's branch.

    Args:
        image: (H, W, 3) uint8 RGB.
        category: code of the source category, None where it is not known.

    Returns:
        A new picture of the same shape; None where the category is unknown or has no steps, so that the original is
        the only choice.
    """
    steps = BRANCHES.get(category or "", ())
    if not steps:
        return None
    for step in steps:
        image = step(image)
    return image
