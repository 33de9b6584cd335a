"""The pictures of a page: as it was read, flat, and what every stage found on it, as JPEG."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from cardioscan.arrays import Floats, Image
from cardioscan.pipeline import Digitization
from cardioscan.plots import draw_overlay

PHOTO_SIDE: Final = 1800
"""Longest side of the pictures in the frame of the photo, px."""

CAPTIONS: Final = {
    "photo": "The page as it was read.",
    "labels": "Lead names found: the page is placed by them.",
    "grid": "Crossings of the printed 5 mm lines found: the paper is flattened by them.",
    "rectified": "The page flattened, 200 dpi: everything is measured on it.",
    "rows": "Ink of the four rows as the last network sees it, each in its own colour.",
    "overlay": "The traces as read, drawn over the page.",
}
"""What each picture shows, in the order of the stages."""

_ROW_COLOURS: Final = ((0, 90, 200), (200, 60, 0), (0, 130, 70), (140, 40, 170))
_QUALITY: Final = 85


def draw_pictures(details: Digitization) -> dict[str, bytes]:
    """JPEG files by the names of ``CAPTIONS``; those of stages that were not reached are missing."""
    pictures: dict[str, bytes] = {}
    if details.image is not None:
        photo, scale = _shrunk(details.image)
        pictures["photo"] = _jpeg(photo)
        labels = None if details.labels is None else details.labels * (1, scale, scale)
        if labels is not None and len(labels):
            pictures["labels"] = _jpeg(draw_overlay(photo, {}, labels))
        if details.lattice is not None:
            pictures["grid"] = _jpeg(draw_overlay(photo, {}, None, _scaled(details.lattice, scale)))
        if details.traces:
            traces = {name: _scaled(points, scale) for name, points in details.traces.items()}
            pictures["overlay"] = _jpeg(draw_overlay(photo, traces))
    if details.rectified is not None:
        pictures["rectified"] = _jpeg(details.rectified)
    if details.row_coverage is not None:
        pictures["rows"] = _jpeg(_rows(details.row_coverage))
    return {name: pictures[name] for name in CAPTIONS if name in pictures}


def _shrunk(image: Image) -> tuple[Image, float]:
    height, width = image.shape[:2]
    scale = min(1.0, PHOTO_SIDE / max(height, width))
    if scale == 1:
        return image, 1.0
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), scale


def _scaled(points: Floats, scale: float) -> Floats:
    """Px of the picture as px of a smaller one; integer coordinates are pixel centres."""
    return (np.asarray(points, np.float64) + 0.5) * scale - 0.5


def _rows(coverage: Image) -> Image:
    height, width = coverage.shape[1] // 2, coverage.shape[2] // 2
    ink = np.zeros((height, width, 3), np.float32)
    for row, colour in zip(coverage, _ROW_COLOURS, strict=False):
        half = cv2.resize(row, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        ink += half[..., None] * (255 - np.array(colour, np.float32))
    return np.asarray(255 - np.clip(ink, 0, 255), np.uint8)


def _jpeg(image: Image) -> bytes:
    bgr = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
