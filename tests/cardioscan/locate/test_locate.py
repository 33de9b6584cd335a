"""The stage that says where the page lies in a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cardioscan.backends.specs import NAME_PLACES
from cardioscan.errors import PlacementError, RefusalCode, StageError
from cardioscan.imaging.geometry import transform_points
from cardioscan.locate.locate import Located, locate
from tests.cardioscan.locate.seen_names import CORNERS, PLACES, corner_error, draw_names

IMAGE = np.full((1152, 1440, 3), 240, np.uint8)
PAGE = np.array([[0.55, 0.02, 90], [-0.02, 0.55, 110], [0, 0, 1]])
"""Where the page lies in that picture, which the label detector is shown as it is."""
ALL = range(13)


class Detector:
    """A label detector that gives the same maps for every view, and counts what it is shown."""

    def __init__(self, keep: Any = ALL, page: np.ndarray = PAGE) -> None:
        self.maps, self.shown = draw_names(page, keep)[None], 0

    def infer(self, model: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert model == "label_detector" and inputs["page"].shape == (1, 3, 1152, 1440)
        self.shown += 1
        return {"label_probability": self.maps}

    def model_versions(self) -> dict[str, tuple[str, str]]:
        return {}


def test_a_page_is_found_by_its_names() -> None:
    detector = Detector()
    located = locate(IMAGE, detector, NAME_PLACES)
    assert corner_error(located.homography, PAGE) < 1.5
    assert located.image is IMAGE and not located.by_hand
    assert np.allclose(located.names[np.argsort(located.names[:, 0]), 1:], transform_points(PAGE, PLACES), atol=0.5)
    assert detector.shown == 1
    found = dict(located.diagnostics)
    assert found.pop("alignment_score") > 0.85 and found.pop("alignment_rms_px") < 0.5
    assert found == {"looks": 1, "straightened": False, "labels_found": 13, "orientation": 0}


def test_the_diagnostics_say_how_the_page_is_turned() -> None:
    upside_down = np.array([[-1.0, 0, 1439], [0, -1, 1151], [0, 0, 1]]) @ PAGE
    located = locate(IMAGE, Detector(page=upside_down), NAME_PLACES)
    assert located.diagnostics["orientation"] == 2
    assert corner_error(located.homography, upside_down) < 1.5


@pytest.mark.parametrize(
    ("keep", "code"),
    [([], RefusalCode.NO_LABELS_FOUND), ([0, 5], RefusalCode.ALIGNMENT_FAILED)],
    ids=["no name", "two names"],
)
def test_a_picture_without_a_page_is_refused(keep: list[int], code: RefusalCode) -> None:
    with pytest.raises(StageError) as caught:
        locate(IMAGE, Detector(keep), NAME_PLACES)
    assert caught.value.code is code


@pytest.mark.parametrize(("keep", "confidence"), [(ALL, 1.0), (range(9), 1.0), ([0, 3, 5, 6, 8, 11], 6 / 9)], ids=str)
def test_doubt_about_the_place_is_doubt_about_the_page(keep: Any, confidence: float) -> None:
    located = locate(IMAGE, Detector(keep), NAME_PLACES)
    assert len(located.names) == len(keep)
    assert located.confidence == pytest.approx(confidence)


def test_few_names_are_looked_for_in_other_views() -> None:
    detector = Detector([0, 3, 5, 6, 8, 11])
    located = locate(IMAGE, detector, NAME_PLACES)
    assert detector.shown > located.diagnostics["looks"] > 1


def test_a_person_who_sets_the_corners_is_believed() -> None:
    located = locate(IMAGE, Detector([]), NAME_PLACES, corners=transform_points(PAGE, CORNERS))
    assert located.by_hand and located.confidence == 1.0
    assert corner_error(located.homography, PAGE) < 1e-6
    assert located.names.shape == (0, 3)
    assert located.diagnostics == {"labels_found": 0}


def test_corners_that_span_no_page_are_a_wrong_call() -> None:
    with pytest.raises(PlacementError, match="corners"):
        locate(IMAGE, Detector(), NAME_PLACES, corners=np.zeros((4, 2)))


@pytest.mark.parametrize(
    ("names", "by_hand", "confidence"), [(0, False, 0.0), (3, False, 1 / 3), (13, False, 1.0), (0, True, 1.0)]
)
def test_the_confidence_of_a_place(names: int, by_hand: bool, confidence: float) -> None:
    located = Located(IMAGE, PAGE, np.zeros((names, 3)), by_hand, {})
    assert located.confidence == pytest.approx(confidence)
