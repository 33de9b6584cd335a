"""Reaching a Triton server over gRPC: its address and options, the channel, the arguments of requests, what failed."""

from __future__ import annotations

import logging
import os
import re
import socket
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np

from cardioscan.backends.inference import Tensors
from cardioscan.backends.specs import DIGITIZER, SPECS
from cardioscan.errors import MissingDependencyError, ModelContractError, ServerUnavailableError, ServingError
from cardioscan_client.contract import TRITON_TYPES
from cardioscan_client.deadline import Deadline
from cardioscan_client.faults import Cause, classify, explain
from cardioscan_client.shared_memory import Region
from cardioscan_client.shared_tensors import SharedTensors, write_inputs
from cardioscan_client.steps import Ask, Steps

SharedMemory: TypeAlias = Literal["auto", "always", "never"]
Compression: TypeAlias = Literal["auto", "always", "answers", "never"]

COMPRESSION_VARIABLE: Final = "CARDIOSCAN_COMPRESSION"
"""Environment variable that settles ``TritonOptions.compression`` where that is ``auto``."""

_LOG = logging.getLogger(__name__)
_ADDRESS: Final = re.compile(r"(\[[0-9a-fA-F:]+\]|[^\s:/\[\]]+):(\d{1,5})")
_HEALTH_TIMEOUT_S: Final = 5.0
_QUEUE_SHARE: Final = 0.9
"""Share of the time left that a request may spend in the server's queue: its "no" must arrive before our deadline."""


@dataclass(frozen=True)
class TritonOptions:
    """How a server is reached.

    Attributes:
        address: ``HOST:PORT`` of its gRPC interface.
        page_timeout_s: time for a page with all its requests, in ``ServedDigitizer``; None sets no limit.
        request_timeout_s: time for one request with its repetitions.
        reconnect_s: how long to wait, within these times, for a server that went away to be ready again.
        tls: encrypt.
        ca_file: PEM certificates to trust; None trusts those of gRPC. Giving one implies ``tls``.
        cert_file, key_file: this client's own PEM certificate and key, where the server asks for one.
        token: sent as ``authorization: Bearer TOKEN`` for a proxy, and as ``triton-grpc-protocol-token`` for a Triton
            with restricted protocols whose key is ``token``.
        keepalive_s: pings keep an idle connection from being dropped. A Triton with its own defaults ends connections
            that ping more often than every 300 s.
        shared_memory: whether tensors go through shared memory instead of messages. ``auto``: where the server is on
            this machine and offers it; ``always``: an error where it does not; ``never``.
        shared_memory_regions: how many requests at once may use it, 26 MB each; further ones travel in messages.
        compression: what is compressed: ``always`` requests and answers, ``answers`` only these (and only by a server
            that is set to), ``never`` nothing; ``auto``: as ``$CARDIOSCAN_COMPRESSION`` says, else everything where
            the server is on another machine. Requests cost the client 0.6 to 1.9 s of CPU time a page, so that
            ``answers`` is faster from 50 Mbit/s on.
    """

    address: str
    page_timeout_s: float | None = 120.0
    request_timeout_s: float = 60.0
    reconnect_s: float = 60.0
    tls: bool = False
    ca_file: str | Path | None = None
    cert_file: str | Path | None = None
    key_file: str | Path | None = None
    token: str | None = None
    keepalive_s: float = 330.0
    shared_memory: SharedMemory = "auto"
    shared_memory_regions: int = 8
    compression: Compression = "auto"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("shared_memory", self.shared_memory, get_args(SharedMemory)),
            ("compression", self.compression, get_args(Compression)),
            (COMPRESSION_VARIABLE, _compression_by_environment(), get_args(Compression)),
        ):
            if value not in known:
                raise ServingError(f"{name} is one of {', '.join(known)}, not {value!r}")

    def compresses(self, what: Literal["requests", "answers"]) -> bool:
        """Whether these messages are to be compressed, where they hold tensors."""
        chosen = _compression_by_environment() if self.compression == "auto" else self.compression
        if chosen == "auto":
            return not is_on_this_machine(self.address)
        return chosen == "always" or (chosen == "answers" and what == "answers")

    def shared_tensors(self) -> SharedTensors:
        """The shared memory of a new client."""
        required = self.shared_memory == "always"
        wanted = required or (self.shared_memory == "auto" and is_on_this_machine(self.address))
        return SharedTensors(wanted, required, self.shared_memory_regions)

    @property
    def encrypted(self) -> bool:
        """Whether the connection uses TLS."""
        return self.tls or self.ca_file is not None or self.cert_file is not None

    def headers(self) -> dict[str, str]:
        """What every request carries besides its content."""
        if not self.token:
            return {}
        return {"authorization": f"Bearer {self.token}", "triton-grpc-protocol-token": self.token}


@lru_cache(maxsize=64)
def is_on_this_machine(address: str) -> bool:
    """Whether ``HOST:PORT`` is an address of this machine; a tunnel that begins here looks so too."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        places = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except OSError:
        return False
    for family, kind, _, _, place in places:
        with socket.socket(family, kind) as probe:
            try:
                probe.bind(place)  # port 0; no other machine's address can be had
            except OSError:
                return False
    return bool(places)


def message_limit() -> int:
    """Bytes that a gRPC message may have: the largest batch of a network, either way, or picture, and its frame."""
    sizes = [
        spec.max_batch * sum(int(np.prod(tensor.shape)) * np.dtype(tensor.dtype).itemsize for tensor in tensors)
        for spec in SPECS.values()
        for tensors in (spec.inputs, spec.outputs)
    ]
    return max(*sizes, DIGITIZER.max_bytes) + (1 << 20)


def connect(options: TritonOptions, asynchronous: bool = False) -> tuple[Any, Any]:
    """The module ``tritonclient.grpc``, or ``tritonclient.grpc.aio``, and its ``InferenceServerClient`` for a server.

    Raises:
        ServerUnavailableError: the address is none, or a certificate file does not exist.
        MissingDependencyError: tritonclient is not installed.
    """
    if not _ADDRESS.fullmatch(options.address):
        raise ServerUnavailableError(f"'{options.address}' is no address of a server: write HOST:PORT, without http://")
    for file in (options.ca_file, options.cert_file, options.key_file):
        if file is not None and not Path(file).is_file():
            raise ServerUnavailableError(f"the certificate file {file} does not exist")
    try:
        module = import_module("tritonclient.grpc.aio" if asynchronous else "tritonclient.grpc")
    except ImportError as error:
        raise MissingDependencyError("tritonclient", "client", "Digitizing on a server") from error
    if options.token and not options.encrypted:
        _LOG.warning("the token travels to %s unencrypted; use TLS", options.address)
    # These replace tritonclient's own arguments, its message sizes among them.
    channel = [
        ("grpc.max_send_message_length", message_limit()),
        ("grpc.max_receive_message_length", message_limit()),
        ("grpc.keepalive_time_ms", int(options.keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 0),
        # A server that is restarted should be found again within seconds, not within gRPC's two minutes.
        ("grpc.min_reconnect_backoff_ms", 200),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 2000),
    ]
    if not options.compresses("answers"):
        channel.append(("grpc.compression_enabled_algorithms_bitset", 1))  # asks the server not to, either
    return module, module.InferenceServerClient(
        url=options.address,
        ssl=options.encrypted,
        root_certificates=_text(options.ca_file),
        certificate_chain=_text(options.cert_file),
        private_key=_text(options.key_file),
        channel_args=channel,
    )


def time_arguments(deadline: Deadline) -> dict[str, Any]:
    """Arguments of ``infer`` for the time left: in the server's queue (ecg_digitizer: and for the work), and in all."""
    left = max(deadline.remaining(), 1e-3)
    return {"timeout": max(1, int(left * _QUEUE_SHARE * 1e6)), "client_timeout": left}  # microseconds, seconds


def infer_arguments(
    client: Any, model: str, inputs: Tensors, deadline: Deadline, options: TritonOptions, region: Region | None
) -> dict[str, Any]:
    """Arguments of ``infer`` for a request that has until ``deadline``.

    Args:
        client: the module ``tritonclient.grpc`` or ``tritonclient.grpc.aio``.
        model: name of the network.
        inputs: arrays by tensor name.
        deadline: of the request.
        options: how the server is reached.
        region: shared memory for the tensors; None puts them into the message.
    """
    spec = SPECS[model]
    if region is not None:
        tensors, wanted = write_inputs(client, model, inputs, region)
    else:
        tensors, wanted = [], [client.InferRequestedOutput(tensor.name) for tensor in spec.outputs]
        for tensor in spec.inputs:
            array = np.asarray(inputs[tensor.name])
            given = client.InferInput(tensor.name, list(array.shape), TRITON_TYPES[tensor.dtype])
            given.set_data_from_numpy(array)
            tensors.append(given)
    return {
        "model_name": model,
        "inputs": tensors,
        "model_version": str(spec.version),
        "outputs": wanted,
        "headers": options.headers(),
        "compression_algorithm": "deflate" if options.compresses("requests") and region is None else None,
        **time_arguments(deadline),
    }


def health_questions(client: Any, deadline: Deadline, options: TritonOptions) -> Ask:
    """Makes the steps of questions about health and models, which are answered soon or not at all.

    Args:
        client: tritonclient's ``InferenceServerClient``, synchronous or asyncio.
        deadline: of the request that needs the answers.
        options: how the server is reached.
    """
    timeout_s = max(min(_HEALTH_TIMEOUT_S, deadline.remaining()), 1e-3)
    common = {"headers": options.headers(), "client_timeout": timeout_s}
    return lambda method, *arguments: partial(getattr(client, method), *arguments, **common)


def check_ready(ask: Ask, address: str) -> Steps[None]:
    """Raise ``ServerUnavailableError`` unless the server at ``address`` says that it is ready."""
    if not (yield ask("is_server_ready")):
        raise explain(Cause.NOT_READY, "it answers, but is not ready", address, "digitizing")


def health_error(error: Any, address: str) -> ServingError:
    """The typed error for one that came instead of health or metadata."""
    cause = classify(error.status(), error.message())
    if cause is Cause.CONTRACT:
        wanted = ", ".join(f"{name} version {spec.version}" for name, spec in SPECS.items())
        return ModelContractError(
            f"the server at {address} does not serve what this client was made for: {error.message()}. "
            f"Wanted are {wanted}; client and server must be of the same release"
        )
    if cause is Cause.DEADLINE:
        return ServerUnavailableError(f"the server at {address} does not answer in time: is it busy?")
    return explain(cause, error.message(), address, "digitizing")


def _compression_by_environment() -> str:
    return os.environ.get(COMPRESSION_VARIABLE) or "auto"


def _text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)
