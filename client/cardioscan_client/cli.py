"""The command ``cardioscan``. Each command imports what it needs when it runs, so that ``--help`` is quick."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from cardioscan import __version__
from cardioscan.errors import CardioscanError, MissingDependencyError
from cardioscan.training.options import NETWORKS, TrainingOptions
from cardioscan_client.commands.doctor import doctor
from cardioscan_client.commands.gateway import gateway
from cardioscan_client.commands.web import web

OK, SOME_REFUSED, WRONG_CALL, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses: every page digitized; some were not; the call itself is wrong; Ctrl-C."""


class WrongCall(click.ClickException):
    """An error about the call: one sentence on stderr and exit status 2."""

    exit_code = WRONG_CALL


class Program(click.Group):
    """The group of commands. A user's mistake ends in a sentence, never in a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn errors that have a sentence for the user into exit status 2."""
        try:
            return super().invoke(ctx)
        except CardioscanError as error:
            raise WrongCall(str(error)) from error
        except KeyboardInterrupt:
            click.echo("\ninterrupted; what was finished before stays on disk", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of our output has gone; click ends quietly
                raise
            raise WrongCall(str(error)) from error


def _require(package: str, extra: str, purpose: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise MissingDependencyError(package, extra, purpose)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cardioscan")
def main() -> None:
    """Photographs, scans and PDFs of printed 12-lead ECGs as calibrated signals.

    \b
    Examples:
      cardioscan digitize page.jpg -o out/
      cardioscan digitize scans/ --format wfdb,dicom --overlay --jobs 4 -o out/
      cardioscan evaluate out/ truth/
      cardioscan synthesize -n 20 --recipe all -o pages/
    """


@main.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUTS...")
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
@click.option("--einthoven/--no-einthoven", default=None, help="Let the limb leads correct each other.  [default: on]")
@click.option(
    "--savgol/--no-savgol", "savitzky_golay", default=None, help="Smooth lightly (Savitzky-Golay).  [default: off]"
)
@click.option(
    "--phase/--no-phase",
    "phase_refinement",
    default=None,
    help="Refine the paper's shape by the phase of its printed grid.  [default: on]",
)
@click.option(
    "--candidates",
    type=click.Choice(["original", "preprocessed", "quality", "confidence"]),
    help="Which pictures lead names and grid are looked for on; the last two try both.  [default: original]",
)
@click.option(
    "--flip-tta",
    type=click.Choice(["auto", "always", "never"]),
    help="When to look for the lead names on the flipped page too.  [default: auto, where there is doubt]",
)
@click.option("--server", metavar="HOST:PORT", help="Run the networks on this server (see 'cardioscan serve').")
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), default=120, show_default=True, help="Seconds per page."
)
@click.option("--tls", is_flag=True, help="Encrypt the connection to the server.")
@click.option("--tls-ca", metavar="FILE", help="Certificates (PEM) to trust; implies --tls.")
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
    server: str | None,
    timeout: float,
    tls: bool,
    tls_ca: str | None,
    token: str | None,
    **pipeline: Any,
) -> None:
    """Digitize ECG pages: files, folders and glob patterns; every page of a PDF or TIFF.

    Each page becomes NAME.csv (12 leads, mV, 500 Hz) and NAME.json (outcome, confidence, models), where NAME is the
    input's name without its ending, with -p1, -p2, ... for the pages of a longer document. A page that cannot be read
    is refused, with a reason, and gets NAME.json only. Existing results of the same name are replaced.

    Exit status: 0 every page was digitized, 1 some were not, 2 the call is wrong.

    \b
    Examples:
      cardioscan digitize page.jpg -o out/ --overlay
      cardioscan digitize report.pdf --page 2 -o out/
      cardioscan digitize 'archive/**/*.jpg' --jobs 4 --json -o out/ > log.jsonl
      cardioscan digitize scans/ --server localhost:8001 --timeout 60 --jobs 4 -o out/
    """
    # Before NumPy is imported, here and in the workers: the threads of its linear algebra would fight with the networks
    # for the cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from cardioscan.images import expand_inputs
    from cardioscan_client.batch import BatchOptions, check_formats, run_batch
    from cardioscan_client.naming import printable, safe_stem, unique_stems
    from cardioscan_client.pool import available_cpus, default_jobs
    from cardioscan_client.report import BatchReport

    files = expand_inputs(inputs)
    jobs = jobs or default_jobs(server is not None, files)
    names = [name for text in formats for name in text.split(",") if name.strip()]
    options = BatchOptions(
        directory=output,
        formats=check_formats(names),
        overlay=overlay,
        page=None if page is None else page - 1,
        models=models,
        pipeline={key: value for key, value in pipeline.items() if value is not None},
        threads=max(1, available_cpus() // jobs),
        server=_reach(server, page_timeout_s=timeout, tls=tls, ca_file=tls_ca, token=token),
    )
    output.mkdir(parents=True, exist_ok=True)
    for file, stem in zip(files, unique_stems(files), strict=True):
        if stem != safe_stem(file):
            click.echo(f"{printable(file)}: another input has the same name, so its results are {stem}.*", err=True)
    with BatchReport(len(files), output, as_json) as report:
        for result in run_batch(files, options, jobs):
            report.add(result)
    raise click.exceptions.Exit(OK if report.all_complete else SOME_REFUSED)


def _reach(server: str | None, **options: Any) -> Any:
    """How to reach the server; None without one."""
    if server is None:
        return None
    from cardioscan_client.connection import TritonOptions

    # A page has a deadline; a single request needs none that is shorter.
    return TritonOptions(server, request_timeout_s=options["page_timeout_s"], **options)


@main.command()
@click.argument("pred", type=click.Path(exists=True, path_type=Path))
@click.argument("truth", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--printed",
    type=click.Choice(["auto", "all", "standard"]),
    default="auto",
    show_default=True,
    help="Which samples of the truth are on the page; auto: the standard layout's where the truth has no gap.",
)
@click.option(
    "--clinical/--no-clinical",
    default=None,
    help="Compare heart rate, PR, QRS, QT and ST level too.  [default: where neurokit2 is installed]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def evaluate(pred: Path, truth: Path, printed: Any, clinical: bool | None, as_json: bool) -> None:
    """Score digitized pages against ground truth.

    PRED is a folder that 'cardioscan digitize' wrote, or one of its files; TRUTH a WFDB header (.hea), an .npz, or a
    folder of them. A page belongs to the truth whose name begins its own: out/00012-p2.csv to truth/00012.hea.

    \b
    Examples:
      cardioscan evaluate out/ truth/
      cardioscan evaluate out/00012.csv truth/00012.hea --json
    """
    from cardioscan.evaluation import evaluate_paths
    from cardioscan_client.report import print_evaluation

    if clinical is not False:
        try:
            _require("neurokit2", "clinical", "Measuring heart rate and intervals")
        except MissingDependencyError as missing:
            if clinical:
                raise
            click.echo(f"no clinical measures: {missing}", err=True)
            clinical = False
    evaluation = evaluate_paths(pred, truth, printed, clinical is not False)
    if as_json:
        click.echo(json.dumps(evaluation.to_json_dict(), indent=2))
    else:
        print_evaluation(evaluation)


@main.command()
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


@main.command()
@click.argument("network", type=click.Choice(NETWORKS))
@click.option("--signals", metavar="PATH", help="An .npz archive or a folder of WFDB records. Default: simulated.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="How long to train.")
@click.option("--steps", type=click.IntRange(min=0), help="Stop after so many steps; 0: by time alone.")
@click.option("--batch-size", type=click.IntRange(min=0), help="Pages per step; 0: the network's own default.")
@click.option("--lr", "learning_rate", type=click.FloatRange(min=0, min_open=True), help="Peak learning rate of AdamW.")
@click.option("--resume", metavar="PATH|released|none", help="Weights to go on from.")
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
        _require(package, "train", "Training")
    from cardioscan.training.run import train as run

    given = {key: value for key, value in options.items() if value is not None}
    figures = run(TrainingOptions(network=network, **given))
    if as_json:
        click.echo(json.dumps(figures))
    else:
        for name, value in figures.items():
            click.echo(f"{name}: {value:.5g}")


@main.command()
@click.argument("network", type=click.Choice([*NETWORKS, "all"]), default="all")
@click.option(
    "--checkpoint",
    type=click.Path(exists=True, path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="A checkpoint that training wrote, or the folder of its runs (NETWORK/last.pt).",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("model_repository"),
    show_default=True,
    help="Model repository to write to.",
)
def export(network: str, checkpoint: Path, output: Path) -> None:
    """Turn trained networks into ONNX files in the model repository. Needs the extra 'export'.

    NETWORK is one network or all (the default): every one that has a checkpoint in the folder of runs.

    \b
    Examples:
      cardioscan export
      cardioscan export label_detector --checkpoint runs/label_detector/last.pt -o model_repository
    """
    chosen = _checkpoints(network, checkpoint)
    for package in ("torch", "timm", "onnx", "onnxscript"):
        _require(package, "export", "Exporting a network")
    from cardioscan_client.naming import printable
    from cardioscan_export.release import export_network

    for name, file in chosen.items():
        released = export_network(name, file, output)
        click.echo(f"{name}: {printable(released.path)}, {released.bytes / 1e6:.1f} MB, SHA-256 {released.sha256}")


def _checkpoints(network: str, checkpoint: Path) -> dict[str, Path]:
    """Checkpoint of each network to export."""
    if checkpoint.is_file():
        if network == "all":
            raise click.UsageError("a checkpoint belongs to one network: name it, or give the folder of runs")
        return {network: checkpoint}
    wanted = NETWORKS if network == "all" else (network,)
    found = {name: checkpoint / name / "last.pt" for name in wanted}
    found = {name: file for name, file in found.items() if file.is_file()}
    if not found:
        raise click.UsageError(f"no checkpoint {checkpoint / (network if network != 'all' else 'NETWORK') / 'last.pt'}")
    return found


@main.command()
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
@click.option(
    "--digitizers",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    help="Processes of ecg_digitizer; 0: none.",
)
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
    from cardioscan.specs import SPECS
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


@main.command("lint-models")
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
        _require(package, "export", "Checking networks")
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
    raise click.exceptions.Exit(OK if clean else SOME_REFUSED)


@main.command()
@click.option(
    "--model-repository",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Repository of the flavour cpu. Default: written from the released networks to a temporary folder.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0: all.")
@click.option("--grpc-port", type=click.IntRange(0, 65535), default=8001, show_default=True, help="0: any free port.")
@click.option("--http-port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any free port.")
@click.option("--metrics-port", type=click.IntRange(0, 65535), default=8002, show_default=True, help="0: any free one.")
@click.option("--threads", type=click.IntRange(min=0), default=0, help="Threads per network; 0: all cores.")
@click.option(
    "--digitizers",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    help="Processes of ecg_digitizer; 0: none.",
)
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), help="File for the server's log.")
@click.argument("arguments", nargs=-1, metavar="[-- TRITON_OPTIONS...]")
def serve(
    model_repository: Path | None,
    threads: int,
    digitizers: int,
    log: Path | None,
    arguments: tuple[str, ...],
    **ports: Any,
) -> None:
    """Run a Triton server with the networks on this machine's CPU, until Ctrl-C.

    It also serves ecg_digitizer, the whole pipeline: one KServe v2 request per page, from any language.
    Needs the package nvidia-pytriton, no container and no GPU. What follows -- is passed on to tritonserver.

    \b
    Examples:
      cardioscan serve
      cardioscan serve --host 0.0.0.0 --grpc-port 9001 --log triton.log
      cardioscan serve -- --grpc-use-ssl=true --grpc-server-cert=server.pem --grpc-server-key=server.key
    """
    from tempfile import TemporaryDirectory

    from cardioscan_client.serve import ServerOptions, TritonServer, run_server

    server = ServerOptions(arguments=arguments, **ports)
    with TemporaryDirectory(prefix="cardioscan-models-") as folder:
        if model_repository is None:
            from cardioscan_export.repository import RepositoryOptions, write_repository

            options = RepositoryOptions("cpu", threads=threads, digitizers=digitizers, link=True)
            write_repository(folder, options)
        run_server(TritonServer(model_repository or Path(folder), server, log), click.echo)


main.add_command(doctor)
main.add_command(gateway)
main.add_command(web)
