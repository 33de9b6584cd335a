"""``cardioscan synthesize``: pages with exact ground truth."""

from __future__ import annotations

from pathlib import Path

import click

from cardioscan_client.commands._shared import complete_files


@click.command()
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to write to."
)
@click.option("-n", "--number", type=click.IntRange(min=1), default=10, show_default=True, help="Number of pages.")
@click.option("--recipe", default="all", show_default=True, help="How the pages were captured; all: each in turn.")
@click.option(
    "--signals",
    default="simulated",
    show_default=True,
    metavar="PATH|simulated",
    shell_complete=complete_files,
    help="Signals to draw: an .npz archive or a folder of WFDB records.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Start of all randomness.")
@click.option("--megapixels", type=click.FloatRange(0.5, 60), help="Size of the captures, as phones give it: 12 to 50.")
def synthesize(output: Path, number: int, recipe: str, signals: str, seed: int, megapixels: float | None) -> None:
    """Render pages with exact ground truth, as they would look printed and captured.

    \b
    Examples:
      cardioscan synthesize -n 20 --recipe all -o pages/
      cardioscan synthesize -n 5 --recipe phone_photo --signals ptb-xl/records500 -o pages/
    """
    from cardioscan.synthesis.dataset import synthesize as render
    from cardioscan_client.naming import printable
    from cardioscan_client.report import progress_bar

    output.mkdir(parents=True, exist_ok=True)
    with progress_bar() as progress:
        task = progress.add_task("rendering", total=number)
        source = None if signals == "simulated" else signals
        written = render(
            output,
            number,
            recipe,
            source,
            seed,
            lambda done: progress.update(task, completed=done),
            megapixels=megapixels,
        )
    for path in written:
        click.echo(printable(path))
