"""The source classifier: confusion matrix over rendered pages of records never trained on, and over real pages.

python -m benchmarks.sources -n 20
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from benchmarks.accuracy import renderings
from benchmarks.common import data_option, report, signals_of
from cardioscan.backends.ask import ask
from cardioscan.backends.inference import OnnxBackend
from cardioscan.imaging.images import load_image
from cardioscan.sources import CATEGORIES
from cardioscan.sources.classifier import SURE_CATEGORY, thumbnail
from cardioscan.synthesis.recipes import RECIPES

CODES = tuple(category.code for category in CATEGORIES)


def real_pages(data: Path) -> Iterator[tuple[str, Path]]:
    """Name of the set and path of the real pages whose kind is known: photographs, clean pages, b/w scans."""
    for path in sorted((data / "photos").glob("*.jpg")):
        yield "photographs", path
    for path in sorted((data / "pages").glob("*.png")):
        yield f"pages {path.stem.rsplit('-', 1)[-1]}", path


def confusion_rows(told: dict[str, list[NDArray[np.float64]]]) -> list[dict[str, object]]:
    """One row a set: pages, how often each published category was likeliest, share told, mean probability.

    Args:
        told: by name of the set, the (12,) probabilities of each page.
    """
    shown = [category.code for category in CATEGORIES if category.published]
    rows: list[dict[str, object]] = []
    for name, probabilities in told.items():
        likeliest = np.argmax(probabilities, axis=1)
        counts = {code: int((likeliest == CODES.index(code)).sum()) for code in shown}
        sure = np.max(probabilities, axis=1) >= SURE_CATEGORY
        rows.append({"set": name, "pages": len(probabilities), **counts, "told": float(sure.mean())})
    return rows


def summary(told: dict[str, list[NDArray[np.float64]]]) -> dict[str, object]:
    """Accuracy over the rendered pages, over those that were told, and the mean cross-entropy (nats)."""
    truth = np.concatenate([np.full(len(told[name]), CODES.index(RECIPES[name].category)) for name in RECIPES])
    probability = np.concatenate([np.asarray(told[name]) for name in RECIPES])
    right = np.argmax(probability, axis=1) == truth
    sure = probability.max(axis=1) >= SURE_CATEGORY
    own = probability[np.arange(len(truth)), truth]
    return {
        "pages": len(truth),
        "accuracy": float(right.mean()),
        "told": float(sure.mean()),
        "accuracy of those told": float(right[sure].mean()) if sure.any() else None,
        "cross-entropy": float(-np.log(np.maximum(own, 1e-9)).mean()),
    }


@click.command()
@data_option
@click.option("-n", "count", default=20, help="Rendered pages per recipe.")
@click.option("--models", type=click.Path(path_type=Path), help="Another model repository.")
def main(data: Path, count: int, models: Path | None) -> None:
    """Measure the source classifier and print the matrix."""
    backend = OnnxBackend(models)

    def probabilities(image: NDArray[np.uint8]) -> NDArray[np.float64]:
        answer = ask(backend, "source_classifier", thumbnail(image))
        return np.asarray(answer["source_probability"][0], np.float64)

    told: dict[str, list[NDArray[np.float64]]] = {}
    for recipe in RECIPES:
        for _, page in track(renderings(recipe, count, signals_of(data)), recipe, total=count):
            told.setdefault(recipe, []).append(probabilities(page.image))
    report("sources", "Source classifier, rendered pages", [summary(told)])
    for name, path in real_pages(data):
        told.setdefault(name, []).append(probabilities(np.asarray(load_image(path).pixels)))
    report("sources-matrix", "Likeliest category by set", confusion_rows(told))


if __name__ == "__main__":
    main()
