"""Running the networks: the ``InferenceBackend`` protocol and the in-process ONNX Runtime one."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cardioscan.errors import ModelError
from cardioscan.specs import SPECS, check_model_file, find_model_file

Tensors = Mapping[str, NDArray[Any]]


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
    """The networks in this process, on ONNX Runtime.

    Sessions are opened on first use and shared by threads. Weights are stored as float16 and computed in float32.

    Args:
        repository: a model repository; None looks where ``cardioscan.specs.repository_candidates`` says.
        threads: threads of the arithmetic; 0 uses all cores.
        verify: compare each file's SHA-256 with the release when it is opened.
        providers: ONNX Runtime execution providers; None takes CUDA where the installed runtime has it, else the CPU.
    """

    def __init__(
        self,
        repository: str | Path | None = None,
        threads: int = 0,
        verify: bool = True,
        providers: list[str] | None = None,
    ) -> None:
        self._repository, self._threads, self._verify, self._providers = repository, threads, verify, providers
        self._sessions: dict[str, Any] = {}
        self._hashes: dict[str, str] = {}
        self._lock = threading.Lock()

    def infer(self, model: str, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Run a network; raises ``ModelError`` when its file or the inputs do not fit."""
        check_tensors(model, inputs)
        session = self._session(model)
        names = [tensor.name for tensor in SPECS[model].outputs]
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    def model_versions(self) -> dict[str, tuple[str, str]]:
        """Version and SHA-256 (empty where it was not verified) of each model opened so far."""
        with self._lock:
            return {name: (str(SPECS[name].version), digest) for name, digest in sorted(self._hashes.items())}

    def _session(self, model: str) -> Any:
        with self._lock:
            if model not in self._sessions:
                path = find_model_file(model, self._repository)
                assert path is not None  # find_model_file raises unless missing_ok
                self._hashes[model] = check_model_file(model, path) if self._verify else ""
                self._sessions[model] = self._open(path)
            return self._sessions[model]

    def _open(self, path: Path) -> Any:
        try:
            import onnxruntime
        except ImportError as error:  # installed but broken, for it is a core dependency
            raise ModelError(f"ONNX Runtime cannot be loaded: {error}. Reinstall the package onnxruntime") from error
        onnxruntime.disable_telemetry_events()  # where a build has them, nothing is to leave a hospital's machine
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 3
        # The arena keeps the peak of the largest network for ever; without it memory goes back between stages.
        options.enable_cpu_mem_arena = False
        available = onnxruntime.get_available_providers()
        preferred = self._providers or [
            name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available
        ]
        try:
            return onnxruntime.InferenceSession(str(path), options, providers=preferred)
        except Exception as error:  # onnxruntime raises several classes of its own, all plain Exceptions
            raise ModelError(f"ONNX Runtime cannot open {path}: {error}") from error
