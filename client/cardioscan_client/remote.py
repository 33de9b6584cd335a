"""Digitizing by the model ``ecg_digitizer`` of a Triton server: a picture goes there, a record comes back."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cardioscan.backends.specs import DIGITIZER, PAGE_PARAMETER, PROFILE_PARAMETER
from cardioscan.errors import CardioscanError, ImageError, ModelContractError, RefusalCode
from cardioscan.options import PROFILES
from cardioscan.page.layout import Layout
from cardioscan.page.leads import LEADS, RECORD_SAMPLES
from cardioscan.record import Calibration, EcgRecord, ModelUse, Outcome, Reason
from cardioscan_client.connection import (
    TritonOptions,
    check_ready,
    connect,
    health_error,
    message_limit,
    time_arguments,
)
from cardioscan_client.contract import TRITON_TYPES, check_contract
from cardioscan_client.deadline import Deadline, request_deadline
from cardioscan_client.faults import Cause, classify, client_error
from cardioscan_client.steps import Steps, run_steps
from cardioscan_client.triton_client import RetryingClient

FileSource = str | os.PathLike[str] | bytes
"""A path, or the encoded bytes of a file."""

_MESSAGE_FRAME: Final = 1 << 16


class RemoteDigitizer(RetryingClient):
    """Digitizes pages on a server that does everything, over one gRPC channel that threads may share.

    The served model is compared with its spec at once. A page is sent again at most twice, inside its deadline, where
    the cause may pass, as ``TritonBackend`` does with its requests.

    Args:
        server: its address ``HOST:PORT``, or how to reach it; ``page_timeout_s`` is the time for a page with its
            repetitions (None: ``request_timeout_s``).
        rng: source of the jitter; None makes one.
        profile: one of ``cardioscan.options.PROFILES``; None leaves it to the server. What the networks compute
            in is the server's choice whatever the profile.

    Raises:
        MissingDependencyError: tritonclient is not installed.
        ServerUnavailableError: no server answers there, or the model is not ready.
        ModelContractError: the server has no ``ecg_digitizer``, or that of another release.
        CardioscanError: there is no such profile.
        DeadlineExceededError, ServerOverloadedError: it answers too late, or has too much to do.
    """

    def __init__(
        self, server: str | TritonOptions, rng: np.random.Generator | None = None, profile: str | None = None
    ) -> None:
        if profile is not None and profile not in PROFILES:
            raise CardioscanError(f"unknown profile {profile!r}; there are {', '.join(PROFILES)}")
        super().__init__(server, rng)
        self.profile = profile
        self.max_bytes = DIGITIZER.max_bytes
        self._grpc, self._client = connect(self.options)
        try:
            run_steps(self._check_server(self._deadline()))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RemoteDigitizer:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def digitize(self, source: FileSource, page: int = 0) -> EcgRecord:
        """Digitize one page.

        Args:
            source: a path, or the bytes of a file.
            page: which page of a PDF or TIFF, from 0.

        Returns:
            The record as ``Digitizer.digitize`` makes it, its signals rounded to float32; refused where the page cannot
            be read.

        Raises:
            ServingError: one of its kinds, as for the constructor.
        """
        name = "page" if isinstance(source, bytes) else Path(source).stem
        try:
            data = _encoded(source, self.max_bytes)
        except ImageError as error:
            return EcgRecord.refused(name, [Reason.from_error(error)], source=name)
        return _record(name, run_steps(self._digitize(data, page)))

    def _digitize(self, data: bytes, page: int) -> Steps[dict[str, NDArray[Any]]]:
        deadline = self._deadline()

        def send() -> Steps[dict[str, NDArray[Any]]]:
            answer = yield partial(self._client.infer, **self._infer_arguments(data, page, deadline))
            return {tensor.name: answer.as_numpy(tensor.name) for tensor in DIGITIZER.outputs}

        return self._request(DIGITIZER.name, deadline, send)

    def _infer_arguments(self, data: bytes, page: int, deadline: Deadline) -> dict[str, Any]:
        (tensor,) = DIGITIZER.inputs
        image = self._grpc.InferInput(tensor.name, [len(data)], TRITON_TYPES[tensor.dtype])
        image.set_data_from_numpy(np.frombuffer(data, np.uint8))
        return {
            "model_name": DIGITIZER.name,
            "inputs": [image],
            "model_version": str(DIGITIZER.version),
            "outputs": [self._grpc.InferRequestedOutput(tensor.name) for tensor in DIGITIZER.outputs],
            "headers": self.options.headers(),
            "parameters": {PAGE_PARAMETER: int(page), **({PROFILE_PARAMETER: self.profile} if self.profile else {})},
            **time_arguments(deadline),
        }

    def _deadline(self) -> Deadline:
        return request_deadline(self.options.page_timeout_s or self.options.request_timeout_s)

    def _check_server(self, deadline: Deadline) -> Steps[None]:
        address, ask, version = self.options.address, self._ask(deadline), str(DIGITIZER.version)
        try:
            yield from check_ready(ask, address)
            metadata = yield ask("get_model_metadata", DIGITIZER.name, version)
            config = (yield ask("get_model_config", DIGITIZER.name, version)).config
        except client_error() as error:
            if classify(error.status(), error.message()) is Cause.CONTRACT:
                raise ModelContractError(
                    f"the server at {address} does not serve {DIGITIZER.name} version {version}: {error.message()}. "
                    "Write its repository with 'cardioscan repository', or use TritonBackend, which needs the networks"
                ) from error
            raise health_error(error, address) from error
        check_contract(DIGITIZER, metadata, config, address)
        accepted = int(config.parameters["max_bytes"].string_value or DIGITIZER.max_bytes)
        self.max_bytes = min(accepted, message_limit() - _MESSAGE_FRAME)


def digitize_remote(
    source: FileSource, server: str | TritonOptions, page: int = 0, profile: str | None = None
) -> EcgRecord:
    """Digitize one page on a server; ``RemoteDigitizer`` keeps the connection for further ones.

    Args:
        source: a path, or the bytes of a file.
        server: its address ``HOST:PORT``, or how to reach it.
        page: which page of a PDF or TIFF, from 0.
        profile: as for ``RemoteDigitizer``.

    Raises:
        ServingError: as ``RemoteDigitizer``.
    """
    with RemoteDigitizer(server, profile=profile) as digitizer:
        return digitizer.digitize(source, page)


def _encoded(source: FileSource, max_bytes: int) -> bytes:
    if isinstance(source, bytes):
        data = source
    else:
        try:
            with Path(source).open("rb") as file:
                data = file.read(max_bytes + 1)
        except (OSError, ValueError) as error:  # ValueError: a null character in the path
            raise ImageError(RefusalCode.FILE_NOT_FOUND, f"{str(source)!r} cannot be read: {error}") from error
    if len(data) > max_bytes:
        raise ImageError(
            RefusalCode.IMAGE_TOO_LARGE,
            f"the file has more than {max_bytes / 2**20:.3g} MiB, the largest size that the server takes",
        )
    return data


def _record(name: str, answer: dict[str, NDArray[Any]]) -> EcgRecord:
    """The record that ``record`` describes, with the arrays beside it and the name that it has here."""
    report = json.loads(answer["record"].tobytes())
    shape = (len(LEADS), RECORD_SAMPLES)
    return EcgRecord(
        name=name,
        signals=answer["signals"].astype(np.float64).reshape(shape),
        confidence=answer["confidence"].reshape(shape),
        outcome=Outcome(answer["outcome"].tobytes().decode()),
        reasons=tuple(Reason(**reason) for reason in report["reasons"]),
        source=name,
        source_category=report["source_category"],
        layout=None if report["layout"] is None else Layout.from_json_dict(report["layout"]),
        calibration=None if report["calibration"] is None else Calibration(**report["calibration"]),
        models=tuple(ModelUse(**model) for model in report["models"]),
        timings_s=report["timings_s"],
        heart_rate_bpm=report["heart_rate_bpm"],
        edits=tuple(report["edits"]),
        diagnostics=report["diagnostics"],
    )
