"""Reading uploads: into memory only, bounded while they arrive."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from cardioscan_client.web.problems import Problem

NAME_HEADER: Final = "x-file-name"
"""Name of a file that is sent as the body itself, percent-encoded UTF-8."""

_OVERHEAD: Final = 64 << 10  # of multipart boundaries and headers
_MAX_NAME: Final = 120


@dataclass(frozen=True)
class Upload:
    """A file that was sent: its bytes and what it was called."""

    data: bytes
    name: str

    @property
    def stem(self) -> str:
        """Name without folders and ending, fit for the names of results."""
        stem = re.sub(r"[/\\\x00-\x1f\x7f]", "_", PurePosixPath(self.name).stem)[:_MAX_NAME]
        return stem if stem.strip(" .") else "page"


class ArrivingBytes:
    """Bytes of all uploads that are arriving now; further ones are turned away."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.arrived = 0

    def add(self, size: int) -> None:
        """Count bytes that have arrived. Raises ``Problem`` where there is no room for them."""
        self.arrived += size
        if self.arrived > self.max_bytes:
            raise no_room()


def no_room() -> Problem:
    """The answer to an upload for which there is no memory."""
    return Problem(503, "too_many_pages_waiting", "The server is busy", "Too many pages are waiting; try again later.")


class _InMemory(MultiPartParser):
    # Never reached, since the body is bounded: the parser would go on in a temporary file.
    spool_max_size = 1 << 62


async def read_upload(request: Request, max_bytes: int, arriving: ArrivingBytes) -> Upload:
    """The one file of a request: the body itself, or the part ``file`` of a multipart form.

    Raises:
        Problem: too large, no room, no file, or not a form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        data = b"".join([chunk async for chunk in _bounded(request, max_bytes, arriving)])
        return Upload(data, _decoded(request.headers.get(NAME_HEADER, "page")))
    stream = _bounded(request, max_bytes + _OVERHEAD, arriving)
    try:
        form = await _InMemory(request.headers, stream, max_files=1, max_fields=8).parse()
    except MultiPartException as error:
        raise Problem(400, "not_a_form", "The form cannot be read", f"{error.message} Send one part 'file'.") from error
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise Problem(400, "no_file", "There is no file", "Send the picture or PDF as the part 'file' of the form.")
    data = await file.read()
    name = file.filename or "page"
    await form.close()
    if len(data) > max_bytes:
        raise _too_large(max_bytes)
    return Upload(data, _basename(name))


async def _bounded(request: Request, max_bytes: int, arriving: ArrivingBytes) -> AsyncGenerator[bytes, None]:
    """The chunks of a body, as long as they are within the limits."""
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > max_bytes:
        raise _too_large(max_bytes)
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            arriving.add(len(chunk))
            if size > max_bytes:
                raise _too_large(max_bytes)
            yield chunk
    finally:
        arriving.arrived -= size


def _too_large(max_bytes: int) -> Problem:
    return Problem(
        413,
        "image_too_large",
        "The file is too large",
        f"At most {max_bytes / 2**20:g} MiB are taken. Scale the picture down; 200 dpi are enough.",
        {"connection": "close"},
    )


def _decoded(name: str) -> str:
    return _basename(unquote(name, errors="replace"))


def _basename(name: str) -> str:
    return name.replace("\\", "/").rsplit("/", 1)[-1] or "page"
