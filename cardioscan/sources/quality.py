"""Image quality of a rectified page, by which the original or the preprocessed picture is chosen."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["edge_density", "gradient_anisotropy", "quality_score"]

_CANNY_THRESHOLDS: Final = (60, 160)
"""Hysteresis thresholds, levels of the 3 x 3 Sobel gradient."""


def edge_density(page: NDArray[np.uint8]) -> float:
    """Share of the pixels of an (H, W, 3) uint8 RGB page that lie on an edge (Canny 1986)."""
    grey = cv2.cvtColor(page, cv2.COLOR_RGB2GRAY)
    return float((cv2.Canny(grey, *_CANNY_THRESHOLDS) > 0).mean())


def gradient_anisotropy(page: NDArray[np.uint8]) -> float:
    """Concentration of the gradients of an (H, W, 3) uint8 RGB page along x and y, from 0 to 1.

    It is the mean of cos(4 angle) over the gradients, weighted by their squares and clipped at 0. On a rectified page
    the grid's gradients point along x or y and give 1; noise has all directions and gives 0.
    """
    grey = cv2.cvtColor(page, cv2.COLOR_RGB2GRAY).astype(np.float32)
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    energy = across**2 + down**2
    # cos(4 angle) is 1 on the axes and -1 on the diagonals.
    cosine = 1 - 8 * (across * down) ** 2 / np.maximum(energy**2, 1e-6)
    return float(np.clip((energy * cosine).sum() / max(float(energy.sum()), 1e-6), 0.0, 1.0))


def quality_score(page: NDArray[np.uint8]) -> float:
    """Edge density times gradient anisotropy of an (H, W, 3) uint8 RGB rectified page; higher is better.

    Edge density alone rewards noise; the anisotropy of noise is low.
    """
    return edge_density(page) * gradient_anisotropy(page)
