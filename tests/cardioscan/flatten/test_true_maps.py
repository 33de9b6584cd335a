"""The stages put together on exact rendered truth: what perfect networks would give.

``TrueMaps`` answers for the networks with the maps of a rendered page, in whatever frame the pipeline asks for them, so
any half pixel that two stages disagree about shows here.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from cardioscan.backends.inference import Tensors
from cardioscan.backends.specs import NAME_PLACES, RECTIFIER_WINDOW
from cardioscan.evaluate.measure import compare
from cardioscan.flatten.lattice import read_nodes, resolve_lattice
from cardioscan.flatten.page_map import PageMap
from cardioscan.flatten.window import window_matrix
from cardioscan.imaging.geometry import dominant_orientation, jacobians, transform_points
from cardioscan.locate.homography import fit_homography
from cardioscan.locate.names import as_probability, label_keypoints
from cardioscan.locate.search import views
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.pipeline import Digitizer
from cardioscan.synthesis.dataset import RenderedPage, render_page
from cardioscan.synthesis.simulator import SimulatedSignals
from cardioscan.synthesis.views import label_map, lattice_truth

SHEET = REFERENCE_PAGE.sheet
SIGNALS = SimulatedSignals(16, seed=77)
MIDDLE = np.array([[1100.0, 850.0]])


def classes(labels: np.ndarray) -> np.ndarray:
    return ((labels[None] == np.arange(14)[:, None, None]) * 255).astype(np.uint8)[None]


class TrueMaps:
    """An inference backend that knows the page. Its label detector reads upright pages only, as the real one does."""

    def __init__(self, rendered: RenderedPage) -> None:
        self.rendered = rendered
        self.looks = 0
        self.views = [
            (
                view.matrix,
                int(dominant_orientation(jacobians(view.matrix @ rendered.geometry.homography, MIDDLE)[0][0])),
            )
            for view in views(rendered.image)
        ]
        self.to_window = np.eye(3)
        self.lattice: dict[str, np.ndarray] = {}

    def model_versions(self) -> dict[str, tuple[str, str]]:
        return {}

    def infer(self, model: str, inputs: Tensors) -> dict[str, Any]:
        return getattr(self, model)()

    def source_classifier(self) -> dict[str, Any]:
        return {"source_probability": np.eye(12, dtype=np.float32)[:1]}

    def label_detector(self) -> dict[str, Any]:
        to_canvas, orientation = self.views[self.looks]
        self.looks += 1
        labels, _ = label_map(NAME_PLACES, self.rendered.geometry.after(to_canvas), (1440, 1152))
        if orientation != 0:
            labels = np.zeros_like(labels)
        else:
            found = fit_homography(label_keypoints(as_probability(classes(labels)[0])), NAME_PLACES)
            self.to_window = window_matrix(found.to_image(to_canvas), RECTIFIER_WINDOW)
        return {"label_probability": classes(labels)}

    def grid_rectifier(self) -> dict[str, Any]:
        points, _, offsets, lattice, labels, _, _ = lattice_truth(SHEET, self.rendered.geometry.after(self.to_window))
        self.lattice = {
            "point_probability": (points * 255)[None],
            "point_offset": offsets[None],
            "lattice_coordinate": lattice[None],
            "label_probability": classes(labels),
        }
        return self.lattice

    def waveform_extractor(self) -> dict[str, Any]:
        names = ("point_probability", "point_offset", "lattice_coordinate")
        seen = read_nodes(*(self.lattice[name][0] for name in names))
        nodes = resolve_lattice(seen, RECTIFIER_WINDOW, NAME_PLACES).nodes
        maps = PageMap.of(transform_points(np.linalg.inv(self.to_window), nodes), SHEET).dense()
        page = self.rendered.geometry.to_page(np.stack(maps, axis=-1)[::4, ::4]).astype(np.float32)
        full = cv2.warpAffine(
            page, np.diag([0.25, 0.25, 1])[:2], (2200, 1700), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        rows = [cv2.remap(row, full, None, cv2.INTER_LINEAR) for row in self.rendered.page.coverage()]
        return {"row_coverage": np.stack(rows)[None]}


def digitized(rendered: RenderedPage) -> tuple[Any, float, float]:
    details = Digitizer(TrueMaps(rendered)).digitize_with_details(rendered.image)
    assert details.record.outcome == "digitized", details.record.reasons
    truth = rendered.geometry.to_image(SHEET.lattice())
    inner = np.linalg.norm(details.lattice - truth, axis=-1)[14:, 2:-2]
    score = compare(np.array(details.record.signals), rendered.page.printed_signals())
    return details, float(np.percentile(inner, 95)), score.snr_db


@pytest.mark.parametrize("orientation", range(8))
def test_every_orientation_is_undone(orientation: int) -> None:
    rendered = render_page(SIGNALS.record(1), "clean", np.random.default_rng(3), orientation=orientation)
    details, node_error, decibels = digitized(rendered)
    assert details.record.diagnostics["orientation"] == orientation
    assert node_error < 0.1
    assert decibels > 24


@pytest.mark.parametrize("seed", range(4))
def test_a_bent_page_in_perspective_is_flattened(seed: int) -> None:
    rendered = render_page(SIGNALS.record(2 + seed), "phone_photo", np.random.default_rng(seed), size=(2400, 1800))
    _, node_error, decibels = digitized(rendered)
    # px of a picture 2400 px wide; sharp folds are kinks that a smooth lattice rounds off.
    assert node_error < 1.0
    assert decibels > 19
