"""The page placed by its corners."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cardioscan import Digitizer
from cardioscan.backends.specs import NAME_PLACES
from cardioscan.errors import PlacementError
from cardioscan.evaluate.measure import compare
from cardioscan.imaging.geometry import transform_points
from cardioscan.locate.corners import checked_corners, place_by_corners

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
QUAD = np.array([[200.0, 150.0], [1700.0, 120.0], [1750.0, 1300.0], [180.0, 1350.0]])


def names_at(shift: tuple[float, float]) -> Any:
    """A detector that sees every lead name beside its place on the straightened sheet, by px of the reference frame."""

    def detector(view: np.ndarray) -> Mapping[str, np.ndarray]:
        height, width = view.shape[:2]
        scale = 1440 * 0.92 / 2200  # as `straighten` fits the sheet into the view, to a pixel
        origin = np.array([(width - 1) / 2 - 2199 * scale / 2, (height - 1) / 2 - 1699 * scale / 2])
        maps = np.zeros((14, height // 4, width // 4), np.float32)
        for label, point in zip(NAME_PLACES.classes, NAME_PLACES.points(), strict=True):
            x, y = (point + shift) * scale + origin
            cv2.circle(maps[label.class_id], (round(x / 4), round(y / 4)), 2, 1.0, -1)
        maps[0] = 1 - maps[1:].max(axis=0)
        return {"label_probability": maps[None]}

    return detector


@pytest.mark.parametrize(
    ("shift", "follows"), [((0.0, 0.0), True), ((40.0, 20.0), True), ((500.0, 0.0), False)], ids=str
)
def test_lead_names_refine_the_corners_unless_they_contradict(shift: tuple[float, float], follows: bool) -> None:
    image = np.full((1500, 2000, 3), 240, np.uint8)
    homography, names = place_by_corners(image, QUAD, names_at(shift), NAME_PLACES)
    corners = transform_points(homography, NAME_PLACES.sheet.corners())
    moved = np.linalg.norm(corners - QUAD, axis=1)
    assert names.shape == (13 if follows else 0, 3)
    if not follows:
        assert moved.max() < 1e-6
    else:
        assert moved.max() < (8 if shift == (0.0, 0.0) else 60)


def test_without_lead_names_the_corners_count() -> None:
    blank = np.zeros((1, 14, 288, 360), np.uint8)
    blank[:, 0] = 255
    image = np.full((1500, 2000, 3), 240, np.uint8)
    homography, names = place_by_corners(image, QUAD, lambda view: {"label_probability": blank}, NAME_PLACES)
    assert np.allclose(transform_points(homography, NAME_PLACES.sheet.corners()), QUAD)
    assert names.shape == (0, 3)


@pytest.mark.parametrize(
    "corners",
    [
        [],
        [[0, 0], [1000, 0], [1000, 800]],
        [[0, 0], [1000, 0], [0, 800], [1000, 800]],
        [[0, 0], [50, 0], [50, 50], [0, 50]],
        [[0, 0], [1000, 0], [float("nan"), 800], [0, 800]],
        [[0, 0], [1000, 0], [2e9, 800], [0, 800]],
        [["a", 0], [1000, 0], [1000, 800], [0, 800]],
    ],
)
def test_corners_that_span_no_page(corners: list[Any]) -> None:
    with pytest.raises(PlacementError, match="corners"):
        checked_corners(corners)


def test_a_page_is_read_through_corners_that_a_hand_has_set() -> None:
    path = EXAMPLES / "page-photo.jpg"
    with np.load(EXAMPLES / "page-photo.npz") as truth:
        signals, nodes = truth["signals"].astype(np.float64), truth["nodes"]
    off = np.array([[25.0, -20.0], [-30.0, 10.0], [20.0, 25.0], [-15.0, -25.0]])
    corners = np.array([nodes[0, 0], nodes[0, -1], nodes[-1, -1], nodes[-1, 0]]) + off
    begun: list[str] = []
    details = Digitizer().digitize_with_details(path, corners=corners, progress=begun.append)
    assert details.record.outcome == "digitized", details.record.reasons
    assert compare(np.array(details.record.signals), signals).snr_db > 8.0
    assert [edit["kind"] for edit in details.record.edits] == ["corners"]
    assert begun[:2] == ["read", "alignment"] and begun[-2:] == ["source_classifier", "signal"]
    assert {"label_detector", "grid_rectifier", "waveform_extractor", "waveform"} <= set(begun)
