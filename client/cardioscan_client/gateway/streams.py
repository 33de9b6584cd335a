"""Many pages over one stream: bounded in flight, answered as they finish."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

Request = TypeVar("Request")
Response = TypeVar("Response")


async def answer_stream(
    read: Callable[[], Awaitable[Request | None]],
    answer: Callable[[Request], Awaitable[Response]],
    window: int,
    stop: asyncio.Event,
) -> AsyncGenerator[Response, None]:
    """Answer the requests of a stream, each as soon as it is done.

    No more than ``window`` requests are unanswered at a time: until then nothing is read, so the sender has to wait,
    and nothing is read either while the receiver does not take its answers. When this generator is closed or
    cancelled, all that is under way is cancelled.

    Args:
        read: the next request; None after the last.
        answer: makes the response to a request; must not raise.
        window: requests in flight.
        stop: when it is set, nothing more is read; what is in flight is still answered.
    """
    stopping = asyncio.ensure_future(stop.wait())
    reading: asyncio.Future[Request | None] | None = None
    working: list[asyncio.Future[Response]] = []
    more = True
    try:
        while True:
            if stopping.done():
                more = False
                if reading is not None and reading.cancel():  # one that has come already is answered
                    reading = None
            if more and reading is None and len(working) < window:
                reading = asyncio.ensure_future(read())
            if reading is None and not working:
                return
            watched = {future for future in (reading, None if stopping.done() else stopping) if future is not None}
            await asyncio.wait(watched.union(working), return_when=asyncio.FIRST_COMPLETED)
            if reading is not None and reading.done():
                request, reading = reading.result(), None
                if request is None:
                    more = False
                else:
                    working.append(asyncio.ensure_future(answer(request)))
            for done in [future for future in working if future.done()]:
                working.remove(done)
                yield done.result()
    finally:
        # The latest first: those that wait for a thread are cancelled before one that holds a thread gives it up.
        for future in (stopping, reading, *reversed(working)):
            if future is not None:
                future.cancel()
