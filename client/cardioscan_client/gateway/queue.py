"""The gateway's queue of pages: turns away what finds no room, and answers for each page in time."""

from __future__ import annotations

from functools import partial
from typing import Final

from cardioscan.errors import ServerOverloadedError, ServerUnavailableError
from cardioscan_client.gateway.pages import PageAnswer, PageCall, PageFunction
from cardioscan_client.page_queue import PageQueue

_SMOOTHING: Final = 0.2
_FIRST_GUESS_S: Final = 2.0
_MIN_PAUSE_S: Final = 0.5
_MAX_PAUSE_S: Final = 30.0


class QueueFullError(ServerOverloadedError):
    """So many pages are waiting that one more would only wait in vain."""


class StoppingError(ServerUnavailableError):
    """The gateway is being stopped: it takes nothing new, and in the end gives up what it has."""

    def __init__(self) -> None:
        super().__init__("this gateway is being stopped: send the page to another, or again in a minute")


class GatewayQueue(PageQueue):
    """A ``PageQueue`` that digitizes, and knows about how long a page takes.

    Args:
        work: digitizes a page.
        threads: pages in work at once.
        max_waiting: further pages that may wait where ``even_if_full`` is not set.
    """

    def __init__(self, work: PageFunction, threads: int, max_waiting: int) -> None:
        super().__init__(threads, max_waiting)
        self._work = work
        self._page_s = _FIRST_GUESS_S

    @property
    def retry_after_s(self) -> float:
        """When one who was turned away may find room: the time that a page took lately, by the number of threads."""
        return min(max(self._page_s / self.threads, _MIN_PAUSE_S), _MAX_PAUSE_S)

    async def digitize(self, image: bytes, page: int, call: PageCall, even_if_full: bool = False) -> PageAnswer:
        """Digitize a page.

        When its time is over or the caller is cancelled, a page that waits is dropped and one in work ends before its
        next network; its thread counts as busy until then.

        Args:
            image: a whole file.
            page: which of its pages, from 0.
            call: how long the caller waits.
            even_if_full: wait however many are waiting already, for a caller who limits himself.

        Raises:
            QueueFullError: too many pages are waiting.
            DeadlineExceededError: the time is over.
            StoppingError: the queue was closed.
            CardioscanError: what digitizing the page raises.
        """

        def dropped() -> Exception:
            return StoppingError() if self.closed else call.deadline.exceeded("the page")

        if self.closed:
            raise StoppingError()
        if not even_if_full and not self.has_room():
            raise QueueFullError(
                f"{self.waiting} pages are waiting already: send this one again in {self.retry_after_s:.1f} s"
            )
        work = partial(self._digitize, image, page, call)
        return await self.run(work, call.cancel, dropped, max(call.deadline.remaining(), 0))

    def _digitize(self, image: bytes, page: int, call: PageCall) -> PageAnswer:
        answer = self._work(image, page, call)
        taken_s = sum(answer.record.timings_s.values())
        with self._lock:
            self._page_s += _SMOOTHING * (taken_s - self._page_s)
        return answer
