"""The homography of a page from its lead names: an exhaustive, deterministic consensus and a robust fit."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from cardioscan.arrays import Floats
from cardioscan.backends.specs import NamePlaces
from cardioscan.errors import RefusalCode, StageError
from cardioscan.imaging.geometry import (
    affinities_from_triangles,
    affinity_lstsq,
    dominant_orientation,
    homographies_from_quads,
    homography_dlt,
    jacobians,
    normalising_matrix,
    stretch,
    transform_points,
)
from cardioscan.locate.names import LabelKeypoints

Pairs = NDArray[np.int64]
"""(n, 2): a keypoint and the class of names that it is taken for."""

_SCALES: Final = (0.05, 4.0)
"""Believable px of the network's input for a px of the reference frame."""

_MAX_STRETCH: Final = 3.0
_MAX_SCALE_RATIO: Final = 4.0
_MAX_TRIPLE_STRETCH: Final = 1.35
_MIN_TRIPLE_AREA: Final = 0.12
_MIN_TRIANGLE: Final = 0.03
_MAX_SETS: Final = 6000
"""Of more sets than this, those of the strongest candidates are tried."""
_NOISE_PX: Final = 3.0
_PERSPECTIVE: Final = 0.3


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where the page lies in the network's input.

    Attributes:
        homography: 3x3 float64, reference frame -> network-input px.
        inliers: (n,) bool over the keypoints that were given.
        rms_px: root mean square distance of the inliers from their place, network-input px.
        score: 0..1: truncated agreement summed over the classes of names, divided by their number.
        mirrored: whether the page is seen mirrored.
        orientation: 0..7, the orientation nearest to the homography.
    """

    homography: Floats
    inliers: NDArray[np.bool_]
    rms_px: float
    score: float
    mirrored: bool
    orientation: int

    def to_image(self, letterbox_matrix: Floats) -> Floats:
        """The homography reference frame -> image px, given the matrix that :func:`letterbox` returned."""
        matrix = np.linalg.inv(letterbox_matrix) @ self.homography
        return np.asarray(matrix / matrix[2, 2], np.float64)


def fit_homography(
    keypoints: LabelKeypoints,
    names: NamePlaces,
    threshold_px: float = 25.0,
) -> Alignment:
    """Find the homography of the page from its lead names, some of which may be false or carry the wrong class.

    Every minimal set of four names (and of three, as an affine map) is tried, so the answer does not depend on
    chance. A set counts by MSAC (Torr and Zisserman 2000): each label adds ``1 - (r / threshold)^2`` of its best
    candidate; distorted homographies pay for it, folded or extreme ones are refused. The best is fitted again to all
    that agree with it, by the reprojection error in px with a Huber loss.

    Args:
        keypoints: candidates in network-input px.
        names: where each class of them stands on the sheet.
        threshold_px: how far a bent page may carry a name from its place, px of the reference frame.

    Raises:
        StageError: ``NO_LABELS_FOUND`` without a candidate, ``ALIGNMENT_FAILED`` where no four agree (nor three that
            stand wide apart and undistorted).
    """
    index = {label.class_id: place for place, label in enumerate(names.classes)}
    known = np.array([place for place, c in enumerate(keypoints.class_ids) if int(c) in index], np.int64)
    if len(known) == 0:
        raise StageError(RefusalCode.NO_LABELS_FOUND, "No printed lead name was found on the picture.")
    labels = np.array([index[int(keypoints.class_ids[place])] for place in known], np.int64)
    search = _Search(names, keypoints.points[known], labels, keypoints.scores[known], threshold_px)
    hypotheses = search.hypotheses()
    scores = search.rank(hypotheses)
    best = int(np.argmax(scores)) if len(scores) else -1
    if best < 0 or not np.isfinite(scores[best]):
        raise StageError(
            RefusalCode.ALIGNMENT_FAILED, f"{len(known)} lead name(s) were found, but no page agrees with them."
        )
    matrix, pairs = search.refine(hypotheses[best])
    middle = jacobians(matrix, search.centre)[0][0]
    mirrored = bool(np.linalg.det(middle) < 0)
    if not search.accepts(matrix, pairs, mirrored):
        raise StageError(
            RefusalCode.ALIGNMENT_FAILED, f"Only {len(pairs)} of {len(known)} lead names agree on where the page lies."
        )
    inliers = np.zeros(len(keypoints), bool)
    inliers[known[pairs[:, 0]]] = True
    residual = transform_points(matrix, search.places[pairs[:, 1]]) - search.points[pairs[:, 0]]
    return Alignment(
        homography=matrix,
        inliers=inliers,
        rms_px=float(np.sqrt(np.mean(np.sum(residual**2, axis=1)))),
        score=float(np.clip(search.agreement(matrix[None])[0] / len(names.classes), 0, 1)),
        mirrored=mirrored,
        orientation=int(dominant_orientation(middle)),
    )


class _Search:
    """Hypotheses, their ranking and the last fit, for one set of candidates."""

    def __init__(
        self, names: NamePlaces, points: Floats, labels: NDArray[np.int64], scores: Floats, threshold_px: float
    ) -> None:
        self.points, self.labels, self.threshold_px = points, labels, threshold_px
        self.weights = np.clip(scores, 0.3, 1.0)
        self.places = names.points()
        leads = np.array([label.lead for label in names.classes])
        self.same_name = leads[labels][:, None] == leads[None, :]
        right, bottom = names.sheet.width - 1.0, names.sheet.height - 1.0
        self.corners = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom], [right / 2, bottom / 2]])
        self.centre = self.corners[4:]
        self.spread = float(np.prod(np.ptp(self.places, axis=0)))

    def hypotheses(self) -> Floats:
        """Homographies of all good sets of four and affine maps of all good sets of three candidates: (n, 3, 3)."""
        quads = self._sets(4)
        triples = self._sets(3)
        return np.concatenate(
            [
                homographies_from_quads(self.places[self.labels[quads]], self.points[quads]),
                affinities_from_triangles(self.places[self.labels[triples]], self.points[triples]),
            ]
        )

    def _sets(self, size: int) -> NDArray[np.int64]:
        count = len(self.points)
        usable = np.arange(count)
        while comb(len(usable), size) > _MAX_SETS:
            usable = np.argsort(-self.weights, kind="stable")[: len(usable) - 1]
        sets = np.array(list(combinations(sorted(usable), size)), np.int64).reshape(-1, size)
        classes = np.sort(self.labels[sets], axis=1)
        sets = sets[(np.diff(classes, axis=1) > 0).all(axis=1)]
        # Three of four labels on one line, or all but so, leave a homography undetermined: rows and columns do that.
        smallest = np.full(len(sets), np.inf)
        for corner in combinations(range(size), 3):
            a, b, c = (self.places[self.labels[sets[:, place]]] for place in corner)
            u, v = b - a, c - a
            smallest = np.minimum(smallest, np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]) / 2)
        return np.asarray(sets[smallest >= _MIN_TRIANGLE * self.spread])

    def agreement(self, matrices: Floats) -> Floats:
        """MSAC gain of homographies (n, 3, 3), 0..number of labels each."""
        jacobian, depth = jacobians(matrices, self.places)
        scale = stretch(jacobian)[0]
        mapped = self._project(matrices, depth)
        gain = np.zeros((len(matrices), len(self.places)))
        with np.errstate(invalid="ignore", divide="ignore"):
            for point, label, weight in zip(self.points, self.labels, self.weights, strict=True):
                reach = scale[:, label] * self.threshold_px
                squared = np.sum((mapped[:, label] - point) ** 2, axis=1) / reach**2
                worth = np.where(np.isfinite(squared), weight * (1 - squared), 0.0)
                gain[:, label] = np.maximum(gain[:, label], worth)
        return np.asarray(gain.sum(axis=1))

    def _project(self, matrices: Floats, depth: Floats) -> Floats:
        homogeneous = np.concatenate([self.places, np.ones((len(self.places), 1))], axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((homogeneous @ np.swapaxes(matrices, 1, 2))[..., :2] / depth[..., None])

    def distortion(self, matrices: Floats) -> Floats:
        """How far homographies are from a similarity, by their corners; inf where no camera sees a page like that."""
        jacobian, depth = jacobians(matrices, self.corners)
        scale, ratio = stretch(jacobian)
        one_side = (depth > 0).all(axis=1) | (depth < 0).all(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            change = scale.max(axis=1) / scale.min(axis=1)
            good = one_side & (scale.min(axis=1) >= _SCALES[0]) & (scale.max(axis=1) <= _SCALES[1])
            good &= (change <= _MAX_SCALE_RATIO) & (ratio.max(axis=1) <= _MAX_STRETCH)
            cost = np.log(change) ** 2 + np.log(ratio.max(axis=1)) ** 2
        return np.where(good, cost, np.inf)

    def rank(self, matrices: Floats) -> Floats:
        """Score of each hypothesis, -inf for the impossible."""
        distortion = self.distortion(matrices)
        score = np.full(len(matrices), -np.inf)
        good = np.isfinite(distortion)
        if good.any():
            score[good] = self.agreement(matrices[good]) - distortion[good]
        return score

    def match(self, matrix: Floats) -> Pairs:
        """The best candidate for each label within the threshold. "II" is printed twice: either name will do."""
        jacobian, _ = jacobians(matrix, self.places)
        reach = stretch(jacobian)[0] * self.threshold_px
        mapped = transform_points(matrix, self.places)
        residual = np.linalg.norm(self.points[:, None] - mapped[None], axis=2) / reach
        residual = np.where(self.same_name, residual, np.inf)
        pairs = []
        for label in range(len(self.places)):
            candidate = int(np.argmin(residual[:, label]))
            if residual[candidate, label] <= 1 and label == int(np.argmin(residual[candidate])):
                pairs.append((candidate, label))
        return np.array(pairs, np.int64).reshape(-1, 2)

    def refine(self, matrix: Floats) -> tuple[Floats, Pairs]:
        """Fit to all that agree, look again who agrees, until it settles."""
        pairs = self.match(matrix)
        for _ in range(4):
            fitted = self._fit(matrix, pairs)
            if not np.isfinite(self.distortion(fitted[None])[0]):
                break
            again = self.match(fitted)
            if len(again) < len(pairs):
                break
            settled = np.array_equal(again, pairs)
            matrix, pairs = fitted, again
            if settled:
                break
        return matrix / matrix[2, 2], pairs

    def _fit(self, start: Floats, pairs: Pairs) -> Floats:
        source, target = self.places[pairs[:, 1]], self.points[pairs[:, 0]]
        if len(pairs) < 3:
            return start
        if len(pairs) == 3 or not _spans(source):
            return affinity_lstsq(source, target) if _area(source) > 0 else start
        first = homography_dlt(source, target)
        if not np.isfinite(self.distortion(first[None])[0]):
            first = start
        before, after = normalising_matrix(self.places), normalising_matrix(target)
        begin = after @ first @ np.linalg.inv(before)
        if abs(begin[2, 2]) < 1e-9:
            return first
        p = transform_points(before, source)
        spread_px = 1 / after[0, 0]
        q = transform_points(after, target)
        weight = np.sqrt(self.weights[pairs[:, 0]])[:, None] * spread_px / _NOISE_PX

        def residuals(parameters: Floats) -> Floats:
            mapped = transform_points(np.append(parameters, 1.0).reshape(3, 3), p)
            # A weak prior against perspective: the labels cover half the page, and it decides where the rest lies.
            return np.concatenate([((mapped - q) * weight).ravel(), parameters[6:] / _PERSPECTIVE])

        solved = least_squares(residuals, (begin / begin[2, 2]).ravel()[:8], loss="huber", f_scale=1.5, max_nfev=40)
        matrix = np.linalg.inv(after) @ np.append(solved.x, 1.0).reshape(3, 3) @ before
        return np.asarray(matrix / matrix[2, 2], np.float64)

    def accepts(self, matrix: Floats, pairs: Pairs, mirrored: bool) -> bool:
        """Whether enough names agree: four, or three wide apart without distortion."""
        if len(pairs) >= 4 and _spans(self.places[pairs[:, 1]]):
            return len(pairs) > 4 or float(self.distortion(matrix[None])[0]) < 1.0
        if len(pairs) < 3 or mirrored:
            return False
        ratio = stretch(jacobians(matrix, self.centre)[0])[1][0]
        return bool(ratio <= _MAX_TRIPLE_STRETCH and _area(self.places[pairs[:, 1]]) >= _MIN_TRIPLE_AREA * self.spread)


def _area(points: Floats) -> float:
    """Area of the largest triangle of points (n, 2)."""
    return float(_doubled_areas(points).max(initial=0.0)) / 2


def _doubled_areas(points: Floats) -> Floats:
    """Twice the area of every triangle of points (n, 2): (n, n, n), 0 where two corners are one."""
    x, y = points[:, 0], points[:, 1]
    # Of the shoelace formula, from each first corner on: (b - a) x (c - a).
    dx, dy = x[None, :] - x[:, None], y[None, :] - y[:, None]
    return np.abs(dx[:, :, None] * dy[:, None, :] - dy[:, :, None] * dx[:, None, :])


def _spans(points: Floats) -> bool:
    """Whether some four of the points have no three on a line, so that they fix a homography."""
    areas = _doubled_areas(points)
    least = 1e-3 * float(areas.max(initial=0.0)) / 2
    return any(
        min(float(areas[triple]) for triple in combinations(quad, 3)) > least
        for quad in combinations(range(len(points)), 4)
    )
