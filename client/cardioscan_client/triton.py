"""``TritonBackend``: the networks on a Triton server, over gRPC."""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from cardioscan.backends.inference import Tensors, check_tensors
from cardioscan.backends.specs import SPECS
from cardioscan.imaging.images import ImageSource
from cardioscan.pipeline import Digitization, Digitizer, DigitizerOptions
from cardioscan_client.connection import (
    TritonOptions,
    client_arguments,
    client_error,
    health_arguments,
    health_trouble,
    infer_arguments,
    next_try,
    read_answer,
    wait_until_ready,
)
from cardioscan_client.contract import check_contract
from cardioscan_client.deadline import Deadline, page_deadline, request_deadline
from cardioscan_client.faults import Cause, classify, explain
from cardioscan_client.sharing import Sharing, Steps

T = TypeVar("T")

_FAREWELL_S: Final = 1.0
"""How long a server that does not answer may hold up closing."""


class TritonBackend:
    """The networks on a Triton server: an ``InferenceBackend`` over one gRPC channel, to be shared by threads.

    The served models are compared with the specs at once, and again when the server was away. A request is sent again
    at most twice, with jitter and inside its deadline, where the cause may pass: a full queue, a lost connection, a
    restart. ``cardioscan_client.deadline.page_deadline`` gives all requests of a page one deadline. Where the server is
    on this machine and offers it, tensors go through shared memory (``TritonOptions.shared_memory``).

    Args:
        server: its address ``HOST:PORT``, or how to reach it.
        rng: source of the jitter; None makes one.

    Attributes:
        failures: how many tries have failed so far, by cause; those that were tried again with success included.

    Raises:
        MissingDependencyError: tritonclient is not installed.
        ServerUnavailableError: no server answers there, or its models are not ready.
        ModelContractError: its models are not those of this release.
        DeadlineExceededError, ServerOverloadedError: it answers too late, or has too much to do.
    """

    def __init__(self, server: str | TritonOptions, rng: np.random.Generator | None = None) -> None:
        self.options = server if isinstance(server, TritonOptions) else TritonOptions(server)
        self._rng = rng or np.random.default_rng()
        self._lock = threading.Lock()
        self._used: set[str] = set()
        self._served: dict[str, str] = {}
        self._sharing = self.options.sharing()
        self.failures: Counter[Cause] = Counter()
        arguments = client_arguments(self.options)
        import tritonclient.grpc

        self._grpc = tritonclient.grpc
        self._client = tritonclient.grpc.InferenceServerClient(**arguments)
        # Also where nobody closes it: the server would keep what this process has registered.
        self._finalizer = weakref.finalize(self, _close, self._client, self._sharing, self.options)
        try:
            self._check_server(request_deadline(self.options.request_timeout_s))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> TritonBackend:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and give the shared memory back. Does nothing twice."""
        self._finalizer()

    @property
    def uses_shared_memory(self) -> bool:
        """Whether tensors go through shared memory at present."""
        return self._sharing.on

    def model_versions(self) -> dict[str, tuple[str, str]]:
        """Version and SHA-256, as the server states it (empty where it does not), of each model used so far."""
        with self._lock:
            return {name: (str(SPECS[name].version), self._served.get(name, "")) for name in sorted(self._used)}

    def infer(self, model: str, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Run a network on the server.

        Args:
            model: name of the network.
            inputs: arrays by tensor name, batch axis first.

        Returns:
            Read-only arrays by tensor name.

        Raises:
            ModelError: the inputs do not fit the spec.
            ServingError: one of its kinds, see the class.
        """
        check_tensors(model, inputs)
        deadline = request_deadline(self.options.request_timeout_s)
        tries = 0
        while True:
            deadline.check(model)
            try:
                region = self._ask(self._sharing.region(model, inputs), deadline)
                with self._sharing.lend(region):
                    arguments = infer_arguments(self._grpc, model, inputs, deadline, self.options, region)
                    answer = read_answer(model, inputs, self._client.infer(**arguments), region)
            except client_error() as error:
                with self._lock:
                    self.failures[classify(error.status(), error.message())] += 1
                pause, trouble = next_try(error, model, tries, deadline, self.options.address, self._rng)
            else:
                break
            time.sleep(pause)
            if trouble is not None:
                wait_until_ready(self._check_server, self.options, deadline, trouble, self._rng)
            tries += 1
        with self._lock:
            self._used.add(model)
        return answer

    def ready(self) -> bool:
        """Whether the server answers, now and within seconds, that it and all four networks are ready; never raises."""
        call = health_arguments(request_deadline(self.options.request_timeout_s), self.options)
        try:
            return bool(
                self._client.is_server_ready(**call)
                and all(self._client.is_model_ready(name, str(spec.version), **call) for name, spec in SPECS.items())
            )
        except client_error():
            return False

    def _ask(self, steps: Steps[T], deadline: Deadline) -> T:
        return _answered(steps, self._client, health_arguments(deadline, self.options))

    def _check_server(self, deadline: Deadline) -> None:
        """Raise a ``ServingError`` unless the server is ready and its models fit the specs."""
        address, call = self.options.address, health_arguments(deadline, self.options)
        served = {}
        try:
            if not self._client.is_server_ready(**call):
                raise explain(Cause.NOT_READY, "it answers, but is not ready", address, "digitizing")
            for name, spec in SPECS.items():
                metadata = self._client.get_model_metadata(name, str(spec.version), **call)
                config = self._client.get_model_config(name, str(spec.version), **call).config
                served[name] = check_contract(spec, metadata, config, address)
            self._ask(self._sharing.connect(), deadline)
        except client_error() as error:
            raise health_trouble(error, address) from error
        with self._lock:
            self._served = served


def _answered(steps: Steps[T], client: Any, call: dict[str, Any]) -> T:
    """Put the questions of ``cardioscan_client.sharing`` to the server; returns what comes of them."""
    try:
        method, arguments = next(steps)
        while True:
            try:
                said = getattr(client, method)(**arguments, **call)
            except BaseException as error:
                method, arguments = steps.throw(error)
            else:
                method, arguments = steps.send(said)
    except StopIteration as end:
        value: T = end.value
        return value


def _close(client: Any, sharing: Sharing, options: TritonOptions) -> None:
    try:
        _answered(sharing.close(), client, health_arguments(Deadline(_FAREWELL_S), options))
    finally:
        client.close()


class ServedDigitizer(Digitizer):
    """A digitizer whose networks run on a server; each page has one deadline for all its requests.

    Args:
        server: address or options of the server, or a backend that is connected to it.
        options: of the pipeline.

    ``digitize`` raises the errors of ``TritonBackend`` for the page that meets them.
    """

    def __init__(self, server: str | TritonOptions | TritonBackend, options: DigitizerOptions | None = None) -> None:
        backend = server if isinstance(server, TritonBackend) else TritonBackend(server)
        super().__init__(backend, options)
        self._timeout_s = backend.options.page_timeout_s

    def digitize_with_details(self, source: ImageSource, page: int = 0, **guidance: Any) -> Digitization:
        """As in ``Digitizer``, within ``page_timeout_s``; raises ``DeadlineExceededError`` when that is over."""
        with page_deadline(self._timeout_s):
            return super().digitize_with_details(source, page, **guidance)
