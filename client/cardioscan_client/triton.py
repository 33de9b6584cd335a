"""``TritonBackend``: the networks on a Triton server, over gRPC."""

from __future__ import annotations

import weakref
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cardioscan.backends.inference import Tensors, check_tensors
from cardioscan.backends.specs import SPECS
from cardioscan.imaging.images import ImageSource
from cardioscan.pipeline import Digitization, Digitizer, DigitizerOptions
from cardioscan_client.connection import TritonOptions, connect, health_questions
from cardioscan_client.deadline import Deadline, page_deadline, request_deadline
from cardioscan_client.faults import client_error
from cardioscan_client.shared_tensors import SharedTensors
from cardioscan_client.steps import run_steps
from cardioscan_client.triton_client import NetworkClient

CLOSE_TIMEOUT_S: Final = 1.0
"""How long a server that does not answer may hold up closing."""


class TritonBackend(NetworkClient):
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
        super().__init__(server, rng)
        self._grpc, self._client = connect(self.options)
        # Also where nobody closes it: the server would keep what this process has registered.
        self._finalizer = weakref.finalize(self, _close, self._client, self._shared_tensors, self.options)
        try:
            run_steps(self._check_server(request_deadline(self.options.request_timeout_s)))
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
        return run_steps(self._infer(model, inputs))

    def ready(self) -> bool:
        """Whether the server answers, now and within seconds, that it and all four networks are ready; never raises."""
        ask = self._ask(request_deadline(self.options.request_timeout_s))
        try:
            return bool(
                ask("is_server_ready")()
                and all(ask("is_model_ready", name, str(spec.version))() for name, spec in SPECS.items())
            )
        except client_error():
            return False


def _close(client: Any, shared_tensors: SharedTensors, options: TritonOptions) -> None:
    try:
        run_steps(shared_tensors.close(health_questions(client, Deadline(CLOSE_TIMEOUT_S), options)))
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
