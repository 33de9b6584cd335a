"""``cardioscan digitize``: pages into signals."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from cardioscan_client.commands._shared import (
    NOT_ALL,
    OK,
    arithmetic_option,
    complete_files,
    profile_option,
    triton_options,
)


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUTS...", shell_complete=complete_files)
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to write to."
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="NAME[,NAME...]",
    help="Further formats beside csv and json: wfdb, npz, parquet, edf, dicom, fhir, aecg, pdf (a report to print).",
)
@click.option("--overlay", is_flag=True, help="Also write NAME.overlay.png: the traces drawn over the page.")
@click.option("--page", type=click.IntRange(min=1), help="Only this page of each input, from 1. Default: all pages.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Worker processes.  [default: 1; with --server one more than cores, so that pages overlap]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per page instead of text.")
@click.option(
    "--models",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the networks. Default: $CARDIOSCAN_MODELS, then the one that belongs to the installation.",
)
@profile_option
@click.option(
    "--engine",
    type=click.Choice(["auto", "onnxruntime", "openvino"]),
    help="What computes the networks here.  [default: auto, OpenVINO where it is installed]",
)
@arithmetic_option
@click.option("--einthoven/--no-einthoven", default=None, help="Let the limb leads correct each other.  [default: on]")
@click.option(
    "--savgol/--no-savgol", "savitzky_golay", default=None, help="Smooth lightly (Savitzky-Golay).  [default: off]"
)
@click.option(
    "--source-aware/--no-source-aware",
    default=None,
    help="Look at the picture preprocessed for its kind of capture too, and take the better.  [default: off]",
)
@click.option("--server", metavar="HOST:PORT", help="Run the networks on this server (see 'cardioscan serve').")
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), default=120, show_default=True, help="Seconds per page."
)
@click.option("--tls", is_flag=True, help="Encrypt the connection to the server.")
@click.option(
    "--tls-ca", metavar="FILE", shell_complete=complete_files, help="Certificates (PEM) to trust; implies --tls."
)
@click.option("--token", envvar="CARDIOSCAN_TOKEN", help="Password of the server. Default: $CARDIOSCAN_TOKEN.")
def digitize(
    inputs: tuple[str, ...],
    output: Path,
    formats: tuple[str, ...],
    overlay: bool,
    page: int | None,
    jobs: int | None,
    as_json: bool,
    models: Path | None,
    profile: str,
    server: str | None,
    timeout: float,
    tls: bool,
    tls_ca: str | None,
    token: str | None,
    **pipeline: Any,
) -> None:
    """Digitize ECG pages: files, folders, glob patterns and - for standard input; every page of a PDF or TIFF.

    Each page becomes NAME.csv (12 leads, mV, 500 Hz) and NAME.json (outcome, confidence, models), where NAME is the
    input's name without its ending (stdin for standard input), with -p1, -p2, ... for the pages of a longer document. A
    page that cannot be read is refused, with a reason, and gets NAME.json only. Existing results of the same name are
    replaced.

    Exit status: 0 every page was digitized, 1 some were not, 2 the call is wrong.

    \b
    Examples:
      cardioscan digitize page.jpg -o out/ --overlay
      cardioscan digitize report.pdf --page 2 -o out/
      cardioscan digitize 'archive/**/*.jpg' --jobs 4 --json -o out/ > log.jsonl
      scanimage --format=png | cardioscan digitize - -o out/
      cardioscan digitize scans/ --server localhost:8001 --timeout 60 --jobs 4 -o out/
    """
    # Before NumPy is imported, here and in the workers: the threads of its linear algebra would fight with the networks
    # for the cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from cardioscan.imaging.images import expand_inputs
    from cardioscan_client.batch import check_formats, run_batch
    from cardioscan_client.naming import printable, safe_stem, unique_stems
    from cardioscan_client.page_runner import BatchOptions
    from cardioscan_client.pool import available_cpus, default_jobs
    from cardioscan_client.report import BatchReport

    names = [name for text in formats for name in text.split(",") if name.strip()]
    options = BatchOptions(
        directory=output,
        formats=check_formats(names),
        overlay=overlay,
        page=None if page is None else page - 1,
        models=models,
        profile=profile,
        pipeline={key: value for key, value in pipeline.items() if value is not None},
        server=None if server is None else triton_options(server, timeout, tls_ca, token, tls),
    )
    with _readable(inputs) as (paths, piped):
        files = expand_inputs(paths)
        jobs = jobs or default_jobs(server is not None, files)
        options = replace(options, threads=max(1, available_cpus() // jobs))
        # Standard input is shown by its name, not by the path of its temporary file.
        shown = {printable(path): path.name if path == piped else printable(path) for path in files}
        output.mkdir(parents=True, exist_ok=True)
        for file, stem in zip(files, unique_stems(files), strict=True):
            if stem != safe_stem(file):
                name = shown[printable(file)]
                click.echo(f"{name}: another input has the same name, so its results are {stem}.*", err=True)
        with BatchReport(len(files), output, as_json) as report:
            for result in run_batch(files, options, jobs):
                report.add(replace(result, source=shown[result.source]))
    raise click.exceptions.Exit(OK if report.all_complete else NOT_ALL)


@contextmanager
def _readable(inputs: Sequence[str]) -> Iterator[tuple[list[str], Path | None]]:
    """The inputs with a file in place of standard input, and that file; None where standard input is not among them.

    Raises:
        click.UsageError: standard input is named twice, is closed or is a terminal.
    """
    from cardioscan_client.stdin import STANDARD_INPUT, standard_input

    if STANDARD_INPUT not in inputs:
        yield list(inputs), None
        return
    if inputs.count(STANDARD_INPUT) > 1:
        raise click.UsageError("standard input (-) can be read once only")
    if sys.stdin is None or sys.stdin.closed:
        raise click.UsageError("standard input (-) is closed")
    if sys.stdin.isatty():
        raise click.UsageError("standard input (-) is a terminal: redirect a file or a pipe to it")
    with standard_input(sys.stdin.buffer) as path:
        yield [str(path) if text == STANDARD_INPUT else text for text in inputs], path
