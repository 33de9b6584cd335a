"""Where a flat page may be read for its printed lines: inside the picture and off the ink.

Ink beside a line pulls it. It is left out where it is known, or where it is darker than the lines are.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cardioscan.arrays import FloatMap
from cardioscan.page.sheet import Sheet

__all__ = ["readable_mask"]


_INK_DILATION_PX: Final = 9
_MIN_INK: Final = 60
_MIN_INK_DARKNESS: Final = 0.2
_INK_TO_LINE_DARKNESS: Final = 1.4
"""What is dark in every channel is ink where it is so much darker than most lines (90 %) are."""
_MAX_INK_DARKNESS: Final = 0.8
"""Ink takes no more than this of the paper's brightness in a picture: where it had to, lines are as dark as ink."""
_MAX_INK_SHARE: Final = 0.25
_LINE_ZONE_PX: Final = 3.0
_MAX_SHARE_ON_LINES: Final = 0.5
"""Where a 5 mm line is this near, which is on 28 % of the page, lie 30 to 50 % of what is ink."""


def readable_mask(
    bright: NDArray[np.uint8], valid: NDArray[np.bool_], ink: NDArray[np.uint8] | None, sheet: Sheet
) -> tuple[NDArray[np.uint8], bool]:
    """Where the flat page may be read: inside the picture, off the known ink, off what is darker than lines are.

    Args:
        bright: (height, width) uint8, the brightest channel, in which lines of any colour are paler than ink.
        valid: same shape, inside the picture.
        ink: same shape, uint8, known ink, 255 = certainly; None where it is not known.
        sheet: the printed page.

    Returns:
        (height, width) uint8, 255 where it may be read; and whether ink was told from lines by how dark it is.
    """
    free = valid if ink is None else valid & ~_dilated_ink(ink)
    readable = np.asarray(cv2.multiply(free.view(np.uint8), 255.0), np.uint8)
    size = (bright.shape[1], bright.shape[0])
    half, eighth = ((size[0] // part, size[1] // part) for part in (2, 8))
    # Strokes are several pixels wide, so half of the resolution shows them all.
    seen = cv2.resize(readable, half, interpolation=cv2.INTER_AREA)
    paper = cv2.resize(bright, half, interpolation=cv2.INTER_AREA)

    def low(values: NDArray[Any]) -> FloatMap:
        small = cv2.resize(values, eighth, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.blur(small.astype(np.float32), (7, 7)), np.float32)

    around = low(cv2.multiply(paper, seen, scale=1 / 255)) / (low(seen) / np.float32(255) + np.float32(1e-3))
    background = cv2.resize(np.clip(around, 0, 255).astype(np.uint8), half, interpolation=cv2.INTER_LINEAR)
    darkness = max(_MIN_INK_DARKNESS, _INK_TO_LINE_DARKNESS * _line_darkness(paper, background, sheet))
    if darkness >= _MAX_INK_DARKNESS:
        return readable, False
    limit = cv2.multiply(background, 1 - darkness)
    dark = cv2.bitwise_and(cv2.compare(paper, limit, cv2.CMP_LT), cv2.compare(seen, 127, cv2.CMP_GT))
    count = cv2.countNonZero(dark)
    if count and cv2.countNonZero(cv2.bitwise_and(dark, _line_zone(sheet))) > _MAX_SHARE_ON_LINES * count:
        return readable, False
    dark = cv2.dilate(dark, np.ones((5, 5), np.uint8))
    # Where so much is dark it is the thin lines too, or mould.
    if cv2.countNonZero(dark) >= _MAX_INK_SHARE * dark.size:
        return readable, False
    return np.asarray(cv2.subtract(readable, cv2.resize(dark, size, interpolation=cv2.INTER_NEAREST)), np.uint8), True


def _dilated_ink(ink: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where ink (h, w) uint8, 255 = certainly, is so near that it may pull a line: (h, w) bool."""
    return np.asarray(cv2.dilate(ink, np.ones((_INK_DILATION_PX, _INK_DILATION_PX), np.uint8)) > _MIN_INK)


@lru_cache(maxsize=4)
def _line_zone(sheet: Sheet) -> NDArray[np.uint8]:
    """(height / 2, width / 2) uint8, every second pixel: 255 within ``_LINE_ZONE_PX`` of a 5 mm line, else 0."""
    distance_x, distance_y = sheet.line_distances(2)
    return np.where((distance_y[:, None] <= _LINE_ZONE_PX) | (distance_x <= _LINE_ZONE_PX), 255, 0).astype(np.uint8)


def _line_darkness(paper: NDArray[np.uint8], background: NDArray[np.uint8], sheet: Sheet) -> float:
    """The share of the paper's brightness that lines take, by the 90th percentile of their pixels.

    Args:
        paper: (height / 2, width / 2) uint8, a flat page's brightest channel.
        background: same shape, the brightness around.
        sheet: the printed page.
    """
    nodes = sheet.lattice() / 2 - 0.25  # pixel edges coincide
    columns, rows = np.round(nodes[0, 1:-1, 0]).astype(int), np.round(nodes[1:-1, 0, 1]).astype(int)
    along = slice(2, None, 4)
    shown, around = (
        np.concatenate([plane[along][:, columns].ravel(), plane[rows][:, along].ravel()]).astype(np.float32)
        for plane in (paper, background)
    )
    return float(np.percentile(1 - shown / np.maximum(around, 1), 90))
