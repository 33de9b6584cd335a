"""The printed lead names in the label detector's answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cardioscan.arrays import Floats

_LARGE_BLOB = 150
_MAX_PER_CLASS = 3
_CLASS_SHARE = 0.2
_EXPECTED_CELLS = 12.0


@dataclass(frozen=True, eq=False)
class LabelKeypoints:
    """Lead names found: ``class_ids`` (n,) int64, ``points`` (n, 2) float64 (x, y) px, ``scores`` (n,) in 0..1."""

    class_ids: NDArray[np.int64]
    points: Floats
    scores: Floats

    def __len__(self) -> int:
        """Number of candidates."""
        return len(self.class_ids)


def as_probability(values: NDArray[Any]) -> NDArray[np.float32]:
    """Probabilities as float32: uint8 is divided by 255, floats are taken as they are."""
    values = np.asarray(values)
    probability = values.astype(np.float32, copy=False)
    return probability / np.float32(255) if values.dtype == np.uint8 else probability


def label_keypoints(
    label_probability: NDArray[Any], stride: int = 4, min_probability: float = 0.5, min_area: int = 3
) -> LabelKeypoints:
    """Find the lead names in a class map.

    Connected components of the cells where any name is likely, be it unsure which; the point is their centroid
    weighted by the probability of any name, so that doubt about *which* name it is does not move it. A component gives
    one candidate for each class with at least a fifth of its mass; a class keeps its three best.

    Args:
        label_probability: (classes, h, w), class 0 is the background; uint8 as p/255, or float.
        stride: input px per cell; cell (r, c) is centred at input px (stride * c + (stride - 1) / 2, ...).
        min_probability: cells where the probability of any name is below it do not count.
        min_area: smaller components are dropped, cells.

    Returns:
        Candidates in network-input px, best first.
    """
    import cc3d  # here, so that rendering and training do without it

    probability = as_probability(label_probability)
    foreground = 1 - probability[0]
    inside = foreground >= min_probability
    blobs, count = cc3d.connected_components(inside.astype(np.uint8), connectivity=8, return_N=True)
    areas = np.bincount(blobs.ravel(), minlength=count + 1)
    areas[0] = 0
    if (areas > _LARGE_BLOB).any():
        # Something smeared has swallowed several names: take it apart by class.
        winner = np.argmax(probability[1:], axis=0)
        parted = np.where(areas[blobs] > _LARGE_BLOB, winner + 2, inside).astype(np.uint16)
        blobs, count = cc3d.connected_components(parted, connectivity=8, return_N=True)
    if count == 0:
        return LabelKeypoints(np.empty(0, np.int64), np.empty((0, 2)), np.empty(0))
    rows, columns = np.nonzero(blobs)
    owner = blobs[rows, columns].astype(np.int64) - 1
    weight = foreground[rows, columns].astype(np.float64)
    area = np.bincount(owner, minlength=count)
    total = np.bincount(owner, weight, count)
    x = np.bincount(owner, weight * columns, count) / total
    y = np.bincount(owner, weight * rows, count) / total
    mass = np.stack([np.bincount(owner, layer[rows, columns], count) for layer in probability[1:]], axis=1)
    score = mass / area[:, None] * np.minimum(1, area / _EXPECTED_CELLS)[:, None]
    share = mass / np.maximum(mass.sum(axis=1, keepdims=True), 1e-12)
    blob, column = np.nonzero((share >= _CLASS_SHARE) & (area >= min_area)[:, None])
    order = np.argsort(-score[blob, column], kind="stable")
    rank = [int(np.sum(column[order[:place]] == column[index])) for place, index in enumerate(order)]
    keep = order[np.array(rank, np.int64) < _MAX_PER_CLASS]
    points = np.stack([x, y], axis=1)[blob[keep]] * stride + (stride - 1) / 2
    return LabelKeypoints(column[keep].astype(np.int64) + 1, points, np.clip(score[blob, column][keep], 0, 1))
