"""Pages as the label detector sees them, and what a perfect one answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from cardioscan.arrays import Floats
from cardioscan.backends.specs import NAME_PLACES
from cardioscan.imaging.geometry import orientation_matrix, transform_points
from cardioscan.locate.names import LabelKeypoints

PLACES = NAME_PLACES.points()
CLASSES = np.array([label.class_id for label in NAME_PLACES.classes])
CORNERS = NAME_PLACES.sheet.corners()


def page_view(seed: int, k: int = 0) -> Floats:
    """A believable homography from the reference frame to the network's input, the page in orientation ``k``."""
    rng = np.random.default_rng(seed)
    angle, size = rng.uniform(-0.25, 0.25), rng.uniform(0.4, 0.62)
    turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centred = np.array([[1, 0, -1100], [0, 1, -850], [0, 0, 1]], float)
    bend = np.eye(3)
    bend[2, :2] = rng.uniform(-1.2e-4, 1.2e-4, 2)
    place = np.eye(3)
    place[:2, :2] = turn
    oriented = orientation_matrix(k, 1, 1)
    oriented[:2, 2] = 0
    shift = np.array([[1, 0, 720 + rng.uniform(-60, 60)], [0, 1, 576 + rng.uniform(-60, 60)], [0, 0, 1]])
    matrix = shift @ oriented @ place @ bend @ centred
    return matrix / matrix[2, 2]


def names_seen(
    matrix: Floats,
    keep: Sequence[int] = range(len(CLASSES)),
    noise: float = 0.0,
    rng: np.random.Generator | None = None,
    extra: Iterable[tuple[int, Floats]] = (),
) -> LabelKeypoints:
    """Some of the lead names at their places, by so many px beside them; and others, by class and place."""
    points = transform_points(matrix, PLACES[list(keep)])
    if rng is not None:
        points = points + rng.normal(0, noise, points.shape)
    classes = CLASSES[list(keep)]
    for class_id, point in extra:
        classes, points = np.append(classes, class_id), np.vstack([points, point])
    return LabelKeypoints(classes.astype(np.int64), points, np.full(len(classes), 0.9))


def draw_names(matrix: Floats, keep: Sequence[int] = range(len(CLASSES)), radius: float = 10.0) -> NDArray[np.float32]:
    """The label map (14, 288, 360) that a perfect network gives: discs with soft rims."""
    probability = np.zeros((14, 288, 360), np.float32)
    y, x = np.mgrid[:288, :360] * 4 + 1.5
    for place in keep:
        cx, cy = transform_points(matrix, PLACES[place])
        disc = np.clip((radius - np.hypot(x - cx, y - cy)) / 4 + 0.5, 0, 1)
        probability[CLASSES[place]] = np.maximum(probability[CLASSES[place]], disc)
    probability[0] = 1 - probability[1:].max(axis=0)
    return probability


def corner_error(found: Floats, matrix: Floats) -> float:
    """By how many px two homographies put a corner of the sheet apart, at most."""
    apart = transform_points(found, CORNERS) - transform_points(matrix, CORNERS)
    return float(np.linalg.norm(apart, axis=1).max())
