"""Reaching a Triton server over gRPC: its address and options, the channel, requests and answers, what failed.

All that ``TritonBackend`` and ``AsyncTritonBackend`` have in common. Nothing here waits or sends.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from cardioscan.backends.inference import Tensors
from cardioscan.backends.specs import DIGITIZER, SPECS
from cardioscan.errors import MissingDependencyError, ModelContractError, ServerUnavailableError, ServingError
from cardioscan_client.contract import TRITON_TYPES
from cardioscan_client.deadline import Deadline
from cardioscan_client.faults import MAX_RETRIES, RETRY, WAIT_AND_RETRY, Cause, backoff_s, classify, explain
from cardioscan_client.shared_memory import Region
from cardioscan_client.sharing import Sharing, fetch_answer, place_request

SharedMemory: TypeAlias = Literal["auto", "always", "never"]
Compression: TypeAlias = Literal["auto", "always", "answers", "never"]

COMPRESSION_VARIABLE: Final = "CARDIOSCAN_COMPRESSION"
"""Environment variable that settles ``TritonOptions.compression`` where that is ``auto``."""
RECONNECT_PAUSE_S: Final = 0.2
"""Mean order of the pauses between looks for a server that went away."""

_LOG = logging.getLogger(__name__)
_ADDRESS: Final = re.compile(r"(\[[0-9a-fA-F:]+\]|[^\s:/\[\]]+):(\d{1,5})")
_OVERLOAD_PAUSE_S: Final = 0.5
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

    def sharing(self) -> Sharing:
        """The shared memory of a new client."""
        required = self.shared_memory == "always"
        wanted = required or (self.shared_memory == "auto" and is_on_this_machine(self.address))
        return Sharing(wanted, required, self.shared_memory_regions)

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


def client_arguments(options: TritonOptions) -> dict[str, Any]:
    """Arguments of tritonclient's ``InferenceServerClient``, the same for its synchronous and asyncio ones.

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
        import tritonclient.grpc  # noqa: F401
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
    return {
        "url": options.address,
        "ssl": options.encrypted,
        "root_certificates": _text(options.ca_file),
        "certificate_chain": _text(options.cert_file),
        "private_key": _text(options.key_file),
        "channel_args": channel,
    }


def infer_arguments(
    client: Any,
    model: str,
    inputs: Tensors,
    deadline: Deadline,
    options: TritonOptions,
    region: Region | None = None,
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
        tensors, wanted = place_request(client, model, inputs, region)
    else:
        tensors, wanted = [], [client.InferRequestedOutput(tensor.name) for tensor in spec.outputs]
        for tensor in spec.inputs:
            array = np.asarray(inputs[tensor.name])
            given = client.InferInput(tensor.name, list(array.shape), TRITON_TYPES[tensor.dtype])
            given.set_data_from_numpy(array)
            tensors.append(given)
    left = max(deadline.remaining(), 1e-3)
    return {
        "model_name": model,
        "inputs": tensors,
        "model_version": str(spec.version),
        "outputs": wanted,
        "headers": options.headers(),
        "timeout": max(1, int(left * _QUEUE_SHARE * 1e6)),  # microseconds, in the server's queue
        "client_timeout": left,  # seconds, in all
        "compression_algorithm": "deflate" if options.compresses("requests") and region is None else None,
    }


def read_answer(model: str, inputs: Tensors, result: Any, region: Region | None = None) -> dict[str, NDArray[Any]]:
    """The outputs of an ``InferResult`` by name, from its message or from the region of its request; read-only."""
    if region is not None:
        return fetch_answer(model, inputs, region)
    return {tensor.name: result.as_numpy(tensor.name) for tensor in SPECS[model].outputs}


def health_arguments(deadline: Deadline, options: TritonOptions) -> dict[str, Any]:
    """Arguments of questions about health and models, which are answered soon or not at all."""
    return {
        "headers": options.headers(),
        "client_timeout": max(min(_HEALTH_TIMEOUT_S, deadline.remaining()), 1e-3),
    }


def health_trouble(error: Any, address: str) -> ServingError:
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


def next_try(
    error: Any, model: str, tries: int, deadline: Deadline, address: str, rng: np.random.Generator
) -> tuple[float, ServingError | None]:
    """Whether a request that failed may be sent again.

    Args:
        error: tritonclient's ``InferenceServerException``.
        model: name of the network.
        tries: how often the request was sent again so far.
        deadline: of the request.
        address: of the server.
        rng: source of the jitter.

    Returns:
        Seconds to wait first; and, where the server must then be ready again first, the error to raise should it
        not be, else None.

    Raises:
        ServingError: one of its kinds; the request is not sent again.
    """
    cause = classify(error.status(), error.message())
    if cause is Cause.DEADLINE:
        raise deadline.exceeded(f"{model} at {address}") from error
    trouble = explain(cause, error.message(), address, model)
    away = cause in WAIT_AND_RETRY
    pause = backoff_s(tries, rng, RECONNECT_PAUSE_S if away else _OVERLOAD_PAUSE_S)
    if cause not in RETRY or tries >= MAX_RETRIES or pause >= deadline.remaining():
        raise trouble from error
    _LOG.info("%s; trying again in %.2f s", trouble, pause)
    return pause, trouble if away else None


def wait_until_ready(
    check: Callable[[Deadline], None],
    options: TritonOptions,
    deadline: Deadline,
    trouble: ServingError,
    rng: np.random.Generator,
) -> None:
    """Wait for a server that was away: until ``check`` passes, for ``reconnect_s`` and the deadline at most.

    Args:
        check: raises ``ServerUnavailableError`` while the server is away; whoever comes back may be another release.
        options: of the connection.
        deadline: of the request.
        trouble: what is raised when it stays away.
        rng: source of the jitter.
    """
    end = Deadline(min(options.reconnect_s, deadline.remaining()))
    while True:
        try:
            return check(end)
        except ServerUnavailableError:
            pause = backoff_s(0, rng, 2 * RECONNECT_PAUSE_S)
            if pause >= end.remaining():
                raise trouble from None
            time.sleep(pause)


def client_error() -> Any:
    """The exception class of tritonclient, which is imported when a server is used and not before."""
    from tritonclient.utils import InferenceServerException

    return InferenceServerException


def _compression_by_environment() -> str:
    return os.environ.get(COMPRESSION_VARIABLE) or "auto"


def _text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)
