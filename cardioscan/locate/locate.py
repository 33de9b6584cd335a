"""The stage that says where the page lies in a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cardioscan.arrays import Floats, Image
from cardioscan.backends.ask import ask
from cardioscan.backends.inference import InferenceBackend
from cardioscan.backends.specs import NamePlaces
from cardioscan.imaging.geometry import dominant_orientation, jacobians
from cardioscan.locate.corners import place_by_corners
from cardioscan.locate.homography import fit_homography
from cardioscan.locate.search import SURE_NAMES, search_page

__all__ = ["Located", "locate"]


@dataclass(frozen=True, eq=False)
class Located:
    """A picture and where the page lies in it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        homography: (3, 3) float64, reference frame to px of the picture.
        names: (n, 3) float64: class id, x, y in px of the picture of the lead names that agree with it.
        by_hand: whether a person has set the corners of the sheet.
        diagnostics: what was found.
    """

    image: Image
    homography: Floats
    names: Floats
    by_hand: bool
    diagnostics: Mapping[str, Any]

    @property
    def confidence(self) -> float:
        """0 to 1. A page in the wrong place gives clean traces of wrong signals: its doubt is doubt about them all."""
        return 1.0 if self.by_hand else min(1.0, len(self.names) / SURE_NAMES)


def locate(image: Image, backend: InferenceBackend, places: NamePlaces, corners: Floats | None = None) -> Located:
    """Find the page in a picture.

    Args:
        image: (H, W, 3) uint8 RGB.
        backend: runs the label detector.
        places: where each lead name that it knows stands.
        corners: (4, 2) px of the picture, set by a person: upper left, upper right, lower right, lower left of the
            sheet as it is read. None looks for the page.

    Raises:
        StageError: ``NO_LABELS_FOUND`` or ``ALIGNMENT_FAILED``.
        PlacementError: the corners span no page.
    """
    detector = partial(_detect, backend)
    if corners is not None:
        homography, names = place_by_corners(image, corners, detector, places)
        return Located(image, homography, names, True, {"labels_found": len(names)})
    best, looks = search_page(image, detector, places)
    # Without an alignment this says what is wrong: no names at all, or names that do not fit together.
    found = best.alignment or fit_homography(best.keypoints, places)
    names = best.names_in_picture(found)
    homography = found.to_image(best.view.matrix)
    sheet = places.sheet
    middle = jacobians(homography, np.array([[sheet.width / 2, sheet.height / 2]]))[0]
    diagnostics = {
        "looks": looks,
        "straightened": best.view.straightened,
        "labels_found": len(names),
        "orientation": int(dominant_orientation(middle[0])),
        "alignment_score": round(found.score, 4),
        "alignment_rms_px": round(found.rms_px, 3),
    }
    return Located(image, homography, names, False, diagnostics)


def _detect(backend: InferenceBackend, view: Image) -> dict[str, NDArray[Any]]:
    return ask(backend, "label_detector", view)
