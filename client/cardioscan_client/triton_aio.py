"""The asyncio variant: ``AsyncTritonBackend`` and ``AsyncDigitizer``, for services that have an event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
from collections import Counter
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from cardioscan.backends.inference import Tensors, check_tensors
from cardioscan.backends.specs import SPECS
from cardioscan.errors import ServerUnavailableError, ServingError
from cardioscan.imaging.images import ImageSource
from cardioscan.pipeline import Digitization, Digitizer, DigitizerOptions, import_stages
from cardioscan.record import EcgRecord
from cardioscan_client.connection import (
    RECONNECT_PAUSE_S,
    TritonOptions,
    client_arguments,
    client_error,
    health_arguments,
    health_trouble,
    infer_arguments,
    next_try,
    read_answer,
)
from cardioscan_client.contract import check_contract
from cardioscan_client.deadline import Deadline, page_deadline, request_deadline
from cardioscan_client.faults import Cause, backoff_s, classify, explain
from cardioscan_client.sharing import Steps

T = TypeVar("T")

_FAREWELL_S: Final = 1.0
"""How long a server that does not answer may hold up closing."""


class AsyncTritonBackend:
    """``TritonBackend`` for an event loop: the same checks, repetitions, deadlines and errors.

    It is connected by ``async with``, in the loop that uses it, and raises there what ``TritonBackend`` raises.

    Args:
        server: its address ``HOST:PORT``, or how to reach it.
        rng: source of the jitter; None makes one.

    Attributes:
        failures: how many tries have failed so far, by cause; those that were tried again with success included.
    """

    def __init__(self, server: str | TritonOptions, rng: np.random.Generator | None = None) -> None:
        self.options = server if isinstance(server, TritonOptions) else TritonOptions(server)
        self._rng = rng or np.random.default_rng()
        self._used: set[str] = set()
        self._served: dict[str, str] = {}
        self._sharing = self.options.sharing()
        self.failures: Counter[Cause] = Counter()
        self._client: Any = None

    async def __aenter__(self) -> AsyncTritonBackend:
        arguments = client_arguments(self.options)
        import tritonclient.grpc.aio

        self._grpc = tritonclient.grpc.aio
        self._client = tritonclient.grpc.aio.InferenceServerClient(**arguments)
        try:
            await self._check_server(request_deadline(self.options.request_timeout_s))
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection and give the shared memory back; requests under way are cancelled."""
        client, self._client = self._client, None
        if client is not None:
            try:
                await _answered(self._sharing.close(), client, health_arguments(Deadline(_FAREWELL_S), self.options))
            finally:
                await client.close()

    @property
    def uses_shared_memory(self) -> bool:
        """Whether tensors go through shared memory at present."""
        return self._sharing.on

    def model_versions(self) -> dict[str, tuple[str, str]]:
        """Version and SHA-256, as the server states it (empty where it does not), of each model used so far."""
        return {name: (str(SPECS[name].version), self._served.get(name, "")) for name in sorted(self._used)}

    async def infer(self, model: str, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Run a network on the server; arguments, result and errors are those of ``TritonBackend.infer``."""
        check_tensors(model, inputs)
        if self._client is None:
            raise ServerUnavailableError("not connected: use AsyncTritonBackend in an 'async with' block")
        deadline = request_deadline(self.options.request_timeout_s)
        tries = 0
        while True:
            deadline.check(model)
            try:
                region = await self._ask(self._sharing.region(model, inputs), deadline)
                with self._sharing.lend(region):
                    arguments = infer_arguments(self._grpc, model, inputs, deadline, self.options, region)
                    answer = read_answer(model, inputs, await self._client.infer(**arguments), region)
            except client_error() as error:
                self.failures[classify(error.status(), error.message())] += 1
                pause, trouble = next_try(error, model, tries, deadline, self.options.address, self._rng)
            else:
                break
            await asyncio.sleep(pause)
            if trouble is not None:
                await self._wait_until_ready(deadline, trouble)
            tries += 1
        self._used.add(model)
        return answer

    async def _ask(self, steps: Steps[T], deadline: Deadline) -> T:
        return await _answered(steps, self._client, health_arguments(deadline, self.options))

    async def _wait_until_ready(self, deadline: Deadline, trouble: ServingError) -> None:
        end = Deadline(min(self.options.reconnect_s, deadline.remaining()))
        while True:
            try:
                return await self._check_server(end)
            except ServerUnavailableError:
                pause = backoff_s(0, self._rng, 2 * RECONNECT_PAUSE_S)
                if pause >= end.remaining():
                    raise trouble from None
                await asyncio.sleep(pause)

    async def _check_server(self, deadline: Deadline) -> None:
        """Raise a ``ServingError`` unless the server is ready and its models fit the specs."""
        address, call = self.options.address, health_arguments(deadline, self.options)
        served = {}
        try:
            if not await self._client.is_server_ready(**call):
                raise explain(Cause.NOT_READY, "it answers, but is not ready", address, "digitizing")
            for name, spec in SPECS.items():
                metadata = await self._client.get_model_metadata(name, str(spec.version), **call)
                config = (await self._client.get_model_config(name, str(spec.version), **call)).config
                served[name] = check_contract(spec, metadata, config, address)
            await self._ask(self._sharing.connect(), deadline)
        except client_error() as error:
            raise health_trouble(error, address) from error
        self._served = served


async def _answered(steps: Steps[T], client: Any, call: dict[str, Any]) -> T:
    """Put the questions of ``cardioscan_client.sharing`` to the server; returns what comes of them."""
    try:
        method, arguments = next(steps)
        while True:
            try:
                said = await getattr(client, method)(**arguments, **call)
            except BaseException as error:
                method, arguments = steps.throw(error)
            else:
                method, arguments = steps.send(said)
    except StopIteration as end:
        value: T = end.value
        return value


class AsyncDigitizer:
    """Digitizes pages without blocking the event loop: the stages run in threads, the requests in the loop.

    Stages of different pages overlap, so that the server's batches fill. Cancelling the task of a page cancels its
    request; its thread ends at the next one.

    Args:
        backend: a connected backend.
        options: of the pipeline.
        max_pages: pages in work at once; further ones wait.
    """

    def __init__(
        self, backend: AsyncTritonBackend, options: DigitizerOptions | None = None, max_pages: int = 4
    ) -> None:
        self.backend, self.options = backend, options
        import_stages()  # here, not in the time of the first page
        self._slots = asyncio.Semaphore(max_pages)
        self._pool = concurrent.futures.ThreadPoolExecutor(max_pages, thread_name_prefix="cardioscan-page")

    async def digitize(self, source: ImageSource, page: int = 0) -> EcgRecord:
        """As ``Digitizer.digitize``, within ``page_timeout_s``; raises the errors of ``TritonBackend``."""
        return (await self.digitize_with_details(source, page)).record

    async def digitize_with_details(self, source: ImageSource, page: int = 0) -> Digitization:
        """As ``Digitizer.digitize_with_details``, within ``page_timeout_s`` from when its turn comes."""
        loop = asyncio.get_running_loop()
        bridge = _Bridge(self.backend, loop)
        context = contextvars.copy_context()
        async with self._slots:
            work = loop.run_in_executor(self._pool, context.run, self._digitize, bridge, source, page)
            try:
                return await work
            except asyncio.CancelledError:
                bridge.cancel()
                raise

    def _digitize(self, bridge: _Bridge, source: ImageSource, page: int) -> Digitization:
        with page_deadline(self.backend.options.page_timeout_s):
            return Digitizer(bridge, self.options).digitize_with_details(source, page)

    def close(self) -> None:
        """End the threads, those of pages in work when these are done."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class _Bridge:
    """An ``InferenceBackend`` for one page in a thread, whose requests run in the loop of the real backend."""

    def __init__(self, backend: AsyncTritonBackend, loop: asyncio.AbstractEventLoop) -> None:
        self._backend, self._loop = backend, loop
        self._lock = threading.Lock()
        self._cancelled = False
        self._pending: concurrent.futures.Future[dict[str, NDArray[Any]]] | None = None

    def infer(self, model: str, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Run a network; the thread's deadline goes along with the call into the loop."""
        with self._lock:
            if self._cancelled:
                raise ServingError("the page was cancelled")
            self._pending = asyncio.run_coroutine_threadsafe(self._backend.infer(model, inputs), self._loop)
        try:
            return self._pending.result()
        except concurrent.futures.CancelledError as error:
            raise ServingError("the page was cancelled") from error

    def cancel(self) -> None:
        """Give up the request under way, and all that would follow."""
        with self._lock:
            self._cancelled = True
            if self._pending is not None:
                self._pending.cancel()

    def model_versions(self) -> dict[str, tuple[str, str]]:
        """Those of the real backend."""
        return self._backend.model_versions()
