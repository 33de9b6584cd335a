"""The desk: takes pages in as long as there is room, hands them to threads, and answers for each in time."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor

from cardioscan.errors import ServerOverloadedError, ServerUnavailableError
from cardioscan_client.gateway.pages import PageAnswer, PageFunction, Ticket


class QueueFullError(ServerOverloadedError):
    """So many pages are waiting that one more would only wait in vain."""


class StoppingError(ServerUnavailableError):
    """The gateway is being stopped: it takes nothing new, and in the end gives up what it has."""

    def __init__(self) -> None:
        super().__init__("this gateway is being stopped: send the page to another, or again in a minute")


_SMOOTHING = 0.2
_FIRST_GUESS_S = 2.0
_LEAST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0


class Desk:
    """A bounded queue before a pool of threads.

    Args:
        work: digitizes a page.
        jobs: pages in work at once.
        queue: further pages that may wait where ``patient`` is not set.
    """

    def __init__(self, work: PageFunction, jobs: int, queue: int) -> None:
        self._work, self._jobs, self._queue = work, jobs, queue
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="cardioscan-page")
        self._lock = threading.Lock()
        self._open: dict[asyncio.Future[PageAnswer], Ticket] = {}
        self._closed = False
        self._taken = 0
        self._running = 0
        self._page_s = _FIRST_GUESS_S

    @property
    def running(self) -> int:
        """Pages in work, those whose caller has gone included until their thread has ended."""
        return self._running

    @property
    def waiting(self) -> int:
        """Pages that wait for a thread."""
        return max(self._taken - self._running, 0)

    @property
    def idle(self) -> bool:
        """Whether no page is here."""
        return self._taken == 0

    @property
    def retry_after_s(self) -> float:
        """When one who was turned away may find room: the time that a page took lately, by the number of threads."""
        return min(max(self._page_s / self._jobs, _LEAST_PAUSE_S), _LONGEST_PAUSE_S)

    async def digitize(self, image: bytes, page: int, ticket: Ticket, patient: bool = False) -> PageAnswer:
        """Digitize a page.

        When the caller goes away (this coroutine is cancelled), or when its time is over, a page that waits is dropped,
        and one in work ends before its next network; its thread counts as busy until then.

        Args:
            image: a whole file.
            page: which of its pages, from 0.
            ticket: how long the caller waits.
            patient: wait however many are waiting already, for a caller who limits himself.

        Raises:
            QueueFullError: too many pages are waiting.
            DeadlineExceededError: the time is over.
            StoppingError: the desk was closed.
            CardioscanError: what digitizing the page raises.
        """
        if self._closed:
            raise StoppingError()
        with self._lock:
            if not patient and self._taken >= self._jobs + self._queue:
                raise QueueFullError(
                    f"{self.waiting} pages are waiting already: send this one again in {self.retry_after_s:.1f} s"
                )
            self._taken += 1
        future = self._pool.submit(self._run, image, page, ticket)
        future.add_done_callback(self._leave)
        answer = asyncio.wrap_future(future)
        self._open[answer] = ticket
        try:
            await asyncio.wait({answer}, timeout=max(ticket.deadline.remaining(), 0))
        finally:
            del self._open[answer]
            if not answer.done():
                future.cancel()  # at once, if it is still in the queue; cancelling ``answer`` would do it a turn later
                ticket.cancel()
                answer.cancel()
        if answer.cancelled():
            if self._closed:
                raise StoppingError()
            raise ticket.deadline.exceeded("the page")
        return answer.result()

    def close(self) -> None:
        """Take no more pages and give up those that are here; threads end before the next network."""
        self._closed = True
        for answer, ticket in self._open.items():
            ticket.cancel()
            answer.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, image: bytes, page: int, ticket: Ticket) -> PageAnswer:
        with self._lock:
            self._running += 1
        try:
            answer = self._work(image, page, ticket)
            taken_s = sum(answer.record.timings_s.values())
            with self._lock:
                self._page_s += _SMOOTHING * (taken_s - self._page_s)
            return answer
        finally:
            with self._lock:
                self._running -= 1

    def _leave(self, future: Future[PageAnswer]) -> None:
        with self._lock:
            self._taken -= 1
