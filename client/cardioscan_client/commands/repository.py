"""``cardioscan repository``: released networks into what Triton loads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from cardioscan_client.commands._shared import arithmetic_option, digitizers_option, served_profile_option


@click.command()
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write; Triton's --model-repository.",
)
@click.option(
    "--flavour",
    type=click.Choice(["onnxruntime", "tensorrt", "cpu"]),
    default="onnxruntime",
    show_default=True,
    help="What serves it: ONNX Runtime with TensorRT on a GPU, TensorRT plans, or ONNX Runtime on a CPU.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="GPU: what the networks compute in; float16 is made from the released files (extra 'export').",
)
@click.option("--models", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of the networks.")
@click.option("--link", is_flag=True, help="Link the ONNX files instead of copying them.")
@click.option("--threads", type=click.IntRange(min=0), default=0, help="cpu: threads per network; 0: all cores.")
@arithmetic_option
@digitizers_option
@served_profile_option
@click.option("--compute-capability", "capabilities", multiple=True, help="tensorrt: a GPU to serve, such as 8.9.")
@click.option("--tensorrt-version", help="tensorrt: version that builds and runs the plans, such as 10.9.")
@click.option("--engine-cache", help="GPU: folder on the server for TensorRT's engines and timings.")
@click.option("--build", is_flag=True, help="tensorrt: build the plans for this machine's GPU now, with its trtexec.")
def repository(output: Path, models: Path | None, capabilities: tuple[str, ...], build: bool, **options: Any) -> None:
    """Write a model repository for Triton from the released networks.

    For the flavour tensorrt, the commands that build the missing plans on the GPU are printed; with --build they are
    run here, for this GPU and this TensorRT.

    \b
    Examples:
      cardioscan repository --flavour cpu --threads 2 -o served/
      cardioscan repository --flavour tensorrt --precision float16 --compute-capability 8.9 -o served/
      cardioscan repository --flavour tensorrt --precision float16 --build -o served/
    """
    from cardioscan.backends.specs import SPECS
    from cardioscan_client.naming import printable
    from cardioscan_export.engines import build_plans, find_machine, for_machine
    from cardioscan_export.repository import RepositoryOptions, plan_command, write_repository

    given = RepositoryOptions(**{key: value for key, value in options.items() if value is not None})
    if build and (given.flavour != "tensorrt" or capabilities or options["tensorrt_version"]):
        raise click.UsageError("--build is for the flavour tensorrt, on the GPU and with the TensorRT found here")
    machine = find_machine() if build else None
    if machine is not None:
        given = for_machine(given, machine)
    elif capabilities:
        given = replace(given, compute_capabilities=capabilities)
    written = write_repository(output, given, models)
    for model in written:
        click.echo(f"{model.name}: version {model.version}, {printable(model.folder)}")
    if machine is not None:
        for plan in build_plans(written, machine, given.engine_cache, click.echo):
            click.echo(printable(plan))
        return
    if any(model.missing for model in written):
        click.echo("plans still to be built, each on its GPU with that TensorRT:")
    for model in written:
        for plan in model.missing:
            click.echo(plan_command(SPECS[model.name], Path(str(model.graph)), plan, given.engine_cache))
