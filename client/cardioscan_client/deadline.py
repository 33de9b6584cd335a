"""Deadlines: one budget of time for a page, which every request that the page needs draws from."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from cardioscan.errors import DeadlineExceededError


class Deadline:
    """A point in time, on the monotonic clock.

    Args:
        seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left; negative when it has passed."""
        return self._end - time.monotonic()

    def check(self, what: str) -> None:
        """Do nothing in time; raises ``DeadlineExceededError``, naming ``what`` was to be done, when it has passed."""
        if self.remaining() <= 0:
            raise self.exceeded(what)

    def exceeded(self, what: str) -> DeadlineExceededError:
        """The error that says that ``what`` was not done in time."""
        return DeadlineExceededError(f"{what} was not done within {self.seconds:g} s: allow more time, or less load")


_CURRENT: ContextVar[Deadline | None] = ContextVar("cardioscan_page_deadline", default=None)


@contextmanager
def page_deadline(seconds: float | None) -> Iterator[None]:
    """Give everything within the ``with`` block, in this thread or task, ``seconds`` in all; None sets no limit.

    An earlier deadline that is already running stays in force.
    """
    outer = _CURRENT.get()
    inner = None if seconds is None else Deadline(seconds)
    token = _CURRENT.set(_earlier(outer, inner))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def request_deadline(seconds: float) -> Deadline:
    """The deadline of a request that may take ``seconds``, or the page's own where that comes first."""
    inner = Deadline(seconds)
    return _earlier(_CURRENT.get(), inner) or inner


def _earlier(first: Deadline | None, second: Deadline | None) -> Deadline | None:
    if first is None or second is None:
        return first or second
    return first if first.remaining() <= second.remaining() else second
