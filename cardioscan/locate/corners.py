"""Where the page lies when a person has set the corners of its sheet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cardioscan.arrays import Floats, Image
from cardioscan.backends.specs import NamePlaces
from cardioscan.errors import PlacementError
from cardioscan.imaging.geometry import homography_dlt, transform_points
from cardioscan.locate.outline import straighten
from cardioscan.locate.search import Detector, View, look_at

__all__ = ["checked_corners", "place_by_corners"]

_MAX_CONTRADICTION: Final = 0.05
"""Lead names that move a corner by more than this share of the sheet's width contradict the person, who then counts."""
_MIN_SIDE_PX: Final = 100.0


def checked_corners(corners: Sequence[Sequence[float]] | NDArray[Any]) -> Floats:
    """The corners as (4, 2) float64.

    Raises:
        PlacementError: they are not four points of a convex quadrilateral with sides of 100 px or more.
    """
    try:
        quad = np.asarray(corners, np.float64)
    except (TypeError, ValueError):
        quad = np.empty(0)
    if quad.shape != (4, 2) or not np.isfinite(quad).all() or np.abs(quad).max() > 1e6:
        raise PlacementError("a page is placed by four corners (x, y) in px of its picture")
    sides = np.linalg.norm(np.roll(quad, -1, axis=0) - quad, axis=1)
    if sides.min() < _MIN_SIDE_PX or not cv2.isContourConvex(quad.astype(np.float32)[:, None]):
        raise PlacementError(
            "the four corners do not span a page: set them in the order upper left, upper right, lower right, lower "
            f"left as the page is read, at least {_MIN_SIDE_PX:.0f} px apart"
        )
    return quad


def place_by_corners(image: Image, corners: Floats, detector: Detector, names: NamePlaces) -> tuple[Floats, Floats]:
    """Place the page by the corners of its sheet.

    A hand is exact to a few millimetres only. So the label detector is shown the sheet as the corners straighten it,
    and the lead names that it finds place the page exactly, unless they say that it lies somewhere else.

    Args:
        image: (H, W, 3) uint8 RGB.
        corners: (4, 2) px of ``image``: upper left, upper right, lower right, lower left as the page is read.
        detector: the label detector.
        names: where the names that it knows stand, and on which sheet.

    Returns:
        The homography (3, 3) float64, reference frame to image px; and (n, 3) float64 class id, x, y in image px of the
        lead names that it was fitted to, none where they were not seen or contradict the corners.

    Raises:
        PlacementError: the corners span no page.
    """
    quad, sheet = checked_corners(corners), names.sheet.corners()
    by_hand = homography_dlt(sheet, quad)
    look = look_at(View(*straighten(image, quad), straightened=True), detector, names)
    nothing = np.empty((0, 3))
    if look.alignment is None:
        return by_hand, nothing
    by_names = look.alignment.to_image(look.view.matrix)
    displacement = transform_points(np.linalg.inv(by_hand), transform_points(by_names, sheet)) - sheet
    if np.linalg.norm(displacement, axis=1).max() > _MAX_CONTRADICTION * names.sheet.width:
        return by_hand, nothing
    return by_names, look.names_in_picture(look.alignment)
