"""The ``model.py`` of the CPU flavour: one network on OpenVINO or ONNX Runtime inside Triton's Python backend.

``cardioscan_export.repository`` copies this file beside ``model.onnx``, with ``quantization.py`` and what that needs;
Triton runs it, nothing imports it. It needs NumPy and OpenVINO or ONNX Runtime and no CardioScan, so that the
repository stands on its own. Which of the two is
taken, and how it is set, is as in ``cardioscan.backends.inference``: a page is to give the same signals here and there.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

_CANCELLED = "the request was cancelled before its turn came"
_NOISE = "PyCapsule_GetPointer called with incorrect name"


def silence_capsules() -> None:
    """Keep one harmless complaint out of the log, which would come with every answer.

    The backend marks the DLPack capsules that it has consumed with a name that NumPy does not know. NumPy's destructor
    then complains and leaves the memory alone, as it should: the backend frees it.
    """
    report = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != _NOISE:
            report(unraisable)

    sys.unraisablehook = hook


def _neighbour(path: Path, name: str) -> Any:
    """The Python file of that name beside ``path``; the interpreter's own search path is Triton's affair."""
    spec = importlib.util.spec_from_file_location(f"cardioscan_{name}", path.with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None  # for a path there always are
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TritonPythonModel:
    """One network. Triton makes an object of this class per instance and calls it from one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the session; raises ``TritonModelException`` where the file is not the one that was released."""
        silence_capsules()
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        found, wanted = hashlib.sha256(path.read_bytes()).hexdigest(), parameters.get("sha256", "")
        if wanted and found != wanted:
            raise pb_utils.TritonModelException(f"{path} has the SHA-256 {found}, not {wanted}: copy it again")
        threads = int(parameters.get("threads", "0"))
        if importlib.util.find_spec("openvino") is not None:
            self._run_page = self._open_openvino(path, threads, parameters.get("arithmetic", "auto"))
        else:
            self._run_page = self._open_onnxruntime(path, threads)
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [tensor["name"] for tensor in config["output"]]

    def _open_onnxruntime(self, path: Path, threads: int) -> Callable[[dict[str, NDArray[Any]]], list[NDArray[Any]]]:
        import onnxruntime

        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # As in the embedded backend: the arena would keep the peak of the largest page for ever.
        options.enable_cpu_mem_arena = False
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda page: session.run(self.outputs, page)

    def _open_openvino(
        self, path: Path, threads: int, arithmetic: str
    ) -> Callable[[dict[str, NDArray[Any]]], list[NDArray[Any]]]:
        # Not its usage statistics: nothing is to leave a hospital's machine.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        import openvino

        core = openvino.Core()
        network = core.read_model(path)
        limits = json.loads(path.with_name("limits.json").read_text(encoding="utf-8"))
        whole = arithmetic == "int8" or arithmetic == "auto" and platform.machine().lower() in ("x86_64", "amd64")
        if whole and limits:
            _neighbour(path, "quantization").quantise(network, limits)
        bfloat16 = arithmetic != "float32" and not (whole and limits)
        can = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        properties: dict[str, Any] = {
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 and can else "f32",
            "ENABLE_CPU_PINNING": False,
            **({"INFERENCE_NUM_THREADS": threads} if threads else {}),
        }
        compiled = core.compile_model(network, "CPU", properties)

        def run(page: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
            request = compiled.create_infer_request()
            request.infer(page, share_inputs=True)
            answers = [np.array(request.get_tensor(name).data) for name in self.outputs]
            del request
            if hasattr(compiled, "release_memory"):
                compiled.release_memory()
            return answers

        return run

    def execute(self, requests: list[Any]) -> None:
        """Answer each request as soon as it is done; an error of one is the trouble of that one alone."""
        for request in requests:
            request.get_response_sender().send(self._answer(request), pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def _answer(self, request: Any) -> Any:
        if request.is_cancelled():
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(_CANCELLED, pb_utils.TritonError.CANCELLED))
        try:
            # DLPack, because `as_numpy` of a backend that was built against NumPy 1 gives nothing under NumPy 2.
            given = {name: np.from_dlpack(pb_utils.get_input_tensor_by_name(request, name)) for name in self.inputs}
            made = self._run(given)
            tensors = [pb_utils.Tensor.from_dlpack(name, made[name]) for name in self.outputs]
        except Exception as error:  # whatever it is, the other requests and the server live on
            message = f"{type(error).__name__}: {error}"
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, pb_utils.TritonError.INTERNAL))
        return pb_utils.InferenceResponse(output_tensors=tensors)

    def _run(self, given: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the pages of a request one by one: on a CPU a batch is no faster and its memory adds up."""
        n_pages = len(next(iter(given.values())))
        pages = [
            self._run_page({name: array[page : page + 1] for name, array in given.items()}) for page in range(n_pages)
        ]
        if n_pages == 1:
            return dict(zip(self.outputs, pages[0], strict=True))
        return {name: np.concatenate(parts) for name, parts in zip(self.outputs, zip(*pages, strict=True), strict=True)}
