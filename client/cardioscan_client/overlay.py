"""Drawing what was read over the page it was read from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cardioscan.errors import FormatError

if TYPE_CHECKING:
    from cardioscan.pipeline import Digitization

MAX_SIDE: Final = 2400
"""Longest side of an overlay, px: a larger page is scaled down."""

# Blue, green, violet, orange (RGB): none is the red of the grid or the black of the trace, and rows that cross differ.
_COLOURS: Final = ((0, 90, 255), (0, 140, 60), (150, 0, 210), (230, 100, 0))
_SHIFT = 4  # cv2.polylines takes fixed-point numbers: 4 bits are a sixteenth of a pixel


def draw_overlay(
    image: NDArray[np.uint8], traces: Mapping[str, NDArray[np.float64]], max_side: int = MAX_SIDE
) -> NDArray[np.uint8]:
    """Draw traces over a page.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        traces: (N, 2) float64 (x, y) px of ``image`` by printed name, x to the right, y down, integer coordinates at
            pixel centres; NaN where the trace has a gap.
        max_side: the result is scaled so that neither side is longer.

    Returns:
        (h, w, 3) uint8 RGB: the page a little faded, each trace as a coloured line with its name before its first point.
    """
    height, width = image.shape[:2]
    scale = min(1.0, max_side / max(height, width))
    canvas = image
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        canvas = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    canvas = (canvas // 4 * 3 + 63).astype(np.uint8)
    line = max(1, round(max(canvas.shape) / 1200))
    for index, (name, points) in enumerate(traces.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        # Pixel centres are the integers, hence the half pixels around the scaling.
        scaled = (np.asarray(points, np.float64) + 0.5) * scale - 0.5
        for run in _finite_runs(scaled):
            fixed = np.rint(run * (1 << _SHIFT)).astype(np.int32)
            cv2.polylines(canvas, [fixed[:, None]], False, colour, line, cv2.LINE_AA, _SHIFT)
        _write_name(canvas, name, scaled, colour, line)
    return canvas


def write_overlay(details: Digitization, path: Path) -> Path | None:
    """Write the overlay of one page as PNG; None, and no file, where no picture could be read.

    Raises:
        FormatError: the picture cannot be encoded.
        OSError: the file cannot be written.
    """
    if details.image is None:
        return None
    overlay = draw_overlay(details.image, details.traces)
    encoded, data = cv2.imencode(".png", np.ascontiguousarray(overlay[..., ::-1]))
    if not encoded:
        raise FormatError(f"the overlay {path.name} cannot be encoded as PNG")
    path.write_bytes(data.tobytes())
    return path


def _finite_runs(points: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    finite = np.isfinite(points).all(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], finite, [False]]).astype(np.int8)))
    return [points[start:end] for start, end in edges.reshape(-1, 2)]


def _write_name(
    canvas: NDArray[np.uint8], name: str, points: NDArray[np.float64], colour: tuple[int, int, int], line: int
) -> None:
    finite = points[np.isfinite(points).all(axis=1)]
    if not len(finite):
        return
    size = max(canvas.shape) / 2400
    (width, height), _ = cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, size, line)
    x = int(np.clip(finite[0, 0] - width - 4 * line, 0, max(0, canvas.shape[1] - width)))
    y = int(np.clip(finite[0, 1], height, max(height, canvas.shape[0] - 1)))
    for thickness, ink in ((4 * line, (255, 255, 255)), (line, colour)):
        cv2.putText(canvas, name, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, ink, thickness, cv2.LINE_AA)
