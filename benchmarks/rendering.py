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
from cardioscan.page import STANDARD_PAGE
from cardioscan.synthesis.flat import Region, lay_out
from cardioscan.synthesis.recipes import RECIPES
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


@click.command()
@click.option("-n", "count", default=5, help="Samples per figure.")
def main(count: int) -> None:
    """Measure the rendering of each network's samples."""
    cv2.setNumThreads(1)
    signals = SimulatedSignals(64, seed=1)
    strip = Region(400, 480, 384, 1216)
    rows = []
    for name, recipe in RECIPES.items():

        def page(index: int, variety: float = recipe.variety) -> tuple[object, np.random.Generator]:
            rng = np.random.default_rng([3, index])
            return lay_out(signals.record(index % 64), random_style(rng, variety), rng, STANDARD_PAGE), rng

        def label(index: int, recipe=recipe) -> object:  # type: ignore[no-untyped-def]
            sheet, rng = page(index)
            return label_sample(sheet, recipe, rng)  # type: ignore[arg-type]

        def grid(index: int, recipe=recipe) -> object:  # type: ignore[no-untyped-def]
            sheet, rng = page(index)
            return grid_sample(sheet, recipe, rng)  # type: ignore[arg-type]

        def waveform(index: int, recipe=recipe) -> object:  # type: ignore[no-untyped-def]
            sheet, rng = page(index)
            return waveform_strip(sheet, recipe, strip, rng)  # type: ignore[arg-type]

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
