"""The model repository that Triton serves: folders and ``config.pbtxt``, derived from the ``NetworkSpec``s.

There are three flavours, with the same names, tensors and versions:

* ``onnxruntime``: the ONNX Runtime backend with its TensorRT accelerator, for a GPU; what the checkout holds.
* ``tensorrt``: TensorRT plans, one per compute capability and TensorRT version.
* ``cpu``: the Python backend running OpenVINO or ONNX Runtime, for a Triton that has nothing else
  (``cardioscan serve``).

In all of them ``ecg_digitizer`` is the whole pipeline in the Python backend, calling the networks beside it.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from cardioscan.backends import quantization
from cardioscan.backends.inference import limits_of
from cardioscan.backends.specs import (
    DIGITIZER,
    SPECS,
    NetworkSpec,
    check_model_file,
    file_sha256,
    find_model_file,
)
from cardioscan.errors import MissingDependencyError, ModelError
from cardioscan_export.pbtxt import TRITON_TYPES, parameter, queue, tensors

FLAVOURS: Final = ("onnxruntime", "tensorrt", "cpu")
"""What a repository can be written for."""

TENSORRT_VERSION: Final = "10.9"
"""TensorRT for which plans are named unless another is given."""
PRECISIONS: Final = ("float32", "float16")
"""Arithmetic of the networks on a GPU; see ``cardioscan_export.float16``."""
COMPUTE_CAPABILITIES: Final = ("7.5", "8.0", "8.6", "8.9", "9.0")
"""GPUs for which plans are named unless others are given: T4, A100, A10, L4, H100."""
ENGINE_CACHE: Final = "/var/cache/cardioscan/tensorrt"
"""Folder on the server in which TensorRT keeps engines and timings; outside the repository, which is read-only."""

CPU_MAX_BATCH: Final = 2
"""Largest batch of the CPU flavour. There a batch is no faster than its pages one by one: the waveform extractor took
3.6 s of CPU time for one page and 8.2 s for two, and 0.6 GB more. A larger one would only make the warm-up longer."""
PAGE_TIMEOUT_S: Final = 120
"""How long ``ecg_digitizer`` works on a page at most, the networks' queues included."""

_WORKSPACE_BYTES: Final = 4 << 30
_QUEUE_DELAY_US: Final = 2000
_CPU_MODEL: Final = Path(__file__).with_name("cpu_model.py")
_DIGITIZER_MODEL: Final = '''"""The whole pipeline. Needs CardioScan in the Python that runs Triton's backend."""

from cardioscan_export.digitizer_model import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


@dataclass(frozen=True)
class RepositoryOptions:
    """How a model repository is written.

    Attributes:
        flavour: one of ``FLAVOURS``.
        precision: one of ``PRECISIONS``; the flavour ``cpu`` has float32 only.
        arithmetic: what the flavour ``cpu`` computes in where OpenVINO is there, see
            ``cardioscan.backends.inference.Arithmetic``.
        threads: threads of the arithmetic per network on a CPU; 0 uses all cores.
        digitizers: processes of ``ecg_digitizer``, each with one page at a time; 0 leaves it out, for a server whose
            Python has no CardioScan.
        profile: what ``ecg_digitizer`` works by where a request names none; of ``cardioscan.options.PROFILES``.
        compute_capabilities: GPUs that the plans of the flavour ``tensorrt`` are for.
        tensorrt_version: TensorRT that builds and runs these plans.
        engine_cache: folder on the server for engines and timings of TensorRT.
        link: link the ONNX files instead of copying them.
        verify: compare the ONNX files with the release; switch off for weights of your own.
    """

    flavour: str = "onnxruntime"
    precision: str = "float32"
    arithmetic: str = "auto"
    threads: int = 0
    digitizers: int = 2
    profile: str = "balanced"
    compute_capabilities: tuple[str, ...] = COMPUTE_CAPABILITIES
    tensorrt_version: str = TENSORRT_VERSION
    engine_cache: str = ENGINE_CACHE
    link: bool = False
    verify: bool = True


@dataclass(frozen=True)
class WrittenModel:
    """One model as it was written.

    Attributes:
        name, version: of the model.
        folder: its folder in the repository; holds ``config.pbtxt`` and the version's folder.
        missing: files that the configuration names and that are still to be built on a GPU (TensorRT plans).
        graph: the ONNX file that they are built from; None where nothing is missing.
    """

    name: str
    version: int
    folder: Path
    missing: tuple[Path, ...] = ()
    graph: Path | None = None


def plan_name(compute_capability: str, tensorrt_version: str, precision: str, sha256: str) -> str:
    """File name of a TensorRT plan, which runs on one compute capability and one TensorRT version only.

    It begins with the precision and the first digits of the weights' hash, so that a plan of other weights is not taken
    for this one.
    """
    return f"model-{precision}-{sha256[:8]}-cc{compute_capability}-trt{tensorrt_version}.plan"


def plan_command(spec: NetworkSpec, onnx_file: Path, plan: Path, engine_cache: str = ENGINE_CACHE) -> str:
    """The call of ``trtexec`` that builds a plan, to be run on a GPU with that TensorRT.

    Precision is what the graph says (``--stronglyTyped``); one profile spans all batches, tuned for the largest.
    """
    arguments = [f"--onnx={onnx_file}", f"--saveEngine={plan}", "--stronglyTyped", "--skipInference"]
    arguments += [f"--{kind}Shapes={_shapes(spec, n)}" for kind, n in _profile(spec).items()]
    return shlex.join(["trtexec", *arguments, f"--timingCacheFile={engine_cache}/{spec.name}.timings"])


def max_batch(spec: NetworkSpec, flavour: str) -> int:
    """Largest batch that the server forms in a flavour."""
    return min(spec.max_batch, CPU_MAX_BATCH) if flavour == "cpu" else spec.max_batch


def config_pbtxt(spec: NetworkSpec, options: RepositoryOptions = RepositoryOptions(), sha256: str | None = None) -> str:
    """Triton's model configuration of a network, as text.

    Batches are formed on the server without preferred sizes; the queue is bounded, rejects what has waited too long,
    and lets a request ask for less; the network is warmed up at its smallest and largest batch; the served version is
    explicit; the hash of the ONNX file stands among the parameters, so that a client sees which weights answer.

    Args:
        spec: the network.
        options: the flavour and what belongs to it.
        sha256: hash of the ONNX file; None takes the released one.

    Raises:
        ModelError: there is no such flavour.
    """
    cpu = _is_cpu(options)
    parts = [
        f"# Written by CardioScan from the NetworkSpec of {spec.name} (flavour {options.flavour}). Do not edit.",
        f'name: "{spec.name}"',
        f'backend: "{"python" if cpu else options.flavour}"',
        f"max_batch_size: {max_batch(spec, options.flavour)}",
        tensors("input", spec.inputs),
        tensors("output", spec.outputs),
        f"version_policy {{ specific {{ versions: [ {spec.version} ] }} }}",
        queue(cpu, _QUEUE_DELAY_US),
        f"instance_group [ {{ count: 1 kind: {'KIND_CPU' if cpu else 'KIND_GPU'} }} ]",
        _warm_up(spec, options.flavour),
        parameter("sha256", spec.sha256 if sha256 is None else sha256),
    ]
    if options.precision != "float32":
        parts.append(parameter("precision", options.precision))
    if cpu:
        parts.append(parameter("threads", str(options.threads)))
        parts.append(parameter("arithmetic", options.arithmetic))
    elif options.flavour == "onnxruntime":
        parts.append(_accelerator(spec, options))
    else:
        plans = zip(options.compute_capabilities, _plan_names(spec, options, sha256), strict=True)
        parts += [f'cc_model_filenames {{ key: "{capability}" value: "{plan}" }}' for capability, plan in plans]
    return "\n".join(parts) + "\n"


def digitizer_config_pbtxt(options: RepositoryOptions = RepositoryOptions()) -> str:
    """Triton's model configuration of ``ecg_digitizer``, as text.

    There is no batch: each page has a request, an answer and an error of its own, and a batch would be no faster. The
    instances are processes, so that pages overlap without sharing an interpreter's lock; ``dynamic_batching`` is there
    for its queue policy. Everything runs on the CPU, only the networks are elsewhere.

    Raises:
        ModelError: there is no such flavour.
    """
    cpu = _is_cpu(options)
    parts = [
        f"# Written by CardioScan from the PipelineSpec of {DIGITIZER.name} (flavour {options.flavour}). Do not edit.",
        f'name: "{DIGITIZER.name}"',
        'backend: "python"',
        f"max_batch_size: {DIGITIZER.max_batch}",
        tensors("input", DIGITIZER.inputs),
        tensors("output", DIGITIZER.outputs),
        f"version_policy {{ specific {{ versions: [ {DIGITIZER.version} ] }} }}",
        queue(cpu, 0),
        f"instance_group [ {{ count: {options.digitizers} kind: KIND_CPU }} ]",
        parameter("threads", str(options.threads)),
        parameter("profile", options.profile),
        parameter("page_timeout_s", str(PAGE_TIMEOUT_S)),
        parameter("max_bytes", str(DIGITIZER.max_bytes)),
        parameter("max_pixels", str(DIGITIZER.max_pixels)),
        parameter("released_networks", "yes" if options.verify else "no"),
    ]
    return "\n".join(parts) + "\n"


def write_repository(
    output: str | Path, options: RepositoryOptions = RepositoryOptions(), models: str | Path | None = None
) -> list[WrittenModel]:
    """Write a model repository with all networks and the pipeline.

    Existing files of the same names are replaced, others are left alone.

    Args:
        output: folder to write; made where it is missing.
        options: the flavour and what belongs to it.
        models: where the released ONNX files lie; None looks in the usual places.

    Returns:
        What was written, one entry per model.

    Raises:
        ModelError: the flavour is unknown, an ONNX file is missing or damaged, or ``output`` holds the released files
            themselves and the flavour is not theirs.
    """
    sources = {name: find_model_file(name, models) for name in SPECS}
    written = []
    for name, source in sources.items():
        assert source is not None  # find_model_file raises unless missing_ok
        written.append(_write_model(SPECS[name], source, Path(output), options))
    if options.digitizers > 0:
        written.append(write_digitizer(Path(output), options))
    return written


def write_digitizer(output: Path, options: RepositoryOptions) -> WrittenModel:
    """Write ``ecg_digitizer`` into a repository that has the networks, or will have them.

    Raises:
        ModelError: the flavour is unknown.
    """
    folder = output / DIGITIZER.name / str(DIGITIZER.version)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.py").write_text(_DIGITIZER_MODEL, encoding="utf-8")
    (folder.parent / "config.pbtxt").write_text(digitizer_config_pbtxt(options), encoding="utf-8")
    return WrittenModel(DIGITIZER.name, DIGITIZER.version, folder.parent)


def _write_model(spec: NetworkSpec, source: Path, output: Path, options: RepositoryOptions) -> WrittenModel:
    digest = check_model_file(spec.name, source) if options.verify else file_sha256(source)
    config = config_pbtxt(spec, options, digest)
    target = output / spec.file
    here = target.exists() and target.samefile(source)
    released = options.flavour == "onnxruntime" and options.precision == "float32"
    if here and not target.is_symlink() and not released:
        raise ModelError(
            f"{output} holds the released networks, whose configuration is for the flavour onnxruntime in float32: "
            f"write the flavour {options.flavour} in {options.precision} into another folder"
        )
    folder = target.parent
    folder.mkdir(parents=True, exist_ok=True)
    missing: list[Path] = []
    graph = folder / f"model.{options.precision}.onnx"
    if options.flavour == "tensorrt":
        missing = [folder / plan for plan in _plan_names(spec, options, digest) if not (folder / plan).is_file()]
        if missing:
            _write_variant(source, graph, options.precision, spec)
    elif options.precision != "float32":
        _write_variant(source, target, options.precision, spec)
    elif not here:
        _place(source, target, options.link)
    if options.flavour == "cpu":
        shutil.copyfile(_CPU_MODEL, folder / "model.py")
        shutil.copyfile(quantization.__file__, folder / "quantization.py")
        limits = json.dumps(limits_of(spec.name, digest), indent=1)
        (folder / "limits.json").write_text(limits + "\n", encoding="utf-8")
    (folder.parent / "config.pbtxt").write_text(config, encoding="utf-8")
    return WrittenModel(spec.name, spec.version, folder.parent, tuple(missing), graph if missing else None)


def _plan_names(spec: NetworkSpec, options: RepositoryOptions, sha256: str | None) -> list[str]:
    """A plan for each compute capability."""
    weights = spec.sha256 if sha256 is None else sha256
    return [
        plan_name(capability, options.tensorrt_version, options.precision, weights)
        for capability in options.compute_capabilities
    ]


def _write_variant(source: Path, target: Path, precision: str, spec: NetworkSpec) -> None:
    """Write the graph that a GPU is given; only this needs the packages of the extra ``export``."""
    for package in ("onnx", "onnxscript"):
        if find_spec(package) is None:
            raise MissingDependencyError(package, "export", f"Writing a network for {precision} and TensorRT")
    from cardioscan_export.variants import write_variant

    write_variant(source, target, precision, spec)


def _place(source: Path, target: Path, link: bool) -> None:
    """Copy or link a file; what stood there before is replaced in one step, for a server may be reading it."""
    fresh = target.with_name(target.name + ".new")
    fresh.unlink(missing_ok=True)
    if link:
        fresh.symlink_to(source.resolve())
    else:
        shutil.copyfile(source, fresh)
    os.replace(fresh, target)


def _is_cpu(options: RepositoryOptions) -> bool:
    if options.flavour not in FLAVOURS:
        raise ModelError(f"unknown flavour '{options.flavour}'; known are {', '.join(FLAVOURS)}")
    if options.precision not in PRECISIONS:
        raise ModelError(f"unknown precision '{options.precision}'; known are {', '.join(PRECISIONS)}")
    if options.flavour == "cpu" and options.precision != "float32":
        raise ModelError("the flavour cpu computes in float32: a CPU has no faster float16")
    return options.flavour == "cpu"


def _warm_up(spec: NetworkSpec, flavour: str) -> str:
    inputs = " ".join(
        f'inputs {{ key: "{tensor.name}" value {{ data_type: {TRITON_TYPES[tensor.dtype]} '
        f"dims: [ {', '.join(map(str, tensor.shape))} ] zero_data: true }} }}"
        for tensor in spec.inputs
    )
    samples = [f'  {{ name: "batch of {n}" batch_size: {n} {inputs} }}' for n in sorted({1, max_batch(spec, flavour)})]
    return "model_warmup [\n" + ",\n".join(samples) + "\n]"


def _accelerator(spec: NetworkSpec, options: RepositoryOptions) -> str:
    # Precision is what the graph says. The accelerator's networks are not strongly typed, and TensorRT refuses float16
    # layers in them without leave to use it.
    half = options.precision == "float16"
    parameters = {
        "precision_mode": "FP16" if half else "FP32",
        "max_workspace_size_bytes": str(_WORKSPACE_BYTES),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": f"{options.engine_cache}/{spec.name}{'-float16' if half else ''}",
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": options.engine_cache,
        **{f"trt_profile_{kind}_shapes": _shapes(spec, n) for kind, n in _profile(spec).items()},
    }
    lines = [f'    parameters {{ key: "{key}" value: "{value}" }}' for key, value in parameters.items()]
    return (
        "optimization { execution_accelerators {\n"
        '  gpu_execution_accelerator [ {\n    name: "tensorrt"\n' + "\n".join(lines) + "\n  } ]\n} }"
    )


def _profile(spec: NetworkSpec) -> dict[str, int]:
    """Smallest, commonest and largest batch that TensorRT must be ready for."""
    return {"min": 1, "opt": spec.max_batch, "max": spec.max_batch}


def _shapes(spec: NetworkSpec, batch: int) -> str:
    return ",".join(f"{tensor.name}:{'x'.join(map(str, (batch, *tensor.shape)))}" for tensor in spec.inputs)
