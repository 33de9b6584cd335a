"""The source categories as recipes: how a page of each kind was captured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.random import Generator

from cardioscan.synthesis import photometry as p
from cardioscan.synthesis.photometry import FloatImage

Range = tuple[float, float]


@dataclass(frozen=True)
class CaptureRecipe:
    """How strongly each defect acts, as ranges drawn per page. Lengths in px of the reference frame.

    ``category`` is the suffix of the PhysioNet data that the recipe stands for. ``perspective`` is the displacement
    of a corner as a share of the page, ``rotation`` in degrees, ``bend``, ``crumple`` and ``fold`` the largest
    displacement of the paper, ``density`` sensor px per reference px, ``margin`` the desk around the page as a share.
    """

    category: str
    variety: float = 1.0
    perspective: Range = (0.0, 0.0)
    rotation: float = 0.0
    margin: Range = (0.0, 0.0)
    bend: Range = (0.0, 0.0)
    crumple: Range = (0.0, 0.0)
    folds: tuple[int, int] = (0, 0)
    density: Range = (1.0, 1.0)
    light: Range = (0.0, 0.0)
    shadow_count: tuple[int, int] = (0, 0)
    blur: Range = (0.0, 0.0)
    motion: Range = (0.0, 0.0)
    noise: Range = (0.0, 0.0)
    tone: float = 0.0
    grey: bool = False
    moire: Range = (0.0, 0.0)
    stains: tuple[int, int] = (0, 0)
    mould: Range = (0.0, 0.0)
    damage: tuple[int, int] = (0, 0)
    jpeg: tuple[int, int] | None = None


_PHONE = CaptureRecipe(
    "0005",
    perspective=(0.0, 0.10),
    rotation=25.0,
    margin=(-0.03, 0.20),
    bend=(0, 25),
    crumple=(0, 9),
    folds=(0, 4),
    density=(0.75, 1.6),
    light=(0.2, 1.2),
    shadow_count=(0, 3),
    blur=(0.2, 1.3),
    motion=(0.0, 2.5),
    noise=(0.005, 0.05),
    tone=1.0,
    jpeg=(60, 96),
)
_SCAN = CaptureRecipe(
    "0003",
    rotation=2.5,
    margin=(-0.01, 0.03),
    crumple=(0, 0.8),
    density=(0.7, 1.5),
    blur=(0.2, 0.8),
    noise=(0.0, 0.03),
    light=(0.0, 0.2),
    tone=0.6,
    jpeg=(60, 98),
)


RECIPES: Mapping[str, CaptureRecipe] = MappingProxyType(
    {
        "clean": CaptureRecipe("0001", variety=0.3),
        "color_scan": _SCAN,
        "bw_scan": replace(_SCAN, category="0004", grey=True),
        "phone_photo": _PHONE,
        "screen_photo": replace(
            _PHONE, category="0006", crumple=(0, 0), folds=(0, 0), bend=(0, 2), moire=(0.3, 1.2), shadow_count=(0, 1)
        ),
        "stained_photo": replace(_PHONE, category="0009", stains=(1, 4)),
        "damaged_photo": replace(_PHONE, category="0010", damage=(2, 12), crumple=(3, 14), folds=(1, 5)),
        "mouldy_color_scan": replace(_SCAN, category="0011", mould=(0.2, 1.0), stains=(0, 3)),
        "mouldy_bw_scan": replace(_SCAN, category="0012", grey=True, mould=(0.2, 1.0), stains=(0, 2)),
    }
)
"""Recipes by name. Categories 0002, 0007 and 0008 have never been published and have none."""


def degrade(image: FloatImage, recipe: CaptureRecipe, scale: float, rng: Generator) -> FloatImage:
    """Apply the recipe's photometric defects, in the order in which the world applies them.

    Args:
        image: (h, w, 3) float32 RGB in 0..1, already in the geometry of the capture; changed in place where possible.
        recipe: what to do.
        scale: image px per px of the reference frame.
        rng: source of all draws.

    Returns:
        (h, w, 3) float32 RGB, clipped to 0..1.
    """

    def draw(bounds: Range) -> float:
        return float(rng.uniform(*bounds))

    def count(bounds: tuple[int, int]) -> int:
        return int(rng.integers(bounds[0], bounds[1] + 1))

    image = p.stains(image, count(recipe.stains), scale, rng)
    if recipe.mould[1]:
        image = p.mould(image, draw(recipe.mould), scale, rng)
    image = p.damage(image, count(recipe.damage), scale, rng)
    if recipe.light[1]:
        image = p.uneven_light(image, draw(recipe.light), rng)
    image = p.shadows(image, count(recipe.shadow_count), rng)
    if recipe.moire[1]:
        image = p.moire(image, draw(recipe.moire), rng)
    image = p.blur(image, draw(recipe.blur) * scale, rng, draw(recipe.motion) * scale)
    image = p.resample(image, draw(recipe.density) / scale)
    if recipe.grey:
        image = p.greyscale_scan(image, rng)
    if recipe.tone:
        image = p.tone(image, rng, recipe.tone)
    if recipe.grey:
        image = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)  # such a scanner has no colour to give
    if recipe.noise[1]:
        image = p.sensor_noise(image, draw(recipe.noise), rng, draw((0.0, 1.0)))
    if recipe.jpeg:
        image = p.jpeg(image, count(recipe.jpeg))
    return np.clip(image, 0, 1, out=image)
