"""``cardioscan export``: trained networks into ONNX files."""

from __future__ import annotations

from pathlib import Path

import click

from cardioscan.training.options import NETWORKS
from cardioscan_client.commands._shared import require


@click.command()
@click.argument("network", type=click.Choice([*NETWORKS, "all"]), default="all")
@click.option(
    "--checkpoint",
    type=click.Path(exists=True, path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="A checkpoint or a folder of pieces that training wrote, or the folder of its runs (NETWORK/last.pt).",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("model_repository"),
    show_default=True,
    help="Model repository to write to.",
)
@click.option(
    "--blend",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Share of the checkpoint's weights; the rest are those of the file that is replaced.",
)
def export(network: str, checkpoint: Path, output: Path, blend: float) -> None:
    """Turn trained networks into ONNX files in the model repository. Needs the extra 'export'.

    NETWORK is one network or all (the default): every one that has a checkpoint in the folder of runs.

    \b
    Examples:
      cardioscan export
      cardioscan export label_detector --checkpoint runs/label_detector/last.pt -o model_repository
      cardioscan export waveform_extractor --blend 0.5
    """
    chosen = _checkpoints(network, checkpoint)
    for package in ("torch", "timm", "onnx", "onnxscript"):
        require(package, "export", "Exporting a network")
    from cardioscan_client.naming import printable
    from cardioscan_export.release import export_network

    for name, file in chosen.items():
        released = export_network(name, file, output, blend=blend)
        click.echo(f"{name}: {printable(released.path)}, {released.bytes / 1e6:.1f} MB, SHA-256 {released.sha256}")


def _checkpoints(network: str, checkpoint: Path) -> dict[str, Path]:
    """Checkpoint, or folder of pieces, of each network to export."""
    if checkpoint.is_file() or any(checkpoint.glob("piece-*.npz")):
        if network == "all":
            raise click.UsageError("a checkpoint belongs to one network: name it, or give the folder of runs")
        return {network: checkpoint}
    wanted = NETWORKS if network == "all" else (network,)
    found = {name: checkpoint / name / "last.pt" for name in wanted}
    found = {name: file for name, file in found.items() if file.is_file()}
    if not found:
        raise click.UsageError(f"no checkpoint {checkpoint / (network if network != 'all' else 'NETWORK') / 'last.pt'}")
    return found
