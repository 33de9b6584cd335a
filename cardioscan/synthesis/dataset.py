"""Folders of rendered pages with exact truth: for measuring, for examples, for training elsewhere."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from cardioscan.errors import CardioscanError
from cardioscan.imaging.geometry import orientation_matrix
from cardioscan.page.leads import LEADS, SAMPLING_RATE_HZ
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.synthesis.capture import CaptureGeometry, bend_paper, photograph, view_homography
from cardioscan.synthesis.flat import FlatPage, lay_out
from cardioscan.synthesis.recipes import RECIPES, CaptureRecipe
from cardioscan.synthesis.signals import SignalSource, open_signals
from cardioscan.synthesis.style import CLEAN_STYLE, random_style

PHOTO_WIDTHS = (2000, 3200)


@dataclass(frozen=True)
class RenderedPage:
    """A rendered picture and everything that is true about it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        page: the flat page, from which coverage and signals follow.
        geometry: the exact map from the reference frame to picture px.
        orientation: 0..7.
        recipe: name of the capture recipe.
    """

    image: NDArray[np.uint8]
    page: FlatPage
    geometry: CaptureGeometry
    orientation: int
    recipe: str


def render_page(
    signal: NDArray[np.float32],
    recipe_name: str,
    rng: Generator,
    size: tuple[int, int] | None = None,
    orientation: int = 0,
    recipe: CaptureRecipe | None = None,
    megapixels: float | None = None,
) -> RenderedPage:
    """Render one page of a record as a recipe's capture.

    Args:
        signal: (12, 5000) mV at 500 Hz.
        recipe_name: a name in ``RECIPES``. ``clean`` with no ``size`` is the flat page itself, pixel for pixel.
        rng: source of all draws.
        size: (width, height) px of the picture; None draws a usual one, 2.2 to 8 million px.
        orientation: 0..7, as in ``cardioscan.imaging.geometry.orientation_matrix``.
        recipe: a changed version of that recipe.
        megapixels: with no ``size``, the area of the picture, 10^6 px: phones take 12 to 50. Flat clean pages keep
            their size.

    Raises:
        CardioscanError: unknown recipe.
    """
    if recipe_name not in RECIPES:
        raise CardioscanError(f"unknown recipe '{recipe_name}'; known are {', '.join(RECIPES)}")
    recipe = recipe or RECIPES[recipe_name]
    style = CLEAN_STYLE if recipe_name == "clean" else random_style(rng, recipe.variety)
    page = lay_out(signal, style, rng, REFERENCE_PAGE)
    if recipe_name == "clean" and size is None:
        return _flat_capture(page, recipe, orientation, rng)
    if size is None:
        width = int(rng.integers(*PHOTO_WIDTHS))
        aspect = rng.uniform(1.25, 1.8 if recipe.margin[1] > 0.1 else 1.32)
        if megapixels is not None:
            width = round(math.sqrt(megapixels * 1e6 * aspect))
        size = (width, int(width / aspect))
    upright = (size[1], size[0]) if orientation % 2 else size
    geometry = CaptureGeometry(
        view_homography(page.printed.sheet, recipe, upright, rng), bend_paper(page.printed.sheet, recipe, rng)
    ).after(orientation_matrix(orientation, *upright))
    return RenderedPage(photograph(page, geometry, size, recipe, rng), page, geometry, orientation, recipe_name)


def _flat_capture(page: FlatPage, recipe: CaptureRecipe, orientation: int, rng: Generator) -> RenderedPage:
    sheet = page.printed.sheet
    matrix = orientation_matrix(orientation, sheet.width, sheet.height)
    geometry = CaptureGeometry(matrix, bend_paper(sheet, recipe, rng))
    image = (page.draw() * 255 + 0.5).astype(np.uint8)
    size = (sheet.height, sheet.width) if orientation % 2 else (sheet.width, sheet.height)
    if orientation:
        image = np.asarray(cv2.warpPerspective(image, matrix, size, flags=cv2.INTER_NEAREST), np.uint8)
    return RenderedPage(image, page, geometry, orientation, "clean")


def write_page(rendered: RenderedPage, folder: Path, stem: str) -> Path:
    """Write a picture and its truth, ``stem.npz`` and ``stem.truth.json``; returns the picture's path.

    The archive holds ``signals`` (12, 5000) mV with NaN where not printed, ``leads``, ``sampling_rate``, ``nodes``
    (44, 57, 2) and ``labels`` (13, 2) in picture px. Flat pages are PNG, captures JPEG.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (stem + (".png" if rendered.recipe == "clean" else ".jpg"))
    cv2.imwrite(str(path), cv2.cvtColor(rendered.image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])
    printed = rendered.page.printed
    np.savez_compressed(
        folder / f"{stem}.npz",
        signals=rendered.page.printed_signals().astype(np.float32),
        leads=np.array(LEADS),
        sampling_rate=SAMPLING_RATE_HZ,
        nodes=rendered.geometry.to_image(printed.sheet.lattice()),
        labels=rendered.geometry.to_image(
            np.array([(name.x, name.y) for name in printed.names], np.float64).reshape(-1, 2)
        ),
    )
    notes = {
        "recipe": rendered.recipe,
        "category": RECIPES[rendered.recipe].category,
        "orientation": rendered.orientation,
        "style": asdict(rendered.page.style),
    }
    (folder / f"{stem}.truth.json").write_text(json.dumps(notes, indent=2) + "\n", encoding="utf-8")
    return path


def synthesize(
    out: Path,
    n: int,
    recipe: str = "all",
    signals: str | None = None,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
    records: NDArray[np.integer] | None = None,
    megapixels: float | None = None,
) -> list[Path]:
    """Render ``n`` pages into a folder.

    Args:
        out: the folder, made if missing.
        n: number of pages.
        recipe: a recipe's name, or ``all`` to take them in turn.
        signals: as for ``open_signals``: an ``.npz`` archive, a folder of WFDB records, or None for the simulator.
        seed: start of all randomness; page ``k`` depends on the seed and on ``k`` alone.
        progress: called with the number of pages done after each.
        records: indices of the records to draw from; None takes all.
        megapixels: as for ``render_page``.

    Returns:
        Paths of the pictures. Raises ``CardioscanError`` for an unknown recipe, ``SignalSourceError`` for signals.
    """
    names = list(RECIPES) if recipe == "all" else [recipe]
    source: SignalSource = open_signals(signals, max(n, 2), seed)
    pool = np.arange(len(source)) if records is None else np.asarray(records)
    paths = []
    for index in range(n):
        rng = np.random.default_rng([seed, index])
        name = names[index % len(names)]
        rendered = render_page(source.record(int(pool[rng.integers(len(pool))])), name, rng, megapixels=megapixels)
        paths.append(write_page(rendered, out, f"page-{index:04d}-{RECIPES.get(name, RECIPES['clean']).category}"))
        progress(index + 1)
    return paths
