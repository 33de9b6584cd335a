"""The lattice that single lines are measured from: as the network sees it, made as smooth as the paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cardioscan.arrays import Floats
from cardioscan.backends.ask import ask
from cardioscan.backends.inference import InferenceBackend
from cardioscan.backends.specs import NamePlaces, RectifierWindow
from cardioscan.errors import RefusalCode, StageError
from cardioscan.flatten.lattice import Lattice, read_nodes, resolve_lattice
from cardioscan.flatten.phase import refine_nodes
from cardioscan.flatten.window import warp_to_window, window_matrix
from cardioscan.imaging.geometry import transform_points
from cardioscan.imaging.surfaces import cross_validated_smoothness, robust_lattice
from cardioscan.locate.locate import Located
from cardioscan.locate.names import as_probability, label_keypoints
from cardioscan.page.sheet import Sheet

__all__ = ["FirstLattice", "SeenLattice", "see_lattice", "smooth_lattice_of"]

_MIN_LATTICE: Final = 0.4
"""A lattice of which less was seen is none."""
_SMOOTHNESSES: Final = (1.0, 5.0, 30.0, 300.0)
"""How smooth the surface through the network's nodes may be: flat paper gets the last, crumpled paper the first."""
_BLOCK_NODES: Final = 5
"""Nodes are predicted from others so many nodes away: what the network is off by, neighbours share."""
_NO_WORSE: Final = 1.15
"""A stiffer surface is taken when it predicts them no worse than by this factor."""
_MAX_ERROR_PX: Final = 3.0
"""A node that is predicted worse than this, px of the reference frame, counts as if by this much."""
_OUTLIER_SCALES_PX: Final = (3.0, 1.5)
"""By so many px of the reference frame a node leaves that smooth surface and counts a quarter; one round each."""
_UNSETTLED_CONFIDENCE: Final = 0.7
"""What is left of the confidence when the phase of the grid does not settle: squared, for nothing else says where the
lattice is."""


@dataclass(frozen=True, eq=False)
class SeenLattice:
    """What the network saw of the lattice.

    Attributes:
        nodes: (n_horizontal_lines, n_vertical_lines, 2) float64, (x, y) px of the picture; where the network saw too
            little, those of the homography.
        score: 0 to 1, see ``Lattice.score``; 0 where it saw too little.
        diagnostics: what was found.
    """

    nodes: Floats
    score: float
    diagnostics: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class FirstLattice:
    """A smooth lattice: nodes and score as in ``SeenLattice``, confidence 0 to 1, and what was found."""

    nodes: Floats
    score: float
    confidence: float
    diagnostics: Mapping[str, Any]


def see_lattice(
    located: Located, backend: InferenceBackend, window: RectifierWindow, places: NamePlaces
) -> SeenLattice:
    """Ask the grid rectifier for the nodes of the lattice and number them.

    Args:
        located: the picture and where the page lies in it.
        backend: runs the network.
        window: what the network sees, and of which sheet.
        places: where each lead name stands on that sheet.
    """
    matrix = window_matrix(located.homography, window)
    answer = ask(backend, "grid_rectifier", warp_to_window(located.image, matrix, window))
    detections = read_nodes(answer["point_probability"][0], answer["point_offset"][0], answer["lattice_coordinate"][0])
    anchors = label_keypoints(as_probability(answer["label_probability"][0]))
    lattice: Lattice | None
    try:
        lattice = resolve_lattice(detections, window, places, anchors)
    except StageError:
        lattice = None
    if lattice is None or lattice.score < _MIN_LATTICE:
        nodes = transform_points(located.homography, window.sheet.lattice())
        return SeenLattice(nodes, 0.0, {"lattice_score": 0.0})
    found = {"lattice_score": round(lattice.score, 4), "lattice_residual_px": round(lattice.residual_rms_px, 3)}
    to_image = np.asarray(np.linalg.inv(matrix))
    return SeenLattice(transform_points(to_image, lattice.nodes), lattice.score, found)


def smooth_lattice_of(seen: SeenLattice, located: Located, sheet: Sheet, places: NamePlaces) -> FirstLattice:
    """The nodes made smooth; without a network's lattice, moved onto the printed lines by the grid's phase.

    With a network's lattice the phase is no better than a smooth surface.

    Args:
        seen: what the network saw.
        located: the picture and where the page lies in it.
        sheet: the ruled paper.
        places: where each lead name stands on it.

    Raises:
        StageError: ``GRID_NOT_FOUND``.
    """
    if seen.score > 0:
        nodes, smoothness = _smoothed(seen.nodes, located, sheet)
        return FirstLattice(nodes, seen.score, 1.0, {**seen.diagnostics, "lattice_smoothness": smoothness})
    nodes, report = refine_nodes(located.image, seen.nodes, sheet, places)
    if not report.applied:
        raise StageError(RefusalCode.GRID_NOT_FOUND, "No printed grid was found where the lead names say it is.")
    confidence = 1.0 if report.converged else _UNSETTLED_CONFIDENCE**2
    return FirstLattice(nodes, 0.0, confidence, {**seen.diagnostics, "phase": report.to_json_dict()})


def _smoothed(nodes: Floats, located: Located, sheet: Sheet) -> tuple[Floats, float]:
    """A surface through the nodes as smooth as the paper, outliers left out, and its smoothness.

    Where single lines are measured from there, how stiff the page is is told by how well nodes predict their
    neighbours, so what single nodes are off by must be gone.
    """
    base = transform_points(located.homography, sheet.lattice())
    px = float(np.median(np.linalg.norm(np.diff(base, axis=1), axis=-1))) / sheet.pitch
    moved, known = (nodes - base) / px, np.ones(base.shape[:2])
    blocks = (np.indices(known.shape) // _BLOCK_NODES).sum(axis=0) % 2
    smoothness = cross_validated_smoothness(moved, known, blocks, _SMOOTHNESSES, _MAX_ERROR_PX, _NO_WORSE)
    return base + px * robust_lattice(moved, known, smoothness, _OUTLIER_SCALES_PX)[0], smoothness
