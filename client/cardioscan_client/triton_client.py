"""What every client of a Triton server does, as steps: requests with retries, questions about health and models."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from cardioscan.backends.inference import Tensors
from cardioscan.backends.specs import SPECS
from cardioscan.errors import ServerUnavailableError, ServingError
from cardioscan_client.connection import (
    TritonOptions,
    check_ready,
    health_error,
    health_questions,
    infer_arguments,
)
from cardioscan_client.contract import check_contract
from cardioscan_client.deadline import Deadline, request_deadline
from cardioscan_client.faults import (
    MAX_RETRIES,
    RETRY,
    WAIT_AND_RETRY,
    Cause,
    backoff_s,
    classify,
    client_error,
    explain,
)
from cardioscan_client.shared_tensors import read_outputs
from cardioscan_client.steps import Ask, Steps, with_retries

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
_RECONNECT_PAUSE_S: Final = 0.2
_OVERLOAD_PAUSE_S: Final = 0.5


class RetryingClient(ABC):
    """A client whose requests are sent again where the cause of a failure may pass.

    Args:
        server: its address ``HOST:PORT``, or how to reach it.
        rng: source of the jitter; None makes one.

    Attributes:
        failures: how many tries have failed so far, by cause; those that were tried again with success included.
    """

    _sleep: Callable[[float], Any] = staticmethod(time.sleep)

    def __init__(self, server: str | TritonOptions, rng: np.random.Generator | None = None) -> None:
        self.options = server if isinstance(server, TritonOptions) else TritonOptions(server)
        self.failures: Counter[Cause] = Counter()
        self._rng = rng or np.random.default_rng()
        self._lock = threading.Lock()
        self._grpc: Any = None
        self._client: Any = None

    @abstractmethod
    def _check_server(self, deadline: Deadline) -> Steps[None]:
        """Raise a ``ServingError`` unless the server is ready and its models fit the specs."""

    def _ask(self, deadline: Deadline) -> Ask:
        return health_questions(self._client, deadline, self.options)

    def _request(self, what: str, deadline: Deadline, send: Callable[[], Steps[T]]) -> Steps[T]:
        """Send a request, again at most ``MAX_RETRIES`` times, all of it before the deadline.

        Raises:
            ServingError: one of its kinds, naming ``what`` was asked of the server.
        """

        def send_in_time() -> Steps[T]:
            deadline.check(what)
            return (yield from send())

        return with_retries(send_in_time, client_error(), partial(self._prepare_retry, what, deadline))

    def _prepare_retry(self, what: str, deadline: Deadline, error: Any, retries: int) -> Steps[None]:
        address, cause = self.options.address, classify(error.status(), error.message())
        with self._lock:
            self.failures[cause] += 1
        if cause is Cause.DEADLINE:
            raise deadline.exceeded(f"{what} at {address}") from error
        reason = explain(cause, error.message(), address, what)
        away = cause in WAIT_AND_RETRY
        pause = backoff_s(retries, self._rng, _RECONNECT_PAUSE_S if away else _OVERLOAD_PAUSE_S)
        if cause not in RETRY or retries >= MAX_RETRIES or pause >= deadline.remaining():
            raise reason from error
        _LOG.info("%s; trying again in %.2f s", reason, pause)
        yield partial(self._sleep, pause)
        if away:
            yield from self._wait_until_ready(deadline, reason)

    def _wait_until_ready(self, deadline: Deadline, reason: ServingError) -> Steps[None]:
        """Wait for a server that went away, for ``reconnect_s`` and the deadline at most; then raise ``reason``."""
        end = Deadline(min(self.options.reconnect_s, deadline.remaining()))

        def pause(error: ServerUnavailableError, retries: int) -> Steps[None]:
            seconds = backoff_s(0, self._rng, 2 * _RECONNECT_PAUSE_S)
            if seconds >= end.remaining():
                raise reason from None
            yield partial(self._sleep, seconds)

        # The server that comes back may be of another release, hence the whole check.
        return with_retries(lambda: self._check_server(end), ServerUnavailableError, pause)


class NetworkClient(RetryingClient):
    """A client for the networks; tensors go through shared memory where the server is on this machine and offers it.

    Arguments and attributes are those of ``RetryingClient``.
    """

    def __init__(self, server: str | TritonOptions, rng: np.random.Generator | None = None) -> None:
        super().__init__(server, rng)
        self._used: set[str] = set()
        self._served: dict[str, str] = {}
        self._shared_tensors = self.options.shared_tensors()

    @property
    def uses_shared_memory(self) -> bool:
        """Whether tensors go through shared memory at present."""
        return self._shared_tensors.enabled

    def model_versions(self) -> dict[str, tuple[str, str]]:
        """Version and SHA-256, as the server states it (empty where it does not), of each model used so far."""
        with self._lock:
            return {name: (str(SPECS[name].version), self._served.get(name, "")) for name in sorted(self._used)}

    def _infer(self, model: str, inputs: Tensors) -> Steps[dict[str, NDArray[Any]]]:
        deadline = request_deadline(self.options.request_timeout_s)

        def send() -> Steps[dict[str, NDArray[Any]]]:
            region = yield from self._shared_tensors.region(self._ask(deadline), model, inputs)
            with self._shared_tensors.lend(region):
                arguments = infer_arguments(self._grpc, model, inputs, deadline, self.options, region)
                result = yield partial(self._client.infer, **arguments)
                if region is not None:
                    return read_outputs(model, inputs, region)
                return {tensor.name: result.as_numpy(tensor.name) for tensor in SPECS[model].outputs}

        answer = yield from self._request(model, deadline, send)
        with self._lock:
            self._used.add(model)
        return answer

    def _check_server(self, deadline: Deadline) -> Steps[None]:
        address, ask = self.options.address, self._ask(deadline)
        served = {}
        try:
            yield from check_ready(ask, address)
            for name, spec in SPECS.items():
                metadata = yield ask("get_model_metadata", name, str(spec.version))
                config = (yield ask("get_model_config", name, str(spec.version))).config
                served[name] = check_contract(spec, metadata, config, address)
            yield from self._shared_tensors.connect(self._ask(deadline))
        except client_error() as error:
            raise health_error(error, address) from error
        with self._lock:
            self._served = served
