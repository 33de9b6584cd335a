"""``cardioscan lint-models``: what TensorRT does not take."""

from __future__ import annotations

from pathlib import Path

import click

from cardioscan_client.commands._shared import NOT_ALL, OK, require


@click.command("lint-models")
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="[FILES...]")
@click.option("--models", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of the networks.")
def lint_models(files: tuple[Path, ...], models: Path | None) -> None:
    """Check networks for what TensorRT does not take. Needs the extra 'export', and no GPU.

    Without FILES: the released networks, in float32 and float16, as the flavour tensorrt is given them. With FILES:
    these ONNX files as they are.

    Exit status: 0 nothing was found, 1 something was, 2 the call is wrong.

    \b
    Examples:
      cardioscan lint-models
      cardioscan lint-models served/label_detector/1/model.float16.onnx
    """
    for package in ("onnx", "onnxscript"):
        require(package, "export", "Checking networks")
    from cardioscan_client.naming import printable
    from cardioscan_export.variants import lint_file, lint_released

    checked = ((printable(file), *lint_file(file)) for file in files)
    if not files:
        checked = ((f"{name} {kind}", size, found) for name, kind, size, found in lint_released(models=models))
    clean = True
    for name, size, findings in checked:
        clean = clean and not findings
        click.echo(f"{name}: {size} operators, {len(findings) or 'no'} finding{'' if len(findings) == 1 else 's'}")
        for finding in findings:
            click.echo(f"  {finding}")
    raise click.exceptions.Exit(OK if clean else NOT_ALL)
