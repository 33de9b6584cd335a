"""A request that is turned away while it is still sending learns why."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.responses import PlainTextResponse

from cardioscan_client.web.drain import Drain

BODY = b"x" * (48 << 20)  # more than the buffers of a connection hold, and more than is taken


def answer_to(url: str, head: list[str], body: bytes) -> tuple[int, dict[str, Any]]:
    """Send everything, as clients do that look for the answer only then; status and problem document."""
    place = urlsplit(url)
    lines = ["POST /v1/digitize HTTP/1.1", f"Host: {place.netloc}", *head, "", ""]
    with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
        connection.sendall("\r\n".join(lines).encode())
        connection.sendall(body)
        with connection.makefile("rb") as stream:
            status = int(stream.readline().split()[1])
            length = 0
            while (line := stream.readline().strip().lower()) != b"":
                name, _, value = line.partition(b":")
                length = int(value) if name == b"content-length" else length
            return status, json.loads(stream.read(length))


LENGTH = f"Content-Length: {len(BODY)}"


@pytest.mark.parametrize(
    ("head", "body", "status", "code"),
    [
        ([LENGTH], BODY, 413, "image_too_large"),
        (["Transfer-Encoding: chunked"], b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY), 413, "image_too_large"),
        ([LENGTH, "Origin: https://elsewhere.example"], BODY, 403, "foreign_origin"),
        ([LENGTH, "Expect: 100-continue"], b"", 413, "image_too_large"),
    ],
    ids=["length stated", "chunked", "another site", "waits for leave"],
)
def test_the_answer_arrives(url: str, head: list[str], body: bytes, status: int, code: str) -> None:
    got, problem = answer_to(url, head, body)
    assert (got, problem["code"]) == (status, code)


def test_the_answer_to_a_missing_token_arrives(serve: Any) -> None:
    with serve(token="geheim") as url:
        status, problem = answer_to(url, [LENGTH], BODY)
    assert (status, problem["code"]) == (401, "token_needed")


@pytest.mark.parametrize(
    ("chunks", "limits", "read"),
    [
        ([b"abc", b"de"], {}, 5),
        ([b"abc"] * 100, {"max_bytes": 10}, 12),
        ([b"abc"], {"max_s": 0.05}, 3),
    ],
    ids=["all of it", "too much", "the client stalls"],
)
def test_reading_on_ends(chunks: list[bytes], limits: dict[str, float], read: int) -> None:
    async def main() -> tuple[int, list[str]]:
        arriving, taken, sent = list(chunks), 0, []

        async def receive() -> dict[str, Any]:
            nonlocal taken
            if not arriving:
                await asyncio.sleep(3600)
            chunk = arriving.pop(0)
            taken += len(chunk)
            # A client that stalls has more to send and does not.
            return {"type": "http.request", "body": chunk, "more_body": bool(arriving) or "max_s" in limits}

        async def send(message: Any) -> None:
            sent.append(message["type"])

        scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"content-length", b"300")]}
        await Drain(PlainTextResponse("no", 403), **limits)(scope, receive, send)  # type: ignore[arg-type]
        return taken, sent

    taken, sent = asyncio.run(asyncio.wait_for(main(), 60))
    assert taken == read and sent == ["http.response.start", "http.response.body"]
