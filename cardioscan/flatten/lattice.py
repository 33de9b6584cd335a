"""The page's 5 mm lattice from the grid rectifier's maps: crossings read, numbered together, filled in.

Line numbers are settled together, not one by one, because single estimates slip by one where paper is bent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from cardioscan.arrays import Floats
from cardioscan.backends.specs import NamePlaces, RectifierWindow
from cardioscan.errors import RefusalCode, StageError
from cardioscan.imaging.geometry import median_of_known, sample_bilinear, transform_points
from cardioscan.imaging.surfaces import robust_lattice, smooth_lattice
from cardioscan.locate.names import LabelKeypoints

_JUDGING_SMOOTHNESS: Final = 30.0
"""Smoothness of the surface that judges nodes: it bends over about ten squares, so one node cannot bend it."""

_NEIGHBOURS: Final = 13
"""A point and those around it, the next but one along each axis included: what tells the local axes."""

_FINAL_SMOOTHNESS: Final = 0.05
"""Smoothness of the surface that is used: only what changes from one node to the next is smoothed."""

_UNSEEN_WEIGHT: Final = 0.03
"""Weight with which nodes that were not seen are held to the stiff surface."""

_MIN_COMPONENT: Final = 6
"""Smaller pieces of linked crossings have too few votes on their own."""

_TOLERANCES: Final = (0.45, 0.3)
"""By so much of a pitch a neighbour may miss the place where it is expected, in either pass."""
_MIN_NODES: Final = 120
"""Fewer placed crossings are no grid."""
_NO_NUMBER: Final = -(10**6)


@dataclass(frozen=True, eq=False)
class NodeDetections:
    """Line crossings found in the aligned frame.

    Attributes:
        points: (n, 2) float64, (x, y) px.
        coordinates: (n, 2) float64, the network's estimate of (i, j): vertical and horizontal line number.
        scores: (n,) float64 in 0..1.
    """

    points: Floats
    coordinates: Floats
    scores: Floats

    def __len__(self) -> int:
        """Number of crossings."""
        return len(self.points)


def read_nodes(
    point_probability: NDArray[Any],
    point_offset: NDArray[Any],
    lattice_coordinate: NDArray[Any],
    stride: int = 4,
    min_probability: float = 0.3,
    min_distance_px: float = 8.0,
) -> NodeDetections:
    """Read line crossings from the grid rectifier's maps.

    A crossing is a 3 x 3 local maximum of the point map; its position is the mean of what the cells around it vote
    for (cell centre plus offset), weighted by their probability; its line numbers are sampled there.

    Args:
        point_probability: (h, w); uint8 as p/255, or float.
        point_offset: (2, h, w), (x, y) px from the cell's centre to the crossing.
        lattice_coordinate: (2, h, w), estimated (i, j) at the cell's centre.
        stride: px per cell.
        min_probability: weaker maxima are dropped.
        min_distance_px: of two crossings nearer than this the weaker is dropped.
    """
    raw = np.asarray(point_probability)
    probability = raw.astype(np.float64) / 255 if raw.dtype == np.uint8 else raw.astype(np.float64)
    offset = np.asarray(point_offset, np.float64)
    # Among equals (a map of bytes saturates) the cell nearest to the crossing is the maximum.
    ranked = probability - 1e-3 * np.minimum(np.hypot(offset[0], offset[1]) / stride, 3)
    around = cv2.dilate(ranked, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    rows, columns = np.nonzero((probability >= min_probability) & (ranked >= around))
    middle = (stride - 1) / 2
    peak = np.stack([columns, rows], axis=1) * float(stride) + middle + offset[:, rows, columns].T
    total = np.zeros(len(rows))
    position = np.zeros_like(peak)
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            r = np.clip(rows + down, 0, probability.shape[0] - 1)
            c = np.clip(columns + across, 0, probability.shape[1] - 1)
            vote = np.stack([c, r], axis=1) * float(stride) + middle + offset[:, r, c].T
            weight = np.where(np.linalg.norm(vote - peak, axis=1) < 0.75 * stride, probability[r, c], 0.0)
            position += weight[:, None] * vote
            total += weight
    position = position / total[:, None]
    scores = probability[rows, columns]
    keep = _strongest(position, scores, min_distance_px)
    cells = (position[keep] - middle) / stride
    return NodeDetections(position[keep], sample_bilinear(lattice_coordinate, cells), scores[keep])


def _strongest(points: Floats, scores: Floats, distance: float) -> NDArray[np.int64]:
    """Indices of the points left when of any two nearer than ``distance`` the weaker goes, strongest first."""
    if len(points) == 0:
        return np.empty(0, np.int64)
    alive = np.ones(len(points), bool)
    pairs = cKDTree(points).query_pairs(distance, output_type="ndarray")
    if len(pairs):
        order = np.argsort(-np.max(scores[pairs], axis=1), kind="stable")
        for a, b in pairs[order]:
            if alive[a] and alive[b]:
                alive[b if scores[a] >= scores[b] else a] = False
    return np.nonzero(alive)[0]


@dataclass(frozen=True, eq=False)
class Lattice:
    """The page's 5 mm lattice in the aligned frame.

    Attributes:
        nodes: (n_horizontal_lines, n_vertical_lines, 2) float64, (x, y) px, every node.
        observed: same lattice, bool: seen (True) or filled in (False).
        residual_rms_px: root mean square distance of the seen crossings from the surface, px.
        residual_p95_px: its 95th percentile.
        n_detections: crossings that came in.
        n_outliers: crossings that fit nowhere.
        index_agreement: share of the seen crossings whose own line numbers round to the node they were given.
        score: 0..1: share of the nodes seen, times the share of crossings that fit.
    """

    nodes: Floats
    observed: NDArray[np.bool_]
    residual_rms_px: float
    residual_p95_px: float
    n_detections: int
    n_outliers: int
    index_agreement: float
    score: float

    def to_image(self, image_to_aligned: Floats) -> Floats:
        """The nodes in px of the original picture, given the matrix that warped it into the aligned frame."""
        return transform_points(np.linalg.inv(image_to_aligned), self.nodes)


def resolve_lattice(
    detections: NodeDetections,
    window: RectifierWindow,
    names: NamePlaces,
    anchors: LabelKeypoints | None = None,
) -> Lattice:
    """Settle which node of the lattice each crossing is, and where all the nodes are.

    Line numbers are settled together, not one by one: crossings one pitch apart are linked (only links that close a
    square count), relative numbers follow along the links, and each connected piece is shifted as a whole to where
    most of its crossings say they are. Then a stiff smooth surface through all of them shows the outliers, unplaced
    crossings join where the surface expects one, and a light surface through the rest gives every node.

    Args:
        detections: crossings in the aligned frame.
        window: what the network saw, and of which sheet.
        names: which node each class of the anchors stands at.
        anchors: lead names found in the aligned frame; three or more that agree settle a shift of the whole lattice.

    Raises:
        StageError: ``GRID_NOT_FOUND``.
    """
    nominal, pitch = window.from_reference(window.sheet.lattice()), window.pitch
    shape = nominal.shape[:2]
    if len(detections) < _MIN_NODES:
        raise _no_grid(f"only {len(detections)} crossings of grid lines were found")
    index = _number(detections, pitch)
    index = _shift_to_anchors(index, detections.points, names, anchors, pitch)
    place = _place(index, detections.scores, shape)
    scales = tuple(pitch * s for s in (0.6, 0.4, 0.25, 0.15, 0.1))
    weights, offsets = _gather(place, detections, nominal)
    _check(place)
    surface, distance = robust_lattice(offsets, weights, _JUDGING_SMOOTHNESS, scales)
    limit = max(0.12 * pitch, 5 * 1.4826 * float(np.median(distance[np.isfinite(distance)])))
    place = np.where(distance <= limit, place, -1)
    for _ in range(2):
        _check(place)
        place = _adopt(place, nominal + surface, detections.points, 0.3 * pitch)
        weights, offsets = _gather(place, detections, nominal)
        surface = smooth_lattice(offsets, weights, _JUDGING_SMOOTHNESS)
        place = np.where(np.linalg.norm(offsets - surface, axis=-1) <= limit, place, -1)
    weights, offsets = _gather(place, detections, nominal)
    surface = smooth_lattice(offsets, weights, _JUDGING_SMOOTHNESS)
    observed = place >= 0
    # The light surface follows noise, and would carry it far into gaps; there it is held to the stiff one.
    fine = smooth_lattice(
        np.where(observed[..., None], offsets - surface, 0.0), np.maximum(weights, _UNSEEN_WEIGHT), _FINAL_SMOOTHNESS
    )
    nodes = nominal + surface + fine
    residual = np.linalg.norm(detections.points[place[observed]] - nodes[observed], axis=1)
    truth = np.argwhere(observed)[:, ::-1]
    agreement = np.all(np.rint(detections.coordinates[place[observed]]) == truth, axis=1)
    fitting = float(observed.sum()) / len(detections)
    return Lattice(
        nodes=nodes,
        observed=observed,
        residual_rms_px=float(np.sqrt(np.mean(residual**2))),
        residual_p95_px=float(np.percentile(residual, 95)),
        n_detections=len(detections),
        n_outliers=len(detections) - int(observed.sum()),
        index_agreement=float(np.mean(agreement)),
        score=float(np.clip(observed.mean() * fitting, 0, 1)),
    )


def _no_grid(what: str) -> StageError:
    return StageError(RefusalCode.GRID_NOT_FOUND, f"The printed grid could not be read: {what}.")


def _check(place: NDArray[np.int64]) -> None:
    rows, columns = np.nonzero(place >= 0)
    if len(rows) < _MIN_NODES:
        raise _no_grid(f"only {len(rows)} crossings fit together")
    if np.ptp(rows) < place.shape[0] / 4 or np.ptp(columns) < place.shape[1] / 4:
        raise _no_grid("it is visible on a small part of the page only")


def _links(points: Floats, pitch: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each point the one to its right and the one below it, one pitch away, or -1: two (n,) arrays."""
    tree = cKDTree(points)
    count = len(points)
    wide = tree.query(points, k=min(_NEIGHBOURS, count))[1]  # by distance: first the point itself
    around = wide[:, 1:9]
    moves = points[around] - points[:, None]
    axes = np.broadcast_to(np.array([[pitch, 0.0], [0.0, pitch]]), (count, 2, 2))
    links = np.full((2, count), -1, np.int64)
    # Bent paper shears the squares, so the local axes are measured from the links of the first, more tolerant pass.
    for tolerance in _TOLERANCES:
        for axis in (0, 1):
            ends = []
            for sign in (1, -1):
                miss = np.linalg.norm(moves - sign * axes[:, None, axis], axis=2)
                nearest = np.argmin(miss, axis=1)
                found = miss[np.arange(count), nearest] <= tolerance * pitch
                ends.append(np.where(found, around[np.arange(count), nearest], -1))
            forward, backward = ends
            mutual = (forward >= 0) & (backward[forward] == np.arange(count))
            links[axis] = np.where(mutual, forward, -1)
        if tolerance == _TOLERANCES[-1]:
            break
        steps = np.where(links.T[..., None] >= 0, points[links.T] - points[:, None], np.nan)
        local = median_of_known(steps[wide], axis=1)
        axes = np.where(np.isnan(local), axes, local)  # nothing linked nearby: the axes stay as they were
    return links[0], links[1]


def _number(detections: NodeDetections, pitch: float) -> NDArray[np.int64]:
    """Line numbers (i, j) of each crossing, or far below zero where they are not settled: (n, 2)."""
    right, below = _links(detections.points, pitch)
    count = len(detections)
    a = np.arange(count)
    closed = (right >= 0) & (below >= 0)
    closed &= np.where(closed, below[right], -1) == np.where(closed, right[below], -2)
    closed &= np.where(closed, below[right], -1) >= 0
    corner, b, c = a[closed], right[closed], below[closed]
    d = below[b]
    along_i = np.concatenate([np.stack([corner, b]), np.stack([c, d])], axis=1)
    along_j = np.concatenate([np.stack([corner, c]), np.stack([b, d])], axis=1)
    edges = np.concatenate([along_i, along_j], axis=1)
    steps = np.repeat([[1.0, 0.0], [0.0, 1.0]], [along_i.shape[1], along_j.shape[1]], axis=0)
    result = np.full((count, 2), _NO_NUMBER, np.int64)
    if edges.shape[1] == 0:
        return result
    # Least absolute deviations by reweighting: where links around a hole contradict each other, the few give way.
    signs = np.repeat([[-1.0], [1.0]], edges.shape[1], axis=1).ravel()
    places = np.tile(np.arange(edges.shape[1]), 2)
    incidence = sparse.csr_matrix((signs, (places, edges.ravel())), shape=(edges.shape[1], count))
    link_weights = np.ones(edges.shape[1])
    for _ in range(6):
        weighted = incidence.multiply(link_weights[:, None]).tocsr()
        system = (incidence.T @ weighted + 1e-7 * sparse.identity(count)).tocsc()
        numbers = splu(system, permc_spec="MMD_AT_PLUS_A").solve(weighted.T @ steps + 1e-7 * detections.coordinates)
        residual = np.abs(incidence @ numbers - steps).sum(axis=1)
        if residual.max() < 0.05:
            break
        link_weights = 1 / np.maximum(residual, 0.02)
    sound = residual < 0.4
    graph = sparse.csr_matrix((np.ones(sound.sum()), edges[:, sound]), shape=(count, count))
    pieces, piece = connected_components(graph, directed=False)
    sizes = np.bincount(piece, minlength=pieces)
    for number in np.nonzero(sizes >= _MIN_COMPONENT)[0]:
        members = np.nonzero(piece == number)[0]
        relative = numbers[members] - numbers[members[0]]
        whole = np.rint(relative)
        shift = [_mode(detections.coordinates[members, axis] - whole[:, axis]) for axis in (0, 1)]
        settled = np.abs(relative - whole).max(axis=1) < 0.25
        result[members[settled]] = (whole + shift)[settled].astype(np.int64)
    return result


def _mode(values: Floats) -> int:
    """The most frequent rounded value; among equals the one nearest to the median."""
    rounded, counts = np.unique(np.rint(values), return_counts=True)
    best = rounded[counts == counts.max()]
    return int(best[np.argmin(np.abs(best - np.median(values)))])


def _shift_to_anchors(
    index: NDArray[np.int64], points: Floats, names: NamePlaces, anchors: LabelKeypoints | None, pitch: float
) -> NDArray[np.int64]:
    """Shift all line numbers by whole lines where the lead names agree that they must."""
    placed = np.nonzero(index[:, 0] > _NO_NUMBER)[0]
    if anchors is None or len(anchors) == 0 or len(placed) < 8:
        return index
    tree = cKDTree(points[placed])
    nodes = {label.class_id: (label.i, label.j) for label in names.classes}
    votes = []
    for class_id, point in zip(anchors.class_ids, anchors.points, strict=True):
        near = [k for k in tree.query(point, k=8, distance_upper_bound=2.5 * pitch)[1] if k < len(placed)]
        if int(class_id) not in nodes or len(near) < 4:
            continue
        rows = placed[near]
        design = np.concatenate([points[rows] - point, np.ones((len(rows), 1))], axis=1)
        if np.linalg.matrix_rank(design, tol=0.1 * pitch) < 3:
            continue
        here = np.linalg.lstsq(design, index[rows].astype(np.float64), rcond=None)[0][2]
        votes.append(np.rint(np.array(nodes[int(class_id)]) - here))
    if len(votes) < 3:
        return index
    shifts, counts = np.unique(np.array(votes), axis=0, return_counts=True)
    best = int(np.argmax(counts))
    if counts[best] < 3 or counts[best] < 0.6 * len(votes):
        return index
    return np.where(index == _NO_NUMBER, index, index + shifts[best].astype(np.int64))


def _place(index: NDArray[np.int64], scores: Floats, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Which crossing stands at each node, or -1: (rows, columns). Of two at one node the stronger stays."""
    place = np.full(shape, -1, np.int64)
    i, j = index[:, 0], index[:, 1]
    inside = np.nonzero((i >= 0) & (j >= 0) & (i < shape[1]) & (j < shape[0]))[0]
    inside = inside[np.argsort(scores[inside], kind="stable")]
    place[j[inside], i[inside]] = inside
    return place


def _adopt(place: NDArray[np.int64], expected: Floats, points: Floats, reach: float) -> NDArray[np.int64]:
    """Give each empty node the free crossing within ``reach`` px of where the surface expects it, if there is one."""
    free = np.setdiff1d(np.arange(len(points)), place[place >= 0])
    rows, columns = np.nonzero(place < 0)
    if len(free) == 0 or len(rows) == 0:
        return place
    distance, node = cKDTree(expected[rows, columns]).query(points[free])
    order = np.argsort(-distance, kind="stable")
    order = order[distance[order] <= reach]
    place = place.copy()
    place[rows[node[order]], columns[node[order]]] = free[order]
    return place


def _gather(place: NDArray[np.int64], detections: NodeDetections, nominal: Floats) -> tuple[Floats, Floats]:
    """Weights (rows, columns) and offsets from the nominal lattice (rows, columns, 2) of the placed crossings."""
    seen = place >= 0
    weights = np.where(seen, np.clip(detections.scores, 0.05, 1)[place], 0.0)
    return weights, np.where(seen[..., None], detections.points[place] - nominal, 0.0)
