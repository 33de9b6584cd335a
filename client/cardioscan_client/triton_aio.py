"""The asyncio variant: ``AsyncTritonBackend`` and ``AsyncDigitizer``, for services that have an event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
from functools import partial
from typing import Any

from numpy.typing import NDArray

from cardioscan.backends.inference import Tensors, check_tensors
from cardioscan.errors import ServerUnavailableError, ServingError
from cardioscan.imaging.images import ImageSource
from cardioscan.pipeline import Digitization, Digitizer, DigitizerOptions, import_stages
from cardioscan.record import EcgRecord
from cardioscan_client.connection import connect, health_questions
from cardioscan_client.deadline import Deadline, page_deadline, request_deadline
from cardioscan_client.page_queue import PageQueue
from cardioscan_client.steps import run_steps_async
from cardioscan_client.triton import CLOSE_TIMEOUT_S
from cardioscan_client.triton_client import NetworkClient


class AsyncTritonBackend(NetworkClient):
    """``TritonBackend`` for an event loop: the same checks, repetitions, deadlines and errors.

    It is connected by ``async with``, in the loop that uses it, and raises there what ``TritonBackend`` raises.

    Args:
        server: its address ``HOST:PORT``, or how to reach it.
        rng: source of the jitter; None makes one.

    Attributes:
        failures: how many tries have failed so far, by cause; those that were tried again with success included.
    """

    _sleep = staticmethod(asyncio.sleep)

    async def __aenter__(self) -> AsyncTritonBackend:
        self._grpc, self._client = connect(self.options, asynchronous=True)
        try:
            await run_steps_async(self._check_server(request_deadline(self.options.request_timeout_s)))
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
                ask = health_questions(client, Deadline(CLOSE_TIMEOUT_S), self.options)
                await run_steps_async(self._shared_tensors.close(ask))
            finally:
                await client.close()

    async def infer(self, model: str, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Run a network on the server; arguments, result and errors are those of ``TritonBackend.infer``."""
        check_tensors(model, inputs)
        if self._client is None:
            raise ServerUnavailableError("not connected: use AsyncTritonBackend in an 'async with' block")
        return await run_steps_async(self._infer(model, inputs))


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
        self._queue = PageQueue(max_pages)

    async def digitize(self, source: ImageSource, page: int = 0) -> EcgRecord:
        """As ``Digitizer.digitize``, within ``page_timeout_s``; raises the errors of ``TritonBackend``."""
        return (await self.digitize_with_details(source, page)).record

    async def digitize_with_details(self, source: ImageSource, page: int = 0) -> Digitization:
        """As ``Digitizer.digitize_with_details``, within ``page_timeout_s`` from when its turn comes."""
        backend = _LoopBackend(self.backend, asyncio.get_running_loop())
        context = contextvars.copy_context()
        work = partial(context.run, self._digitize, backend, source, page)
        return await self._queue.run(work, backend.cancel, lambda: RuntimeError("the digitizer was closed"))

    def _digitize(self, backend: _LoopBackend, source: ImageSource, page: int) -> Digitization:
        with page_deadline(self.backend.options.page_timeout_s):
            return Digitizer(backend, self.options).digitize_with_details(source, page)

    def close(self) -> None:
        """End the threads, those of pages in work when these are done."""
        self._queue.close()


class _LoopBackend:
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
