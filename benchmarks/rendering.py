"""How fast training pages are rendered, on one core: pages (or strips) per second for each recipe.

python -m benchmarks.rendering -n 5
"""

from __future__ import annotations

import time
from collections.abc import Callable

import click
import cv2
import numpy as np

from benchmarks.common import report
from cardioscan.synthesis.flat import FlatPage, Region, lay_out
from cardioscan.synthesis.recipes import RECIPES, CaptureRecipe
from cardioscan.synthesis.signals import SignalSource
from cardioscan.synthesis.simulator import SimulatedSignals
from cardioscan.synthesis.strips import waveform_strip
from cardioscan.synthesis.style import random_style
from cardioscan.synthesis.views import grid_sample, label_sample


def rate(render: Callable[[int], object], count: int) -> float:
    """Calls per second of ``render(index)`` after one call to warm up."""
    render(0)
    started = time.perf_counter()
    for index in range(count):
        render(index + 1)
    return count / (time.perf_counter() - started)


def _page(signals: SignalSource, recipe: CaptureRecipe, index: int) -> tuple[FlatPage, np.random.Generator]:
    rng = np.random.default_rng([3, index])
    return lay_out(signals.record(index % len(signals)), random_style(rng, recipe.variety), rng), rng


@click.command()
@click.option("-n", "count", default=5, help="Samples per figure.")
def main(count: int) -> None:
    """Measure the rendering of each network's samples."""
    cv2.setNumThreads(1)
    signals = SimulatedSignals(64, seed=1)
    strip = Region(400, 480, 384, 1216)
    rows = []
    for name, recipe in RECIPES.items():

        def label(index: int, recipe: CaptureRecipe = recipe) -> object:
            sheet, rng = _page(signals, recipe, index)
            return label_sample(sheet, recipe, rng)

        def grid(index: int, recipe: CaptureRecipe = recipe) -> object:
            sheet, rng = _page(signals, recipe, index)
            return grid_sample(sheet, recipe, rng)

        def waveform(index: int, recipe: CaptureRecipe = recipe) -> object:
            sheet, rng = _page(signals, recipe, index)
            return waveform_strip(sheet, recipe, strip, rng)

        rows.append(
            {
                "recipe": name,
                "label pages/s": rate(label, count),
                "grid pages/s": rate(grid, count),
                "waveform strips/s": rate(waveform, count),
            }
        )
    report("rendering", "Rendering on one core", rows)


if __name__ == "__main__":
    main()
