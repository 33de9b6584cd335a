"""Pieces of shared memory for the tensors of requests, where client and server are on the same machine.

A region is a file in ``/dev/shm`` with the inputs of one request and room for its outputs; the server maps it once
and gets only its name with each request. Regions are used again, and there are never more than a few.

A request that was given up may still be running, and its answer would overwrite whatever the region holds then. So a
region is used again only after an answer, or a rejection, has come; any other is thrown away.

A region that a crashed process left behind is recognised by its lock, which ended with its owner; the next client
removes it.
"""

from __future__ import annotations

import errno
import logging
import mmap
import os
import threading
import time
import uuid
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cardioscan_client.faults import Cause, classify

FOLDER: Final = Path("/dev/shm")
"""Where Linux keeps POSIX shared memory."""
PREFIX: Final = "cardioscan-client-"
"""Begins the name of every region, as a file and on the server."""

_LOG = logging.getLogger(__name__)
_RESERVE: Final = 128 << 20
"""Bytes of shared memory that are left to others: a server needs 91 MB for its own processes, and fails without."""
_MIN_AGE_S: Final = 60.0
"""A file is made a moment before it is locked; a younger one is left alone."""


class Region:
    """A piece of shared memory that belongs to this process until ``close``, or until it ends.

    Args:
        size: in bytes. They are set aside at once: writing to memory that turns out to be missing kills the process.

    Raises:
        OSError: there is not that much shared memory left.
    """

    def __init__(self, size: int) -> None:
        import fcntl  # not on Windows, where there is no /dev/shm either

        space = os.statvfs(FOLDER)
        if space.f_bavail * space.f_frsize < size + _RESERVE:
            raise OSError(errno.ENOSPC, "too little shared memory is left", str(FOLDER))
        # The process id tells a person whose region it is, though not across containers.
        self.name, self.size, self.registered = f"{PREFIX}{os.getpid()}-{uuid.uuid4().hex}", size, False
        path = FOLDER / self.name
        # For this user only: pages are patients' data.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._finalizer = weakref.finalize(self, _remove, path, descriptor, os.getpid())
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(descriptor, 0, size)
            self._bytes = np.frombuffer(mmap.mmap(descriptor, size), np.uint8)
        except OSError:
            self.close()
            raise

    @property
    def key(self) -> str:
        """Its name as POSIX has it, by which the server opens it."""
        return "/" + self.name

    def array(self, offset: int, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """The memory from byte ``offset`` on, as an array of that dtype and shape."""
        n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self._bytes[offset : offset + n_bytes].view(dtype).reshape(shape)

    def close(self) -> None:
        """Remove the file; the memory is free when the server lets go of it too. Does nothing twice."""
        self._finalizer()


class RegionPool:
    """A bounded number of regions of one size; threads may share it.

    Args:
        limit: how many regions there may be at once, those included that the server has yet to let go of.
        size: of each, in bytes.
    """

    def __init__(self, limit: int, size: int) -> None:
        self.limit, self.size = limit, size
        self._lock = threading.Lock()
        self._free: list[Region] = []
        self._lent: set[Region] = set()
        self._stale: set[str] = set()

    def take(self, n_bytes: int) -> Region | None:
        """A region for a request; None where none is free, where it would not fit, or where memory is short."""
        if n_bytes > self.size:
            return None
        with self._lock:
            # The one used last: a single caller touches the same memory all the time.
            region = self._free.pop() if self._free else None
            if region is None and len(self._lent) + len(self._stale) < self.limit:
                try:
                    region = Region(self.size)
                except OSError as error:
                    _LOG.info("no shared memory for a request: %s", error)
            if region is not None:
                self._lent.add(region)
        return region

    @contextmanager
    def lend(self, region: Region | None) -> Iterator[None]:
        """For the time of one request; afterwards the region is free again, or gone where it might be written to."""
        try:
            yield
        except BaseException as error:
            if region is not None:
                self._release(region) if _is_rejection(error) else self.discard(region)
            raise
        if region is not None:
            self._release(region)

    def is_exhausted(self) -> bool:
        """Whether there are as many regions as there may be, all of them in use."""
        with self._lock:
            return len(self._lent) + len(self._stale) >= self.limit

    def discard(self, region: Region) -> None:
        """Throw a region away; ``stale`` tells its name until ``forget`` is told that the server let go of it."""
        with self._lock:
            self._lent.discard(region)
            if region.registered:
                self._stale.add(region.name)
        region.close()

    def discard_all(self) -> None:
        """Throw all regions away that are not lent."""
        with self._lock:
            free, self._free = self._free, []
        for region in free:
            self.discard(region)

    def stale(self) -> list[str]:
        """Names of the regions that were thrown away and that the server may still know."""
        with self._lock:
            return sorted(self._stale)

    def forget(self, names: Iterable[str]) -> None:
        """The server does not know these any more."""
        with self._lock:
            self._stale.difference_update(names)

    def _release(self, region: Region) -> None:
        with self._lock:
            self._lent.discard(region)
            self._free.append(region)


def is_available() -> bool:
    """Whether this machine has shared memory of the kind that is used here."""
    return FOLDER.is_dir() and os.access(FOLDER, os.W_OK) and hasattr(os, "posix_fallocate")


def is_alive(name: str) -> bool:
    """Whether the region of that name is still there."""
    return (FOLDER / name).exists()


def remove_leftovers() -> None:
    """Remove the regions of clients that crashed."""
    import fcntl

    for path in FOLDER.glob(PREFIX + "*"):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # gone meanwhile, or another user's
        try:
            if time.time() - os.fstat(descriptor).st_mtime > _MIN_AGE_S:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its owner lives
                path.unlink(missing_ok=True)
        except OSError:
            continue
        finally:
            os.close(descriptor)


def _remove(path: Path, descriptor: int, owner: int) -> None:
    if os.getpid() != owner:
        return  # a forked child is not the one to clear up
    path.unlink(missing_ok=True)
    os.close(descriptor)


def _is_rejection(error: BaseException) -> bool:
    """Whether the server said that it will not run the request."""
    status, message = getattr(error, "status", None), getattr(error, "message", None)
    return callable(status) and callable(message) and classify(status(), message()) is Cause.OVERLOADED
