"""Looking for the page in a picture: which views the label detector is shown, and which of its answers is believed.

A *look* shows the label detector one view of the picture: as it is, the sheet straightened by its outline
(:mod:`cardioscan.locate.outline`), or one of them turned. Looking ends with the first view in which most lead names
agree with each other; otherwise the view with the best agreement counts. The network is at its best on straightened
pages, but most need no straightening.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cardioscan.arrays import Floats, Image
from cardioscan.backends.specs import NamePlaces
from cardioscan.errors import StageError
from cardioscan.imaging.geometry import transform_points
from cardioscan.locate.homography import Alignment, fit_homography
from cardioscan.locate.names import LabelKeypoints, as_probability, label_keypoints
from cardioscan.locate.outline import find_outline, straighten
from cardioscan.locate.views import average_flips, flips, letterbox, undo_orientation

__all__ = ["SURE_NAMES", "Detector", "Look", "View", "look_at", "search_page", "views"]

Detector = Callable[[Image], Mapping[str, NDArray[Any]]]
"""Runs the label detector on one view (1152, 1440, 3) uint8 and returns its outputs by name, batch axis included."""

SURE_NAMES: Final = 9
"""With so many lead names in their places, no further look is needed."""
_TURNS: Final = (2, 1, 3, 4, 6, 5, 7)
"""Orientations to try when the page does not look upright, likeliest first."""


@dataclass(frozen=True, eq=False)
class View:
    """What the label detector is shown.

    Attributes:
        pixels: (1152, 1440, 3) uint8.
        matrix: (3, 3) float64, px of the picture to px of the view.
        straightened: whether the sheet was straightened by its outline.
        flips: whether its four flips are to be averaged.
    """

    pixels: Image
    matrix: Floats
    straightened: bool = False
    flips: bool = False


@dataclass(frozen=True, eq=False)
class Look:
    """One look at the page.

    Attributes:
        keypoints: lead names found, px of the view.
        alignment: the homography that they agree on, None if there is none.
        view: what was looked at.
    """

    keypoints: LabelKeypoints
    alignment: Alignment | None
    view: View

    @property
    def score(self) -> float:
        """Number of names that agree, then how well; negative without an alignment, the more names the better."""
        if self.alignment is None:
            return -1 / (1 + len(self.keypoints))
        return float(self.alignment.inliers.sum()) + self.alignment.score

    @property
    def sure(self) -> bool:
        """Whether no further look is needed: most of the printed names agree."""
        return self.alignment is not None and int(self.alignment.inliers.sum()) >= SURE_NAMES

    def names_in_picture(self, alignment: Alignment) -> Floats:
        """The lead names that agree with an alignment of this look: (n, 3) class id, x, y in px of the picture."""
        names = alignment.inliers
        points = transform_points(np.linalg.inv(self.view.matrix), self.keypoints.points[names])
        return np.column_stack([self.keypoints.class_ids[names].astype(np.float64), points])


def search_page(image: Image, detector: Detector, names: NamePlaces) -> tuple[Look, int]:
    """Look at the picture until the page is found.

    Args:
        image: (H, W, 3) uint8 RGB.
        detector: the label detector.
        names: where the names that it knows stand.

    Returns:
        The best look and the number of looks taken.
    """
    best: Look | None = None
    count = 0
    for view in views(image):
        look = look_at(view, detector, names)
        count += 1
        if best is None or look.score > best.score:
            best = look
        if best.sure:
            break
    assert best is not None
    return best, count


def views(image: Image) -> Iterator[View]:
    """The views of a picture in the order in which they are shown; made as they are asked for."""
    clearest = View(*letterbox(image, turn=False))
    yield clearest
    outline = find_outline(image)
    if outline is not None:
        clearest = View(*straighten(image, outline), straightened=True)
        yield clearest
    # The network knows upright pages best: turn and mirror the picture until the lead names fit.
    source, before = (clearest.pixels, clearest.matrix) if outline is not None else (image, np.eye(3))
    for orientation in _TURNS:
        upright, matrix = undo_orientation(source, orientation)
        pixels, fitting = letterbox(upright, turn=False)
        yield View(pixels, np.asarray(fitting @ matrix @ before, np.float64), outline is not None)
    # Four flipped views averaged cost four answers: only when all else leaves doubt.
    yield replace(clearest, flips=True)


def look_at(view: View, detector: Detector, names: NamePlaces) -> Look:
    """Show a view and fit the homography to the names found."""
    if view.flips:
        answers = [detector(picture)["label_probability"][0] for picture in flips(view.pixels)]
        probability = average_flips(np.stack(answers))
    else:
        probability = as_probability(detector(view.pixels)["label_probability"][0])
    keypoints = label_keypoints(probability)
    try:
        found = fit_homography(keypoints, names)
    except StageError:
        found = None
    return Look(keypoints, found, view)
