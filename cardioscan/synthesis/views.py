"""Training samples of label detector, grid rectifier and source classifier: whole pages seen by a camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from cardioscan.backends.specs import NAME_PLACES, RECTIFIER_WINDOW, NamePlaces
from cardioscan.imaging.geometry import orientation_matrix
from cardioscan.locate.views import letterbox
from cardioscan.page.sheet import Sheet
from cardioscan.synthesis.capture import CaptureGeometry, bend_paper, photograph, view_homography
from cardioscan.synthesis.flat import FlatPage
from cardioscan.synthesis.recipes import CaptureRecipe

STRIDE: Final = 4
LABEL_RADIUS_PX: Final = 17.0
"""Radius of a label's disc in the label map, px of the reference frame (10 px in the aligned frame)."""


@dataclass(frozen=True)
class LabelSample:
    """A page as stage 0 sees it.

    ``image`` (h, w, 3) uint8; ``labels`` (h/4, w/4) uint8 class ids; ``keypoints`` (n, 3) float64: class id, x, y px
    of the labels inside the picture; ``orientation`` 0..7.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    keypoints: NDArray[np.float64]
    orientation: int


@dataclass(frozen=True)
class GridSample:
    """A page as stage 1 sees it, in the aligned frame but for the error of its alignment.

    ``image`` (1152, 1440, 3) uint8; maps at stride 4: ``points`` uint8, 1 where a node lies in the cell;
    ``offsets`` (2, h, w) float32 px to the nearest node, valid where ``near`` is 1; ``lattice`` (2, h, w) float32 true
    (i, j) of each cell's centre; ``labels`` uint8; ``on_page`` uint8; ``nodes`` (44, 57, 2) float64 true px.
    """

    image: NDArray[np.uint8]
    points: NDArray[np.uint8]
    near: NDArray[np.uint8]
    offsets: NDArray[np.float32]
    lattice: NDArray[np.float32]
    labels: NDArray[np.uint8]
    on_page: NDArray[np.uint8]
    nodes: NDArray[np.float64]


def label_map(
    names: NamePlaces, geometry: CaptureGeometry, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Discs at the label nodes at stride 4, and the keypoints inside the picture as (class id, x, y)."""
    width, height = size
    points = names.points()
    seen = geometry.to_image(points)
    beside = geometry.to_image(points + (0.0, LABEL_RADIUS_PX))
    labels = np.zeros((height // STRIDE, width // STRIDE), np.uint8)
    keypoints = []
    for label, (x, y), (bx, by) in zip(names.classes, seen, beside, strict=True):
        if not (0 <= x < width and 0 <= y < height):
            continue
        radius = max(6.0, float(np.hypot(bx - x, by - y)))
        centre = ((x - 1.5) / STRIDE, (y - 1.5) / STRIDE)
        shifted = tuple(int(round(v * 16)) for v in centre)
        cv2.circle(labels, shifted, int(round(radius / STRIDE * 16)), label.class_id, -1, cv2.LINE_8, 4)
        keypoints.append((label.class_id, x, y))
    return labels, np.array(keypoints, np.float64).reshape(-1, 3)


def label_sample(
    page: FlatPage,
    recipe: CaptureRecipe,
    rng: Generator,
    size: tuple[int, int] = (1440, 1152),
    upright_share: float = 0.5,
) -> LabelSample:
    """Photograph a page in one of the 8 orientations and letterbox it to ``size`` (width, height) px."""
    width, height = size
    orientation = 0 if rng.random() < upright_share else int(rng.integers(8))
    aspect = rng.uniform(width / height, 1.8)
    photo = (width, int(min(height, width / aspect)))
    upright = (photo[1], photo[0]) if orientation % 2 else photo
    geometry = CaptureGeometry(
        view_homography(page.printed.sheet, recipe, upright, rng), bend_paper(page.printed.sheet, recipe, rng)
    ).after(orientation_matrix(orientation, *upright))
    image, matrix = letterbox(photograph(page, geometry, photo, recipe, rng), width, height)
    labels, keypoints = label_map(NAME_PLACES, geometry.after(matrix), size)
    return LabelSample(image, labels, keypoints, orientation)


def misaligned_geometry(sheet: Sheet, recipe: CaptureRecipe, rng: Generator, error_px: float = 9.0) -> CaptureGeometry:
    """Bent paper as stage 0 hands it over: its best homography by the label nodes undone, but for an error.

    ``error_px`` is the deviation of each corner, in px of the reference frame; a tenth of all pages has three times
    as much, more than half a square, so that stage 1 learns to look farther.
    """
    paper = bend_paper(sheet, recipe, rng)
    points = NAME_PLACES.points()
    undo, _ = cv2.findHomography(points + paper.at(points), points, 0)
    corners = np.array([[0, 0], [sheet.width, 0], [sheet.width, sheet.height], [0, sheet.height]])
    spread = error_px * (3.0 if rng.random() < 0.1 else 1.0)
    moved = corners + rng.normal(0, spread, (4, 2)) + rng.normal(0, spread / 2, 2)
    perturb = cv2.getPerspectiveTransform(corners.astype(np.float32), moved.astype(np.float32))
    return CaptureGeometry(RECTIFIER_WINDOW.matrix @ perturb @ undo, paper)


def grid_sample(page: FlatPage, recipe: CaptureRecipe, rng: Generator) -> GridSample:
    """A page in the aligned frame with its true lattice."""
    window = RECTIFIER_WINDOW
    geometry = misaligned_geometry(page.printed.sheet, recipe, rng)
    image = photograph(page, geometry, (window.width, window.height), recipe, rng)
    return GridSample(image, *lattice_truth(page.printed.sheet, geometry))


def lattice_truth(sheet: Sheet, geometry: CaptureGeometry) -> tuple[Any, ...]:
    """The maps of ``GridSample`` behind ``image``, in its order, for a geometry into the aligned frame."""
    window = RECTIFIER_WINDOW
    height, width = window.height // STRIDE, window.width // STRIDE
    nodes = geometry.to_image(sheet.lattice())
    points = np.zeros((height, width), np.uint8)
    near = np.zeros((height, width), np.uint8)
    offsets = np.zeros((2, height, width), np.float32)
    flat = nodes.reshape(-1, 2)
    cells = np.floor((flat + 0.5) / STRIDE).astype(int)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            column, row = cells[:, 0] + dx, cells[:, 1] + dy
            inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
            column, row, node = column[inside], row[inside], flat[inside]
            near[row, column] = 1
            offsets[0, row, column] = node[:, 0] - (STRIDE * column + (STRIDE - 1) / 2)
            offsets[1, row, column] = node[:, 1] - (STRIDE * row + (STRIDE - 1) / 2)
            if dx == dy == 0:
                points[row, column] = 1
    y, x = np.mgrid[:height, :width] * STRIDE + (STRIDE - 1) / 2
    page_xy = geometry.to_page(np.stack([x, y], axis=-1))
    lattice = ((page_xy - (sheet.x0, sheet.y0)) / sheet.pitch).astype(np.float32)
    last = (sheet.n_vertical_lines - 0.5, sheet.n_horizontal_lines - 0.5)
    on_page = ((lattice > -0.5) & (lattice < last)).all(axis=-1).astype(np.uint8)
    labels, _ = label_map(NAME_PLACES, geometry, (window.width, window.height))
    return points, near, offsets, lattice.transpose(2, 0, 1), labels, on_page, nodes


def source_thumbnail(image: NDArray[np.uint8], size: int = 456) -> NDArray[np.uint8]:
    """The source classifier's input: the whole picture shrunk to (size, size, 3), its aspect given up."""
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
