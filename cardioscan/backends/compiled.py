"""Networks as OpenVINO compiled them, kept for the next process, which opens them in a sixth of the time.

Each lies in a file of its own, behind the SHA-256 of its content: a file that was damaged would else compute, silently,
something else. Its name holds a hash of everything that it was made from, so what is found is never out of date.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["CACHE_VARIABLE", "MAX_BYTES", "cache_folder", "entry_name", "load", "store"]

CACHE_VARIABLE: Final = "CARDIOSCAN_CACHE"
"""Environment variable: another folder, or ``off``."""
MAX_BYTES: Final = 1 << 30
"""The four networks take 190 MB in one arithmetic; what was used longest ago goes when a gibibyte is full."""
_OFF: Final = frozenset({"off", "no", "none", "0"})
_SUFFIX: Final = ".compiled"
_DIGEST_BYTES: Final = 32


def cache_folder() -> Path | None:
    """The folder for compiled networks, made if it is not there.

    It lies where this system keeps the caches of a user (``~/.cache/cardioscan`` on Linux), or where
    ``$CARDIOSCAN_CACHE`` says, and is writable by that user alone: what lies there is loaded as code would be.

    Returns:
        None where nothing is to be kept, or where the folder cannot be made, belongs to somebody else, or can be
        written by everybody: networks are then compiled each time.
    """
    chosen = os.environ.get(CACHE_VARIABLE, "").strip()
    if chosen.lower() in _OFF:
        return None
    try:
        folder = Path(chosen) if chosen else _user_cache()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        foreign = hasattr(os, "getuid") and (status.st_uid != os.getuid() or bool(status.st_mode & stat.S_IWOTH))
    except (ImportError, OSError, RuntimeError):  # pathlib raises RuntimeError for a user without a home
        return None
    return folder if os.access(folder, os.W_OK) and not foreign else None


def _user_cache() -> Path:
    from platformdirs import user_cache_path  # of the extra 'openvino', as this cache is

    return user_cache_path("cardioscan", appauthor=False)


def entry_name(model: str, made_from: Mapping[str, Any]) -> str:
    """The file name of a network: its name and a hash of everything that it is made from (JSON values)."""
    content = json.dumps(made_from, sort_keys=True).encode()
    return f"{model}-{hashlib.sha256(content).hexdigest()[:20]}{_SUFFIX}"


def load(folder: Path, name: str) -> NDArray[np.uint8] | None:
    """The content (n,) uint8 stored under a name, mapped into memory and not read: processes share its pages.

    Returns:
        None where there is none, or where it is not what was stored. Nothing writes to a file that is stored, so what
        was checked here stays as it is.
    """
    path = folder / name
    try:
        with path.open("rb") as file:
            # A copy on write, for OpenVINO takes no tensor that it could not write to; it does not write.
            whole = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY), np.uint8)
        os.utime(path)  # it was used
    except (OSError, ValueError):  # ValueError: the file is empty
        return None
    digest, content = whole[:_DIGEST_BYTES], whole[_DIGEST_BYTES:]
    return content if hashlib.sha256(content.data).digest() == digest.tobytes() else None


def store(folder: Path, name: str, content: bytes, limit: int = MAX_BYTES) -> None:
    """Store content under a name, whole or not at all, and make room for it; a full disk is nobody's trouble."""
    with contextlib.suppress(OSError):
        handle, written = tempfile.mkstemp(dir=folder, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(content).digest())
                file.write(content)
            os.replace(written, folder / name)
        except OSError:
            os.unlink(written)
            raise
        _make_room(folder, limit)


def _make_room(folder: Path, limit: int) -> None:
    """Delete what was used longest ago until what is there takes ``limit`` bytes; other processes may do the same."""
    held = [(path.stat(), path) for path in folder.glob(f"*{_SUFFIX}")]
    size = sum(status.st_size for status, _ in held)
    for status, path in sorted(held, key=lambda entry: entry[0].st_mtime):
        if size <= limit:
            break
        path.unlink(missing_ok=True)
        size -= status.st_size
