"""One rendered page of every recipe, whole and in detail, on a contact sheet; your own pictures beside, if any.

python examples/contact_sheet.py                                  # writes docs/images/recipes.jpg
python examples/contact_sheet.py -o /tmp/beside.jpg --real 0005=photo.jpg --real 0004=scan.png
"""

from __future__ import annotations

from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from cardioscan.imaging.images import load_image
from cardioscan.sources import CATEGORIES
from cardioscan.synthesis.dataset import render_page
from cardioscan.synthesis.recipes import RECIPES
from cardioscan.synthesis.simulator import SimulatedSignals

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
WIDTH, HEIGHT, CAPTION = 420, 320, 26
DESCRIPTIONS = {category.code: category.description for category in CATEGORIES}


def tile(image: NDArray[np.uint8], caption: str) -> NDArray[np.uint8]:
    """The picture whole and a part of it pixel for pixel, side by side under a caption."""
    rows, columns = image.shape[:2]
    scale = min(WIDTH / columns, HEIGHT / rows)
    small = cv2.resize(image, (round(columns * scale), round(rows * scale)), interpolation=cv2.INTER_AREA)
    canvas = np.full((HEIGHT + CAPTION, 2 * WIDTH + 12, 3), 255, np.uint8)
    top, left = (HEIGHT - small.shape[0]) // 2, (WIDTH - small.shape[1]) // 2
    canvas[CAPTION + top : CAPTION + top + small.shape[0], left : left + small.shape[1]] = small
    y, x = max(0, (rows - HEIGHT) // 2), max(0, (columns - WIDTH) // 2)
    detail = image[y : y + HEIGHT, x : x + WIDTH]
    canvas[CAPTION : CAPTION + detail.shape[0], WIDTH + 4 : WIDTH + 4 + detail.shape[1]] = detail
    cv2.putText(canvas, caption, (4, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return canvas


@click.command()
@click.option("-o", "--out", type=click.Path(path_type=Path), default=IMAGES / "recipes.jpg", help="The sheet.")
@click.option("--real", multiple=True, help="CATEGORY=PICTURE: a picture to stand beside that recipe's page.")
@click.option("--seed", default=5, help="Start of all randomness.")
def main(out: Path, real: tuple[str, ...], seed: int) -> None:
    """Render one page of every recipe and write the contact sheet."""
    beside = dict(entry.split("=", 1) for entry in real)
    signals = SimulatedSignals(len(RECIPES), seed=seed)
    tiles = []
    for index, (name, recipe) in enumerate(RECIPES.items()):
        page = render_page(signals.record(index), name, np.random.default_rng([seed, index]))
        tiles.append(tile(page.image, f"{recipe.category} {name}: {DESCRIPTIONS[recipe.category]} (rendered)"))
        if recipe.category in beside:
            picture = np.asarray(load_image(beside[recipe.category]).pixels)
            tiles.append(tile(picture, f"{recipe.category}: {Path(beside[recipe.category]).name}"))
    if len(tiles) % 2:
        tiles.append(np.full_like(tiles[0], 255))
    sheet = np.vstack([np.hstack(tiles[i : i + 2]) for i in range(0, len(tiles), 2)])
    cv2.imwrite(str(out), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])


if __name__ == "__main__":
    main()
