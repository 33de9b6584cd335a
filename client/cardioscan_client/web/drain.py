"""Reading what a request still sends before it is turned away, so that the answer arrives."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BYTES: Final = 256 << 20
"""How much of a request is read at most only to be thrown away."""

MAX_S: Final = 20.0
"""How long at most, seconds."""


class Drain:
    """ASGI middleware: what is left of a request is read, and thrown away, before an answer goes out.

    A server that answers and closes while the client is still sending makes the client's system throw the answer away
    with the connection (TCP reset; RFC 9112 section 9.6 has servers read on for this reason). A person would see
    "connection reset" where "the file is too large" was said.

    Clients that wait for leave to send (``Expect: 100-continue``) are answered at once: they have sent nothing yet.

    Args:
        app: the application.
        max_bytes: how much is read at most; then the answer goes out, whether it arrives or not.
        max_s: how long at most, seconds.
    """

    def __init__(self, app: ASGIApp, max_bytes: int = MAX_BYTES, max_s: float = MAX_S) -> None:
        self.app, self.max_bytes, self.max_s = app, max_bytes, max_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        waits = headers.get("expect", "").lower() == "100-continue"
        left = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        begun = False

        async def receive_noting() -> Message:
            nonlocal left, begun
            begun = True
            message = await receive()
            left = message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def read_on() -> None:
            size = 0
            while left and size <= self.max_bytes:
                size += len((await receive_noting()).get("body", b""))

        async def send_after_all_is_read(message: Message) -> None:
            if message["type"] == "http.response.start" and left and (begun or not waits):
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(read_on(), self.max_s)
            await send(message)

        await self.app(scope, receive_noting, send_after_all_is_read)
