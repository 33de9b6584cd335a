from __future__ import annotations

import cv2
import numpy as np
import pytest

from cardioscan.imaging.geometry import dominant_orientation, jacobians, transform_points
from cardioscan.locate.outline import find_outline, straighten
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.synthesis.capture import desk
from cardioscan.synthesis.dataset import RenderedPage, render_page
from cardioscan.synthesis.simulator import SimulatedSignals

SIGNALS = SimulatedSignals(8, seed=5)
PAGE = REFERENCE_PAGE.sheet.corners()


def photograph(seed: int, orientation: int = 0) -> RenderedPage:
    size = (1600, 1200) if orientation % 2 == 0 else (1200, 1600)
    rng = np.random.default_rng(seed)
    return render_page(SIGNALS.record(seed % 8), "phone_photo", rng, size=size, orientation=orientation)


def angle_deg(corners: np.ndarray) -> float:
    """Angle of the longer sides with the picture's x axis, -90 to 90 degrees, positive clockwise."""
    across = corners[1] - corners[0] + corners[2] - corners[3]
    return float((np.rad2deg(np.arctan2(across[1], across[0])) + 90) % 180 - 90)


@pytest.mark.parametrize("seed", range(6))
def test_the_outline_is_that_of_the_sheet(seed: int) -> None:
    rendered = photograph(seed)
    outline = find_outline(rendered.image)
    assert outline is not None
    # Of the sheet only what lies inside the picture can be outlined.
    height, width = rendered.image.shape[:2]
    inside = np.zeros((height, width), np.uint8)
    cv2.fillPoly(inside, [rendered.geometry.to_image(PAGE).round().astype(np.int32)], 1)
    found = np.zeros_like(inside)
    cv2.fillPoly(found, [outline.round().astype(np.int32)], 1)
    overlap = (inside & found).sum() / (inside | found).sum()
    assert overlap > 0.7, overlap  # the window widens the outline; a sheet cut off by the picture has more corners


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("orientation", [0, 2])
def test_a_straightened_sheet_lies_level(seed: int, orientation: int) -> None:
    rendered = photograph(seed, orientation)
    outline = find_outline(rendered.image)
    assert outline is not None
    view, matrix = straighten(rendered.image, outline)
    assert view.shape == (1152, 1440, 3) and view.dtype == np.uint8
    # Where the page's own axes go in the view: along the view's, but for a half turn, to within 5 degrees.
    ends = np.array([[300.0, 850.0], [1900.0, 850.0]])
    left, right = transform_points(matrix, rendered.geometry.to_image(ends))
    slope = np.rad2deg(np.arctan2(*(right - left)[::-1]))
    assert abs((slope + 90) % 180 - 90) < 5
    whole = matrix @ rendered.geometry.homography
    assert dominant_orientation(jacobians(whole, np.array([[1100.0, 850.0]]))[0][0]) == orientation


def test_the_matrix_says_where_the_pixels_went() -> None:
    image = np.full((900, 1300, 3), 255, np.uint8)
    image[100:800:20, 150:1150] = image[100:800, 150:1150:20] = (220, 90, 90)
    outline = find_outline(image)
    assert outline is not None and abs(angle_deg(outline)) < 1
    cv2.circle(image, (700, 400), 9, (0, 0, 255), -1)
    view, matrix = straighten(image, outline)
    blue = (view[..., 2] > 150) & (view[..., 0] < 100)
    centre = np.argwhere(blue).mean(axis=0)[::-1]
    assert np.abs(centre - transform_points(matrix, np.array([[700.0, 400.0]]))[0]).max() < 0.6


@pytest.mark.parametrize("angle", [-40, -12, 0, 7, 30])
def test_the_angle_is_that_of_the_longer_sides(angle: float) -> None:
    sheet = np.full((1000, 1400, 3), 90, np.uint8)
    sheet[250:750, 300:1100] = 250
    sheet[250:750:16, 300:1100] = sheet[250:750, 300:1100:16] = (200, 120, 120)
    turn = cv2.getRotationMatrix2D((700, 500), -angle, 1.0)
    outline = find_outline(np.asarray(cv2.warpAffine(sheet, turn, (1400, 1000), borderValue=(90, 90, 90))))
    assert outline is not None
    assert angle_deg(outline) == pytest.approx(angle, abs=2)
    lengths = np.linalg.norm(np.roll(outline, -1, axis=0) - outline, axis=1)
    assert lengths[[0, 2]].min() > 1.2 * lengths[[1, 3]].max()


@pytest.mark.parametrize("kind", ["grey", "noise", "desk", "tiny"])
def test_nothing_ruled_has_no_outline(kind: str) -> None:
    rng = np.random.default_rng(3)
    image = {
        "grey": np.full((800, 1200, 3), 128, np.uint8),
        "noise": rng.integers(0, 256, (800, 1200, 3), np.uint8),
        "desk": (desk((1200, 800), rng) * 255).astype(np.uint8),
        "tiny": np.zeros((3, 2, 3), np.uint8),
    }[kind]
    assert find_outline(image) is None
