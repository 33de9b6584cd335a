"""How a sheet came before a lens: bent paper, a desk, a camera; with the exact map from page to picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from cardioscan.imaging.geometry import transform_points
from cardioscan.page.sheet import Sheet
from cardioscan.synthesis.flat import FlatPage
from cardioscan.synthesis.photometry import FloatImage, relief_shading, smooth_noise
from cardioscan.synthesis.recipes import CaptureRecipe, degrade

_STEP: Final = 10
_MARGIN: Final = 300
MAX_STRAIN: Final = 0.25
"""Largest change of displacement per px of paper; keeps the map from page to picture one to one."""
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class BentPaper:
    """Displacement of the paper in its own plane, as the camera sees it.

    ``displacement`` (2, gh, gw) float32 holds (dx, dy) px on nodes every 10 px of the reference frame, starting 300 px
    before its origin; between nodes it is bilinear. ``relief`` (gh, gw) float32 is the slope towards the light.
    """

    displacement: NDArray[np.float32]
    relief: NDArray[np.float32]

    def at(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Displacement (..., 2) px at reference-frame points (..., 2)."""
        flat = np.asarray(points, np.float32).reshape(-1, 2)
        grid = (flat + _MARGIN) / _STEP
        # cv2.remap refuses maps wider or higher than 32,767: take the points as columns of short rows.
        width = 1024
        padded = np.zeros((-(-len(grid) // width) * width, 2), np.float32)
        padded[: len(grid)] = grid
        maps = padded.reshape(-1, width, 2)
        # OpenCV rounds bilinear weights to 1/32; the node spacing of 10 px makes that 0.3 px of place, and
        # displacements are smooth, so the error stays below 0.02 px.
        moved = [
            cv2.remap(plane, maps, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).reshape(-1)[: len(grid)]
            for plane in self.displacement
        ]
        return np.stack(moved, axis=-1).astype(np.float64).reshape(*np.shape(points))


@dataclass(frozen=True)
class CaptureGeometry:
    """The map from the page to the picture: first the paper's own displacement, then a homography."""

    homography: Matrix
    paper: BentPaper

    def to_image(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Reference-frame points (..., 2) to picture px (..., 2), float64."""
        return transform_points(self.homography, np.asarray(points, np.float64) + self.paper.at(points))

    def to_page(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Picture px (..., 2) to reference-frame points, by fixed-point iteration (below 0.05 px for our bends)."""
        flat = transform_points(np.linalg.inv(self.homography), points)
        page = flat.copy()
        for _ in range(12):
            page = flat - self.paper.at(page)
        return page

    def after(self, matrix: Matrix) -> CaptureGeometry:
        """The same page seen through a further homography of the picture."""
        return CaptureGeometry(matrix @ self.homography, self.paper)


def bend_paper(sheet: Sheet, recipe: CaptureRecipe, rng: Generator) -> BentPaper:
    """Draw curl, crumples and folds of a sheet."""
    height = (sheet.height + 2 * _MARGIN) // _STEP + 1
    width = (sheet.width + 2 * _MARGIN) // _STEP + 1
    y, x = np.mgrid[:height, :width].astype(np.float32) * _STEP - _MARGIN
    moved = np.zeros((2, height, width), np.float32)
    relief = np.zeros((height, width), np.float32)
    diagonal = float(np.hypot(sheet.width, sheet.height))

    curl = rng.uniform(*recipe.bend)
    if curl:
        angle, centre = rng.uniform(0, np.pi), rng.uniform(0.2, 0.8, 2) * (sheet.width, sheet.height)
        along = ((x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)) / (diagonal / 2)
        lift = rng.normal(0, 1, 2)
        lift *= curl / max(1e-6, float(np.hypot(*lift)))
        moved += lift[:, None, None].astype(np.float32) * (along**2)
        relief += np.float32(curl / 40) * along

    crumple = rng.uniform(*recipe.crumple)
    if crumple:
        for share in (0.7, 0.3):
            size = rng.uniform(150, 500) * (1.0 if share > 0.5 else 0.4) / _STEP
            height_field = smooth_noise((height, width), size, rng)
            # Facets: crumpled paper is flat between sharp ridges.
            height_field = np.abs(height_field) if rng.random() < 0.5 else height_field
            slope_y, slope_x = np.gradient(height_field * np.float32(size))
            moved += np.float32(crumple * share / 2) * np.stack([slope_x, slope_y])
            relief += np.float32(share * crumple / 8) * (slope_x * np.float32(rng.normal()) + slope_y) * np.float32(0.7)

    for _ in range(int(rng.integers(recipe.folds[0], recipe.folds[1] + 1))):
        straight = rng.random() < 0.7
        angle = rng.choice([0, np.pi / 2]) + rng.normal(0, 0.05) if straight else rng.uniform(0, np.pi)
        centre = rng.uniform(0.15, 0.85, 2) * (sheet.width, sheet.height)
        distance = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
        shortening = np.float32(rng.uniform(0, 0.02))
        normal = np.array([np.cos(angle), np.sin(angle)], np.float32)[:, None, None]
        moved -= normal * np.sign(distance) * np.maximum(np.abs(distance), 0) * shortening
        raised = np.exp(-np.abs(distance) / np.float32(rng.uniform(60, 400)))
        moved += rng.normal(0, 5, 2).astype(np.float32)[:, None, None] * raised
        relief += np.float32(rng.uniform(0.3, 1.0)) * np.tanh(distance / 12) * (raised + np.float32(0.3))
        relief -= np.float32(0.5) * np.exp(-((distance / 8) ** 2))
    # Paper is stiff: ridges are round, and no part of it is displaced onto another.
    moved = np.stack([cv2.GaussianBlur(plane, (0, 0), 2.0) for plane in moved])
    steepest = max(float(np.abs(slope).max()) for plane in moved for slope in np.gradient(plane)) / _STEP
    moved *= np.float32(min(1.0, MAX_STRAIN / max(steepest, 1e-6)))
    return BentPaper(moved, np.clip(relief, -1.2, 1.2))


def view_homography(sheet: Sheet, recipe: CaptureRecipe, size: tuple[int, int], rng: Generator) -> Matrix:
    """A camera's homography from the reference frame to a picture of ``size`` (width, height) px.

    The page is turned by up to ``recipe.rotation`` degrees, seen in perspective, and placed with a margin of desk that
    may be negative, when the page is cut off at the picture's edge.
    """
    width, height = size
    corners = np.array(
        [[0, 0], [sheet.width - 1, 0], [sheet.width - 1, sheet.height - 1], [0, sheet.height - 1]],
        np.float64,
    )
    centre = corners.mean(axis=0)
    tilt = rng.uniform(*recipe.perspective)
    target = corners + rng.uniform(-tilt, tilt, (4, 2)) * (sheet.width, sheet.height)
    angle = np.deg2rad(np.clip(rng.normal(0, recipe.rotation / 2), -recipe.rotation, recipe.rotation))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    target = (target - centre) @ turn.T
    low, high = target.min(axis=0), target.max(axis=0)
    margin = rng.uniform(*recipe.margin)
    scale = min(width / (high[0] - low[0]), height / (high[1] - low[1])) / (1 + 2 * margin)
    free = np.array([width, height]) - scale * (high - low)
    place = free * (0.5 + rng.uniform(-0.5, 0.5, 2) * (0.9 if margin > 0.02 else 0.5))
    target = (target - low) * scale + place
    matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), target.astype(np.float32))
    return np.asarray(matrix, np.float64)


def desk(size: tuple[int, int], rng: Generator) -> FloatImage:
    """What lies around the page: wood, cloth, a table top; (height, width, 3) float32."""
    width, height = size
    base = np.array(rng.uniform(0.08, 0.9, 3), np.float32)
    if rng.random() < 0.6:
        base = np.array(rng.uniform((0.3, 0.2, 0.1), (0.75, 0.55, 0.4)), np.float32)
    grain = smooth_noise((height, max(8, width // 12)), rng.uniform(1.5, 6), rng)
    grain = cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.5:
        grain = np.ascontiguousarray(cv2.resize(grain.T, (width, height), interpolation=cv2.INTER_AREA))
    field = np.float32(rng.uniform(0.01, 0.09)) * grain + np.float32(0.08) * smooth_noise((height, width), 200, rng)
    return np.clip(base * (1 + field[..., None] / max(0.3, float(base.mean()))), 0, 1)


def photograph(
    page: FlatPage, geometry: CaptureGeometry, size: tuple[int, int], recipe: CaptureRecipe, rng: Generator
) -> NDArray[np.uint8]:
    """Take the picture: (height, width, 3) uint8 RGB.

    The page is drawn whole at 200 dpi, low-passed to the picture's resolution, warped once, laid on a desk and
    degraded by the recipe.
    """
    width, height = size
    paper = page.printed.sheet
    corners = np.array([[0, 0], [paper.width, 0], [paper.width, paper.height], [0, paper.height]])
    area = cv2.contourArea(geometry.to_image(corners).astype(np.float32))
    scale = float(np.sqrt(max(area, 1.0) / (paper.width * paper.height)))
    sheet = page.draw()
    rim = int(rng.integers(0, 90)) if recipe.margin[1] > 0.1 else 0
    if rim:
        sheet = cv2.copyMakeBorder(sheet, rim, rim, rim, rim, cv2.BORDER_CONSTANT, value=(*page.style.paper, 0.0))
    if scale < 0.95:
        # Variance of a box of 1/scale px less that of one px, so that shrinking does not alias the grid.
        sheet = cv2.GaussianBlur(sheet, (0, 0), float(np.sqrt((1 / scale**2 - 1) / 12)) + 0.15)
    step = 4
    columns, rows = np.meshgrid(np.arange(0, width + step, step), np.arange(0, height + step, step))
    coarse = geometry.to_page(np.stack([columns, rows], axis=-1)).astype(np.float32)
    enlarge = np.array([[1 / step, 0, 0], [0, 1 / step, 0]], np.float64)
    full = cv2.warpAffine(coarse, enlarge, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    image = cv2.remap(sheet, full + rim, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if recipe.folds[1] or recipe.bend[1] or recipe.crumple[1] > 2:
        place = (full + _MARGIN) / _STEP
        relief = cv2.remap(geometry.paper.relief, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        image = relief_shading(image, relief, float(rng.uniform(0.02, 0.25)), rng)
    x, y = full[..., 0], full[..., 1]
    inside = np.minimum(np.minimum(x + rim + 0.5, paper.width + rim - 0.5 - x),
                        np.minimum(y + rim + 0.5, paper.height + rim - 0.5 - y))  # fmt: skip
    cover = np.clip(inside * scale + 0.5, 0, 1)[..., None]
    if recipe.margin[1] > 0.1:
        image = desk(size, rng) * (1 - cover) + image * cover
    else:
        image = image * cover + np.float32(rng.uniform(0.85, 1.0)) * (1 - cover)
    image = degrade(np.ascontiguousarray(image), recipe, scale, rng)
    return np.asarray(image * 255 + 0.5, np.uint8)
