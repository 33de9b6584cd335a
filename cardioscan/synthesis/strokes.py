"""Drawing signals with a pen: exact stroke coverage in the reference frame."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

SUPERSAMPLING = 4
_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates: 1/16 of a supersampled pixel


def trace_polyline(
    signal_mv: NDArray[np.floating], x_start: float, zero_y: float, px_per_sample: float, px_per_mv: float
) -> NDArray[np.float64]:
    """Reference-frame polyline of a signal.

    Args:
        signal_mv: (N,) mV; NaN samples lift the pen.
        x_start: x of sample 0, px.
        zero_y: height of 0 mV, px (y grows downwards, so positive voltages lie above).
        px_per_sample: horizontal px between samples.
        px_per_mv: vertical px per mV.

    Returns:
        (N, 2) float64 array of (x, y) px; NaN where the signal is NaN.
    """
    signal = np.asarray(signal_mv, np.float64)
    x = x_start + px_per_sample * np.arange(signal.size)
    y = zero_y - px_per_mv * signal
    return np.stack([np.where(np.isnan(y), np.nan, x), y], axis=-1)


def split_at_gaps(polyline: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """The runs of finite points of a ``(N, 2)`` polyline, in order; runs of fewer than two points are dropped."""
    finite = np.isfinite(polyline).all(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], finite, [False]]).astype(np.int8)))
    return [polyline[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > 1]


def stroke_coverage(
    polylines: Sequence[NDArray[np.float64]], pen_px: float, width: int, height: int
) -> NDArray[np.uint8]:
    """Area of each pixel covered by a round pen drawn along polylines.

    Args:
        polylines: arrays (N, 2) of (x, y) px, integer coordinates at pixel centres; NaN points lift the pen.
        pen_px: diameter of the pen, px, rounded to a quarter.
        width, height: size of the map, px.

    Returns:
        (height, width) uint8, 255 for a pixel that is covered whole.
    """
    coverage = np.zeros((height, width), np.uint8)
    runs = [run for polyline in polylines for run in split_at_gaps(np.asarray(polyline, np.float64))]
    if not runs:
        return coverage
    margin = int(np.ceil(pen_px)) + 2
    ys = np.concatenate([run[:, 1] for run in runs])
    top, bottom = max(0, int(ys.min()) - margin), min(height, int(np.ceil(ys.max())) + margin + 1)
    if bottom <= top:
        return coverage
    s = SUPERSAMPLING
    band = np.zeros(((bottom - top) * s, width * s), np.uint8)
    thickness = max(1, round(pen_px * s))
    scaled = []
    for run in runs:
        # Pixel centre c of the map lies at s * c + (s - 1) / 2 of the supersampled band.
        points = (run - (0.0, top)) * s + (s - 1) / 2
        scaled.append(np.round(points * (1 << _SHIFT)).astype(np.int32).reshape(-1, 1, 2))
    cv2.polylines(band, scaled, False, 255, thickness, cv2.LINE_8, _SHIFT)
    coverage[top:bottom] = cv2.resize(band, (width, bottom - top), interpolation=cv2.INTER_AREA)
    return coverage
