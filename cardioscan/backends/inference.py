"""Running the networks: the ``InferenceBackend`` protocol and the in-process ONNX Runtime one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cardioscan.backends.compiled import cache_folder, entry_name, load, store
from cardioscan.backends.quantization import Limits, quantise
from cardioscan.backends.specs import SPECS, check_model_file, find_model_file
from cardioscan.errors import CardioscanError, MissingDependencyError, ModelError

_ABSENT = object()
_OPENED_LAST: Final = "source_classifier"
"""The largest file, of the network that a page asks last (``cardioscan.pipeline``)."""
_IMPORTING = threading.Lock()
_MAKING = threading.Lock()
Tensors = Mapping[str, NDArray[Any]]
Engine = Literal["auto", "onnxruntime", "openvino"]
"""What computes the networks in this process; ``auto`` is OpenVINO where it is installed and no GPU is to be used."""
Arithmetic = Literal["auto", "int8", "float", "float32"]
"""What OpenVINO computes in (ONNX Runtime computes in float32 always).

``int8``: what goes into convolutions is rounded to eight bits (``cardioscan.backends.quantization``), two to three
times as fast; only the released networks have limits for it, others compute as ``float``. ``float``: bfloat16 where the
processor has it (AVX-512 BF16, AMX), twice as fast, else float32. ``float32``: on every machine. ``auto``: ``int8`` on
x86-64, else ``float``. What each costs in decibels stands in docs/notes/2026-11-26-arithmetic.md.
"""
Runner = Callable[[Sequence[str], Tensors], list[NDArray[Any]]]
"""Runs one network: (names of the wanted outputs, inputs by name) to the outputs. Several threads may call it."""


@runtime_checkable
class InferenceBackend(Protocol):
    """Whatever can run the four networks. The pipeline never asks which one it is."""

    def infer(self, model: str, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Run ``model`` on ``inputs`` (arrays by tensor name, batch axis first) and return its outputs by name."""
        ...

    def model_versions(self) -> dict[str, tuple[str, str]]:
        """Version and SHA-256 of each model used so far, by name."""
        ...


def check_tensors(model: str, inputs: Tensors) -> None:
    """Compare inputs with the network's spec; raises ``ModelError`` naming the tensor that does not fit."""
    if model not in SPECS:
        raise ModelError(f"unknown model '{model}'; known are {', '.join(SPECS)}")
    for tensor in SPECS[model].inputs:
        array = inputs.get(tensor.name)
        if array is None:
            raise ModelError(f"{model}: input '{tensor.name}' is missing")
        if array.dtype != np.dtype(tensor.dtype) or array.shape[1:] != tensor.shape or array.ndim == 0:
            raise ModelError(
                f"{model}: input '{tensor.name}' must be {tensor.dtype} (batch, {', '.join(map(str, tensor.shape))}), "
                f"not {array.dtype} {array.shape}"
            )


class OnnxBackend:
    """The networks in this process, from their ONNX files, on ONNX Runtime or OpenVINO.

    Networks are opened on first use and shared by threads. Weights are stored as float16. ONNX Runtime computes in
    float32; OpenVINO knows faster arithmetic, see ``Arithmetic``.

    Args:
        repository: a model repository; None looks where ``cardioscan.backends.specs.repository_candidates`` says.
        threads: threads of the arithmetic; 0 uses all cores.
        verify: compare each file's SHA-256 with the release when it is opened.
        providers: ONNX Runtime execution providers; None takes CUDA where the installed runtime has it, else the CPU.
        engine: what computes them; providers that are given speak for ONNX Runtime.
        arithmetic: what OpenVINO computes in.
    """

    def __init__(
        self,
        repository: str | Path | None = None,
        threads: int = 0,
        verify: bool = True,
        providers: list[str] | None = None,
        engine: Engine = "auto",
        arithmetic: Arithmetic = "auto",
    ) -> None:
        self._repository, self._threads, self._verify, self._providers = repository, threads, verify, providers
        self._engine, self._arithmetic = engine, arithmetic
        self._runners: dict[str, Runner] = {}
        self._hashes: dict[str, str] = {}
        self._used: frozenset[str] = frozenset()
        self._locks = {name: threading.Lock() for name in SPECS}

    def infer(self, model: str, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Run a network; raises ``ModelError`` when its file or the inputs do not fit."""
        check_tensors(model, inputs)
        names = [tensor.name for tensor in SPECS[model].outputs]
        runner = self._runner(model)
        self._used |= {model}  # a new set each time, since another thread may be reading the old one
        return dict(zip(names, runner(names, inputs), strict=True))

    def model_versions(self) -> dict[str, tuple[str, str]]:
        """Version and SHA-256 (empty where it was not verified) of each model used so far."""
        return {name: (str(SPECS[name].version), self._hashes[name]) for name in sorted(self._used)}

    def open_all(self) -> None:
        """Open all networks, in the order in which a page needs them.

        One that cannot be opened is left to the page that needs it, which says what is wrong.
        """
        for model in sorted(SPECS, key=lambda name: name == _OPENED_LAST):
            with contextlib.suppress(CardioscanError):
                self._runner(model)

    def _runner(self, model: str) -> Runner:
        with self._locks[model]:
            if model not in self._runners:
                path = find_model_file(model, self._repository)
                assert path is not None  # find_model_file raises unless missing_ok
                self._hashes[model] = check_model_file(model, path) if self._verify else ""
                wanted = "onnxruntime" if self._providers else choose_engine(self._engine)
                if wanted == "openvino":
                    limits = limits_of(model, self._hashes[model]) if in_int8(self._arithmetic) else {}
                    bfloat16 = self._arithmetic != "float32" and not limits
                    self._runners[model] = _open_openvino(
                        model, path, self._hashes[model], self._threads, limits, bfloat16
                    )
                else:
                    self._runners[model] = _open_onnxruntime(path, self._threads, self._providers)
            return self._runners[model]


def choose_engine(engine: Engine = "auto") -> Literal["onnxruntime", "openvino"]:
    """What will compute the networks here.

    Raises:
        MissingDependencyError: OpenVINO is asked for by name and not installed.
    """
    installed = find_spec("openvino") is not None
    if engine == "openvino" and not installed:
        raise MissingDependencyError("openvino", "openvino", "Computing with OpenVINO")
    if engine != "auto":
        return engine
    return "openvino" if installed and "CUDAExecutionProvider" not in _providers_here() else "onnxruntime"


def _providers_here() -> list[str]:
    try:
        import onnxruntime
    except ImportError as error:  # installed but broken, for it is a core dependency
        raise ModelError(f"ONNX Runtime cannot be loaded: {error}. Reinstall the package onnxruntime") from error
    onnxruntime.disable_telemetry_events()  # where a build has them, nothing is to leave a hospital's machine
    return list(onnxruntime.get_available_providers())


def _open_onnxruntime(path: Path, threads: int, providers: list[str] | None) -> Runner:
    available = _providers_here()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # The arena keeps the peak of the largest network for ever; without it memory goes back between stages.
    options.enable_cpu_mem_arena = False
    preferred = providers or [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=preferred)
    except Exception as error:  # onnxruntime raises several classes of its own, all plain Exceptions
        raise ModelError(f"ONNX Runtime cannot open {path}: {error}") from error
    return lambda names, inputs: session.run(list(names), dict(inputs))


def in_int8(arithmetic: Arithmetic = "auto") -> bool:
    """Whether networks that have limits compute in eight bits. On ARM this would be slower, not faster."""
    return arithmetic == "int8" or arithmetic == "auto" and platform.machine().lower() in ("x86_64", "amd64")


@lru_cache(maxsize=1)
def _all_limits() -> dict[str, dict[str, Any]]:
    resource = files("cardioscan.backends").joinpath("int8.json")
    if not resource.is_file():
        return {}
    content: dict[str, dict[str, Any]] = json.loads(resource.read_text(encoding="utf-8"))
    return content


def limits_of(model: str, sha256: str) -> dict[str, tuple[float, float]]:
    """The limits of a network's convolutions (``cardioscan.backends.quantization.Limits``).

    Args:
        model: its name.
        sha256: hash of its ONNX file; empty where nobody looked. Limits of other weights would be wrong ones.

    Returns:
        What ``cardioscan calibrate`` found; empty where there are none for these weights.
    """
    entry = _all_limits().get(model, {})
    if not sha256 or entry.get("sha256") != sha256:
        return {}
    return {name: (float(low), float(high)) for name, (low, high) in entry["limits"].items()}


def computes_in(arithmetic: Arithmetic = "auto") -> str:
    """What OpenVINO, which must be installed, computes the released networks in on this machine."""
    if in_int8(arithmetic):
        return "int8"
    return "bfloat16" if arithmetic != "float32" and _has_bfloat16(openvino_core()) else "float32"


def _has_bfloat16(core: Any) -> bool:
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _open_openvino(model: str, path: Path, sha256: str, threads: int, limits: Limits, bfloat16: bool) -> Runner:
    # Pinned threads of several processes would all sit on the first cores.
    properties: dict[str, Any] = {"NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
    if threads:
        properties["INFERENCE_NUM_THREADS"] = threads
    core = openvino_core()
    try:
        properties["INFERENCE_PRECISION_HINT"] = "bf16" if bfloat16 and _has_bfloat16(core) else "f32"
        opened = _compiled(core, model, path, sha256, limits, properties)
    except Exception as error:  # openvino raises plain RuntimeErrors
        raise ModelError(f"OpenVINO cannot open {path}: {error}") from error

    lock = threading.Lock()
    running = 0

    def run(names: Sequence[str], inputs: Tensors) -> list[NDArray[Any]]:
        nonlocal running
        compiled, _ = opened  # the memory that it may use lives as long as this function
        with lock:
            running += 1
        try:
            # A request of its own for every call, in which threads cannot meet.
            request = compiled.create_infer_request()
            request.infer(dict(inputs), share_inputs=True)
            answers = [np.array(request.get_tensor(name).data) for name in names]
            del request
            return answers
        finally:
            with lock:
                running -= 1
                # Or the peak of the largest network stays for ever; half a gigabyte, given back in 0.04 s.
                if not running and hasattr(compiled, "release_memory"):
                    compiled.release_memory()

    return run


@lru_cache(maxsize=1)
def _quantization_hash() -> str:
    source = files("cardioscan.backends").joinpath("quantization.py")
    return hashlib.sha256(source.read_bytes() if source.is_file() else b"").hexdigest()


def _compiled(
    core: Any, model: str, path: Path, sha256: str, limits: Limits, properties: Mapping[str, Any]
) -> tuple[Any, NDArray[np.uint8] | None]:
    """The network as OpenVINO computes it: from the cache, else compiled, and stored there if its weights are known.

    Returns:
        It, and the memory that it may use as long as it lives.
    """
    openvino = _import_openvino()
    folder = cache_folder() if sha256 else None
    if folder is not None:
        made_from = {
            "weights": sha256,
            "limits": limits,
            "precision": properties["INFERENCE_PRECISION_HINT"],
            "quantise": _quantization_hash(),
            "openvino": openvino.__version__,
            "processor": [core.get_property("CPU", key) for key in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")],
        }
        name = entry_name(model, made_from)
        kept = load(folder, name)
        if kept is not None:
            with contextlib.suppress(RuntimeError):  # whatever it does not like about it, compiling will do
                return core.import_model(openvino.Tensor(kept, shared_memory=True), "CPU", properties), kept
    network = core.read_model(path)
    if limits:
        quantise(network, limits)
    compiled = core.compile_model(network, "CPU", properties)
    if folder is not None:
        store(folder, name, compiled.export_model().getvalue())
    return compiled, None


@lru_cache(maxsize=1)
def _made_core() -> Any:
    return _import_openvino().Core()


def openvino_core() -> Any:
    """The one ``openvino.Core`` of this process, which may be used from several threads.

    Each that is made gives the thread that makes it a stack for its signal handlers and, at its end, puts back the
    stack that was there before. Of two, the one made later so puts back a stack that may be gone, and then Ctrl-C is
    a segmentation fault.

    Raises:
        ModelError: OpenVINO cannot be loaded.
    """
    with _MAKING:  # `lru_cache` lets two threads that come at once make two
        try:
            return _made_core()
        except RuntimeError as error:
            raise ModelError(f"OpenVINO does not start: {error}. Reinstall or remove the package openvino") from error


def _import_openvino() -> Any:
    """The package, without the usage statistics that its model converter (not used here) may send to its makers."""
    reporter = "openvino_telemetry"
    with _IMPORTING:  # of threads that open networks, one would take away what another has put there
        known = sys.modules.get(reporter, _ABSENT)
        if known is _ABSENT:
            sys.modules[reporter] = None  # type: ignore[assignment]  # Python's way to say "not there": a stub is used
        try:
            import openvino
        except ImportError as error:
            raise ModelError(
                f"OpenVINO cannot be loaded: {error}. Reinstall the package openvino, or remove it"
            ) from error
        finally:
            if known is _ABSENT:
                sys.modules.pop(reporter, None)
    return openvino
