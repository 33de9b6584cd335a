"""A bounded queue of pages before a pool of threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class PageQueue:
    """Threads that work on pages, and a bounded number of further pages that wait for them.

    Args:
        threads: pages in work at once.
        max_waiting: how many may wait where ``has_room`` is asked first; None sets no bound.

    Attributes:
        closed: whether ``close`` was called.
        running: pages in work, those whose caller has gone included until their thread has ended.
    """

    def __init__(self, threads: int, max_waiting: int | None = None) -> None:
        self.threads, self.max_waiting = threads, max_waiting
        self.closed, self.running = False, 0
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="cardioscan-page")
        self._lock = threading.Lock()
        self._awaited: dict[asyncio.Future[Any], Callable[[], None]] = {}
        self._held = 0

    @property
    def waiting(self) -> int:
        """Pages that wait for a thread."""
        return max(self._held - self.running, 0)

    @property
    def idle(self) -> bool:
        """Whether no page waits or is in work."""
        return self._held == 0

    def has_room(self, n_pages: int = 1) -> bool:
        """Whether so many pages more find a free thread or may wait; ``submit`` and ``run`` do not ask."""
        return self.max_waiting is None or self._held + n_pages <= self.threads + self.max_waiting

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Have ``work`` done in a thread; cancelling the future drops a page that waits."""
        future = self._executor.submit(self._run, work)
        with self._lock:
            self._held += 1
        future.add_done_callback(self._leave)
        return future

    async def run(
        self,
        work: Callable[[], T],
        stop: Callable[[], None],
        dropped: Callable[[], Exception],
        timeout_s: float | None = None,
    ) -> T:
        """Wait for ``work`` in a thread, for ``timeout_s`` at most.

        When that is over, or the caller is cancelled, a page that waits is dropped and ``stop`` tells one in work to
        end; its thread counts as busy until it does.

        Raises:
            Exception: the one that ``dropped`` makes, where the time is over or the queue was closed; or that of
                ``work``.
        """
        future = self.submit(work)
        answer = asyncio.wrap_future(future)
        self._awaited[answer] = stop
        try:
            await asyncio.wait({answer}, timeout=timeout_s)
        finally:
            del self._awaited[answer]
            if not answer.done():
                future.cancel()  # at once, if it still waits; cancelling ``answer`` would do it a turn later
                stop()
                answer.cancel()
        if answer.cancelled():
            raise dropped()
        return answer.result()

    def close(self, give_up: bool = False) -> None:
        """Take no more pages and drop those that wait; with ``give_up``, tell those in work to end and await none."""
        self.closed = True
        if give_up:
            for answer, stop in self._awaited.items():
                stop()
                answer.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _run(self, work: Callable[[], T]) -> T:
        with self._lock:
            self.running += 1
        try:
            return work()
        finally:
            with self._lock:
                self.running -= 1

    def _leave(self, future: Future[Any]) -> None:
        with self._lock:
            self._held -= 1
