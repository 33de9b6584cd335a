"""Lattices as the grid rectifier sees them, what a perfect one answers, and pages before and after they are flat."""

from __future__ import annotations

import numpy as np

from cardioscan.arrays import Floats, Image, Mask
from cardioscan.backends.specs import NAME_PLACES, RECTIFIER_WINDOW
from cardioscan.flatten.first_lattice import FirstLattice
from cardioscan.flatten.flatten import Flattened, flatten_by
from cardioscan.imaging.geometry import transform_points
from cardioscan.locate.locate import Located

SHEET = RECTIFIER_WINDOW.sheet
LATTICE = SHEET.lattice()
NOMINAL = RECTIFIER_WINDOW.from_reference(LATTICE)
PITCH = RECTIFIER_WINDOW.pitch
ROW, COLUMN = np.mgrid[0:44, 0:57]
ALL = np.ones((44, 57), bool)


def warp(points, amplitude=1.2, seed=0):
    """A smooth map of the aligned frame: rest of a perspective, and bends of up to ``amplitude`` squares."""
    rng = np.random.default_rng(seed)
    h = np.eye(3) + np.array([[4e-3, 6e-3, -6], [-5e-3, -4e-3, 5], [6e-6, -8e-6, 0]])
    x, y = points[..., 0], points[..., 1]
    a, b, c, d = rng.uniform(0, 2 * np.pi, 4)
    bend = np.stack(
        [np.sin(x / 260 + a) * np.cos(y / 300 + b), np.sin(x / 290 + y / 700 + c) * np.cos(y / 420 + d)], axis=-1
    )
    return transform_points(h, points) + 0.8 * amplitude * PITCH * bend


def text_and_trace_gaps():
    keep = np.ones((44, 57), bool)
    keep[0:4, 0:7] = keep[0:2, 14:20] = keep[0:2, 29:42] = False
    keep[17:19, 4:52:3] = keep[24:27, 10:50:4] = False
    keep[30:36, 20:27] = keep[5:11, 44:52] = False
    keep[38:41, 0:3] = False
    return keep


def network_maps(nodes, keep, as_bytes):
    """What a perfect grid rectifier answers for a page with these nodes."""
    probability = np.zeros((288, 360))
    offset = np.full((2, 288, 360), 9.0, np.float32)
    y, x = np.mgrid[:288, :360] * 4 + 1.5
    for cx, cy in nodes[keep]:
        if not (8 < cx < 1430 and 8 < cy < 1140):
            continue
        r, c = round((cy - 1.5) / 4), round((cx - 1.5) / 4)
        window = np.s_[r - 2 : r + 3, c - 2 : c + 3]
        apart = np.hypot(x[window] - cx, y[window] - cy)
        probability[window] = np.maximum(probability[window], np.clip(1.6 - apart / 5, 0, 1))
        offset[0][window], offset[1][window] = cx - x[window], cy - y[window]
    # Nodes are a smooth map of line numbers; the inverse at cells by a straight local rule is near enough.
    nearest = np.stack([(x - NOMINAL[0, 0, 0]) / PITCH, (y - NOMINAL[0, 0, 1]) / PITCH])
    if as_bytes:
        probability = np.rint(probability * 255).astype(np.uint8)
    return probability, offset, nearest.astype(np.float32)


class Rectifier:
    """A grid rectifier that sees the same nodes of every page, and no lead names; it keeps what it was shown."""

    def __init__(self, nodes: Floats = NOMINAL, keep: Mask = ALL) -> None:
        probability, offset, lines = network_maps(nodes, keep, True)
        names = np.zeros((14, *probability.shape), np.uint8)
        names[0] = 255
        self.maps = {
            "point_probability": probability[None],
            "point_offset": offset[None],
            "lattice_coordinate": lines[None],
            "label_probability": names[None],
        }

    def infer(self, model: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert model == "grid_rectifier"
        self.shown = inputs["page"][0].transpose(1, 2, 0)
        return self.maps

    def model_versions(self) -> dict[str, tuple[str, str]]:
        return {}


def left_part(share: float) -> Mask:
    """Which nodes a rectifier sees of a page whose right part is hidden: (44, 57) bool."""
    return COLUMN < share * 57


def located(image: Image, scale: float = 1.0, names: int = 13, by_hand: bool = False) -> Located:
    """A picture whose first pixel is the page's, and so many of its lead names."""
    homography = np.diag([scale, scale, 1.0])
    classes = np.array([label.class_id for label in NAME_PLACES.classes], np.float64)
    found = np.column_stack([classes, transform_points(homography, NAME_PLACES.points())])[:names]
    return Located(image, homography, found, by_hand, {"labels_found": names})


def flattened(image: Image) -> Flattened:
    """A flat page that is the picture itself."""
    return flatten_by(located(image), SHEET, FirstLattice(LATTICE, 1.0, 1.0, {}), 0)


def ruled(colour: tuple[int, int, int], beside_px: int = 0, paper: int = 250) -> Image:
    """A flat page with its 5 mm lines, one px wide; vertical ones so far beside their places."""
    page = np.full((SHEET.height, SHEET.width, 3), paper, np.uint8)
    lines = np.round(LATTICE).astype(int)[1:-1, 1:-1]  # the outermost leave the page
    page[:, lines[0, :, 0] + beside_px] = colour
    page[lines[:, 0, 1]] = colour
    return page
