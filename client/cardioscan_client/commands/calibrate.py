"""``cardioscan calibrate``: the limits that eight-bit arithmetic needs."""

from __future__ import annotations

from pathlib import Path

import click

from cardioscan_client.commands._shared import require


@click.command()
@click.option(
    "--signals",
    type=click.Path(exists=True, path_type=Path),
    help="An .npz archive or a folder of WFDB records. Default: simulated.",
)
@click.option("-n", "count", type=click.IntRange(min=1), default=2, show_default=True, help="Pages of each recipe.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Start of all randomness.")
@click.option("--models", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of the networks.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write.  [default: int8.json of the package]",
)
def calibrate(signals: Path | None, count: int, seed: int, models: Path | None, output: Path | None) -> None:
    """Measure the limits for int8 on rendered pages, after a network was exported. Needs OpenVINO.

    Networks whose limits belong to other weights are computed in float.

    \b
    Examples:
      cardioscan calibrate --signals signals.npz
    """
    require("openvino", "openvino", "Measuring limits for int8")
    import numpy as np
    from rich.progress import track

    from cardioscan.synthesis.dataset import render_page
    from cardioscan.synthesis.recipes import RECIPES
    from cardioscan.synthesis.signals import open_signals, split_records
    from cardioscan_client.naming import printable
    from cardioscan_export.calibration import FILE
    from cardioscan_export.calibration import calibrate as measure

    source = open_signals(None if signals is None else str(signals), 200, seed)
    records, _ = split_records(len(source))
    wanted = [(recipe, turn) for recipe in RECIPES for turn in range(count)]
    pages = (
        render_page(
            source.record(int(records[place % len(records)])), recipe, np.random.default_rng([seed, place])
        ).image
        for place, (recipe, _) in enumerate(track(wanted, "pages"))
    )
    found = measure(pages, models, output or FILE)
    for name, entry in found.items():
        click.echo(f"{name}: {len(entry['limits'])} convolutions, {entry['calls']} calls")
    click.echo(f"written: {printable(output or FILE)}")
