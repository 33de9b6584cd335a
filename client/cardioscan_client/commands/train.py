"""``cardioscan train``: one network on rendered pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from cardioscan.training.options import NETWORKS, TrainingOptions
from cardioscan_client.commands._shared import complete_files, require


@click.command()
@click.argument("network", type=click.Choice(NETWORKS))
@click.option(
    "--signals",
    metavar="PATH",
    shell_complete=complete_files,
    help="An .npz archive or a folder of WFDB records. Default: simulated.",
)
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="How long to train.")
@click.option("--steps", type=click.IntRange(min=0), help="Stop after so many steps; 0: by time alone.")
@click.option("--batch-size", type=click.IntRange(min=0), help="Pages per step; 0: the network's own default.")
@click.option("--lr", "learning_rate", type=click.FloatRange(min=0, min_open=True), help="Peak learning rate of AdamW.")
@click.option("--resume", metavar="PATH|released|none", shell_complete=complete_files, help="Weights to go on from.")
@click.option(
    "--checkpoint-dir", "directory", type=click.Path(file_okay=False, path_type=Path), help="Where checkpoints go."
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the arithmetic runs.")
@click.option("--threads", type=click.IntRange(min=0), help="CPU threads; 0 leaves the default.")
@click.option("--workers", type=click.IntRange(min=0), help="Processes that render; 0: the training process.")
@click.option("--seed", type=click.IntRange(min=0), help="Start of all randomness.")
@click.option("--pretrained", is_flag=True, default=None, help="Start from timm's ImageNet weights (downloads them).")
@click.option("--validate-every", type=click.FloatRange(min=0, min_open=True), help="Minutes between validations.")
@click.option("--pool", type=click.IntRange(min=0), help="Pages rendered ahead and used again; 0 renders each anew.")
@click.option("--json", "as_json", is_flag=True, help="Print the last figures as one JSON object.")
def train(network: str, as_json: bool, **options: Any) -> None:
    """Train one network on rendered pages, on a CPU or a GPU. Needs the extra 'train'.

    Options that are not given keep the defaults of cardioscan.training.options.TrainingOptions.

    \b
    Examples:
      cardioscan train waveform_extractor --minutes 60 --signals signals.npz
      cardioscan train label_detector --resume none --device cuda --workers 8
    """
    for package in ("torch", "torchvision", "timm"):
        require(package, "train", "Training")
    from cardioscan.training.run import train as run

    given = {key: value for key, value in options.items() if value is not None}
    figures = run(TrainingOptions(network=network, **given))
    if as_json:
        click.echo(json.dumps(figures))
    else:
        for name, value in figures.items():
            click.echo(f"{name}: {value:.5g}")
