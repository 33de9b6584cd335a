"""Renders ``examples/page-photo.jpg``: a page of a simulated ECG as a phone would photograph it.

    python examples/make_page.py

The signals come from the built-in simulator and the seed is fixed, so the picture can be made again at any time.
``page-photo.npz`` beside it holds what is true about it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from cardioscan.synthesis.dataset import render_page, write_page
from cardioscan.synthesis.recipes import RECIPES
from cardioscan.synthesis.simulator import SimulatedSignals

SEED = 33
SIZE = (2600, 1950)


def main() -> None:
    """Render the page and its truth into this folder."""
    rng = np.random.default_rng(SEED)
    gentle = replace(
        RECIPES["phone_photo"],
        variety=0.4,
        rotation=8.0,
        perspective=(0.02, 0.04),
        margin=(0.02, 0.05),
        bend=(5, 12),
        crumple=(1, 3),
        folds=(1, 2),
        light=(0.3, 0.5),
        shadow_count=(1, 1),
        blur=(0.3, 0.6),
        motion=(0.0, 0.5),
        noise=(0.01, 0.02),
        tone=0.4,
    )
    signal = SimulatedSignals(64, seed=SEED).record(SEED)
    rendered = render_page(signal, "phone_photo", rng, size=SIZE, recipe=gentle)
    print(write_page(rendered, Path(__file__).resolve().parent, "page-photo"))


if __name__ == "__main__":
    main()
