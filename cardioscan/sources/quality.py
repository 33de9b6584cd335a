"""How good a rectified page looks: the judge between the original and the preprocessed picture."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["edge_density", "gradient_anisotropy", "quality_score"]

_EDGE: Final = (60, 160)
"""Hysteresis thresholds (levels of the 3 x 3 Sobel gradient) of what counts as an edge."""


def edge_density(page: NDArray[np.uint8]) -> float:
    """Share of the pixels of an (H, W, 3) uint8 RGB page that lie on an edge (Canny 1986)."""
    grey = cv2.cvtColor(page, cv2.COLOR_RGB2GRAY)
    return float((cv2.Canny(grey, *_EDGE) > 0).mean())


def gradient_anisotropy(page: NDArray[np.uint8]) -> float:
    """How much of the gradient of an (H, W, 3) uint8 RGB page runs along its axes, from 0 to 1.

    On a page that lies straight the grid's gradients point along x or y: the share of the squared gradient whose
    direction is nearer to an axis than to a diagonal, less the rest. Noise has as much of both and gives 0.
    """
    grey = cv2.cvtColor(page, cv2.COLOR_RGB2GRAY).astype(np.float32)
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    energy = across**2 + down**2
    # cos(4 angle) is 1 on the axes and -1 on the diagonals.
    cosine = 1 - 8 * (across * down) ** 2 / np.maximum(energy**2, 1e-6)
    return float(np.clip((energy * cosine).sum() / max(float(energy.sum()), 1e-6), 0.0, 1.0))


def quality_score(page: NDArray[np.uint8]) -> float:
    """Edge density times gradient anisotropy of an (H, W, 3) uint8 RGB rectified page; the more, the better.

    Edge density alone rewards noise; anisotropy takes most of that back.
    """
    return edge_density(page) * gradient_anisotropy(page)
