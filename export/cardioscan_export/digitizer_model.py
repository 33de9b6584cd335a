"""The model ``ecg_digitizer``: the whole pipeline inside Triton's Python backend, calling the networks beside it.

It runs the same ``Digitizer`` as every client does, over an ``InferenceBackend`` whose requests stay in the server
(Triton calls this business logic scripting, BLS). It answers once per request and is not decoupled, for a decoupled
model can be called neither over HTTP nor by an ordinary unary gRPC request.

What a caller gets:

* an answer with outcome ``digitized`` or ``refused``: whatever the picture is, that is no error;
* ``INVALID_ARGUMENT`` with ``bad_request: ...``: the request itself is wrong, sending it again is no use;
* ``UNAVAILABLE`` with ``server_overloaded: ...``, ``deadline_exceeded: ...`` or ``server_unavailable: ...``;
* ``CANCELLED``: the caller had gone; ``INTERNAL`` with ``internal_error: ...``: a fault of the server.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from cardioscan.backends.inference import Tensors, check_tensors
from cardioscan.backends.specs import DIGITIZER, PAGE_PARAMETER, PROFILE_PARAMETER, SPECS, NetworkSpec, PipelineSpec
from cardioscan.errors import (
    DeadlineExceededError,
    ModelContractError,
    ServerOverloadedError,
    ServerUnavailableError,
    ServingError,
)
from cardioscan.formats import select_writers
from cardioscan.imaging.images import ImageLimits
from cardioscan.options import PROFILES
from cardioscan.pipeline import Digitizer, DigitizerOptions, import_stages
from cardioscan.record import EcgRecord
from cardioscan_export.cpu_model import silence_capsules
from cardioscan_export.pbtxt import contract_differences

_MESSAGES: Final[tuple[tuple[str, type[ServingError]], ...]] = (
    ("exceeds maximum queue size", ServerOverloadedError),
    ("request timeout expired", ServerOverloadedError),
    ("not ready", ServerUnavailableError),
    ("not at ready state", ServerUnavailableError),
    ("no available versions", ServerUnavailableError),
    ("not found", ServerUnavailableError),
    ("exiting", ServerUnavailableError),
    ("stub process", ServerUnavailableError),
)
"""What a network's error means. A request within the server loses the status and keeps the message."""


class _BadRequestError(ServingError):
    """The request cannot be understood."""


class _CancelledError(ServingError):
    """The caller no longer waits."""


class BlsBackend:
    """The networks of this server, for one page: an ``InferenceBackend`` whose requests do not leave the process group.

    Args:
        request: Triton's request for the page; once its caller has gone, no further network is asked.
        seconds: time for the page.
        released: whether the networks are the released ones, whose hashes the record may state.
    """

    def __init__(self, request: Any, seconds: float, released: bool = True) -> None:
        self._request, self._seconds, self._released = request, seconds, released
        self._end = time.monotonic() + seconds
        self._used: set[str] = set()

    def infer(self, model: str, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Run a network; the arrays that come back are the caller's own.

        Raises:
            ModelError: the inputs do not fit the spec.
            DeadlineExceededError: the time for the page is over.
            ServingError: one of its kinds: the network is overloaded, not ready, or another one.
        """
        check_tensors(model, inputs)
        if self._request.is_cancelled():
            raise _CancelledError("the caller of this page has gone")
        left = self._end - time.monotonic()
        if left <= 0:
            raise DeadlineExceededError(f"the page was not done within {self._seconds:g} s: allow more, or less load")
        spec = SPECS[model]
        answer = pb_utils.InferenceRequest(
            model_name=model,
            model_version=spec.version,
            inputs=[_tensor(tensor.name, inputs[tensor.name]) for tensor in spec.inputs],
            requested_output_names=[tensor.name for tensor in spec.outputs],
            timeout=max(1, int(left * 1e6)),  # microseconds, in the network's queue
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU),
        ).exec()
        if answer.has_error():
            raise _trouble(model, answer.error().message())
        outputs = _checked(spec, answer)
        self._used.add(model)
        return outputs

    def model_versions(self) -> dict[str, tuple[str, str]]:
        """Version and SHA-256 (empty for weights that are not the released ones) of each network that was used."""
        return {
            name: (str(SPECS[name].version), SPECS[name].sha256 if self._released else "")
            for name in sorted(self._used)
        }


class TritonPythonModel:
    """One instance, which Triton runs in a process of its own: one page at a time."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the parameters; raises ``TritonModelException`` where the repository is of another release."""
        silence_capsules()
        import_stages()
        config = json.loads(args["model_config"])
        settings = {key: value["string_value"] for key, value in config["parameters"].items()}
        self.released = settings["released_networks"] == "yes"
        _check_contract(Path(args["model_repository"]).parent, self.released)
        if int(settings["threads"]) > 0:
            cv2.setNumThreads(int(settings["threads"]))
        limits = ImageLimits(max_bytes=int(settings["max_bytes"]), max_pixels=int(settings["max_pixels"]))
        self.options = {name: DigitizerOptions.of_profile(name, limits=limits) for name in PROFILES}
        self.profile = settings["profile"]
        if self.profile not in PROFILES:
            raise pb_utils.TritonModelException(f"unknown profile {self.profile!r}: there are {', '.join(PROFILES)}")
        self.page_timeout_s = float(settings["page_timeout_s"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request; an error of one is the trouble of that one alone."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            record = self._digitize(request)
            return pb_utils.InferenceResponse([_tensor(name, value) for name, value in _outputs(record).items()])
        except _CancelledError as error:
            return _error(pb_utils.TritonError.CANCELLED, "cancelled", error)
        except _BadRequestError as error:
            return _error(pb_utils.TritonError.INVALID_ARG, "bad_request", error)
        except DeadlineExceededError as error:
            return _error(pb_utils.TritonError.UNAVAILABLE, "deadline_exceeded", error)
        except ServerOverloadedError as error:
            return _error(pb_utils.TritonError.UNAVAILABLE, "server_overloaded", error)
        except ServerUnavailableError as error:
            return _error(pb_utils.TritonError.UNAVAILABLE, "server_unavailable", error)
        except Exception as error:  # whatever it is, the other requests and the server live on
            pb_utils.Logger.log_error(f"ecg_digitizer: {type(error).__name__}: {error}")
            return _error(pb_utils.TritonError.INTERNAL, "internal_error", error)

    def _digitize(self, request: Any) -> EcgRecord:
        image = np.from_dlpack(pb_utils.get_input_tensor_by_name(request, DIGITIZER.inputs[0].name))
        # The time that a request asks for is for the queue; it is also the best guess of how long its caller waits.
        asked = request.timeout() / 1e6
        seconds = min(asked, self.page_timeout_s) if asked > 0 else self.page_timeout_s
        backend = BlsBackend(request, seconds, self.released)
        page, profile = _asked_for(request, self.profile)
        return Digitizer(backend, self.options[profile]).digitize(image.tobytes(), page)


def _asked_for(request: Any, profile: str) -> tuple[int, str]:
    """The page from 0, and the profile, which is ``profile`` where the request names none."""
    parameters = json.loads(request.parameters() or "{}")
    page, profile = parameters.get(PAGE_PARAMETER, 0), parameters.get(PROFILE_PARAMETER, profile)
    if type(page) is not int:  # a bool is no page
        raise _BadRequestError(f"the parameter '{PAGE_PARAMETER}' must be a whole number from 0, not {page!r}")
    if profile not in PROFILES:
        raise _BadRequestError(
            f"the parameter '{PROFILE_PARAMETER}' must be one of {', '.join(PROFILES)}, not {profile!r}"
        )
    return page, profile


def _outputs(record: EcgRecord) -> dict[str, NDArray[Any]]:
    """The tensors of ``DIGITIZER``."""
    report = record.to_json_dict()
    (content,) = select_writers(("json",))[0].files(record).values()
    arrays: dict[str, NDArray[Any]] = {
        "signals": record.signals.astype(np.float32),
        "confidence": record.confidence,
        "lead_confidence": np.array(list(record.lead_confidence().values()), np.float32),
        "outcome": _text(record.outcome.value.encode()),
        "reasons": _text(json.dumps(report["reasons"], ensure_ascii=False).encode("utf-8", "backslashreplace")),
        "record": _text(content),
    }
    return {tensor.name: arrays[tensor.name] for tensor in DIGITIZER.outputs}


def _text(content: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(content, np.uint8)


def _tensor(name: str, array: NDArray[Any]) -> Any:
    """A tensor by DLPack, which works whatever NumPy the backend was built against; it takes no read-only array."""
    whole = np.require(array, requirements=("C", "W"))
    return pb_utils.Tensor.from_dlpack(name, whole)


def _checked(spec: NetworkSpec, answer: Any) -> dict[str, NDArray[Any]]:
    """Copies of a network's outputs by name; raises ``ModelContractError`` where they are not what the spec says."""
    outputs = {}
    for tensor in spec.outputs:
        # A copy, for the memory that the server shares with this process goes with the answer.
        array = np.array(np.from_dlpack(pb_utils.get_output_tensor_by_name(answer, tensor.name)))
        if array.dtype != np.dtype(tensor.dtype) or array.shape[1:] != tensor.shape:
            raise ModelContractError(
                f"{spec.name}: output '{tensor.name}' is {array.dtype} {array.shape}, not {tensor.dtype} "
                f"(batch, {', '.join(map(str, tensor.shape))}): the network is of another release"
            )
        outputs[tensor.name] = array
    return outputs


def _trouble(model: str, message: str) -> ServingError:
    text = message.lower()
    kind = next((kind for fragment, kind in _MESSAGES if fragment in text), ServingError)
    return kind(f"{model}: {message}")


def _error(code: Any, word: str, error: Exception) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"{word}: {error}", code))


def _check_contract(repository: Path, released_networks: bool) -> None:
    """Hold the repository against the specs of the installed CardioScan.

    The networks cannot be asked yet, for models are loaded side by side, so their configurations are read. Where a
    repository is fetched model by model (from a bucket) they are not here; then only their answers are checked.
    """
    specs: list[NetworkSpec | PipelineSpec] = [DIGITIZER, *SPECS.values()]
    for spec in specs:
        path = repository / spec.name / "config.pbtxt"
        if not path.is_file():
            continue
        differences = contract_differences(spec, path.read_text(encoding="utf-8"), weights=released_networks)
        if differences:
            raise pb_utils.TritonModelException(
                f"{path} is not of the release that is installed here: {', '.join(differences)}. Write the repository "
                "again with 'cardioscan repository', and install the same release in the server's Python"
            )
