"""A page from standard input: a private file for as long as it is needed."""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from cardioscan.imaging.images import DEFAULT_LIMITS, ImageLimits

STANDARD_INPUT: Final = "-"
"""How standard input is named among the inputs; a file of this name is ``./-``."""

NAME: Final = "stdin"
"""Name of the file, and hence of the results."""

_CHUNK: Final = 1 << 20


@contextmanager
def standard_input(stream: BinaryIO, limits: ImageLimits = DEFAULT_LIMITS) -> Iterator[Path]:
    """The bytes of ``stream`` as a file ``stdin`` that this user alone can read.

    A path and not the bytes, for worker processes read it too. It is gone when the block ends, by Ctrl-C, SIGTERM and
    SIGHUP as well. Of a stream that is longer than ``limits`` allow, one byte more than they do is kept: the page is
    then refused as a file of that length is.
    """
    with _exiting_on_signals(), tempfile.TemporaryDirectory(prefix="cardioscan-") as folder:
        path = Path(folder, NAME)
        left = limits.max_bytes + 1
        with path.open("xb") as file:
            while left and (chunk := stream.read(min(left, _CHUNK))):
                left -= file.write(chunk)
        yield path


@contextmanager
def _exiting_on_signals() -> Iterator[None]:
    """Signals that would end the process at once raise SystemExit instead, so that what is open is closed first."""

    def end(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one must not interrupt the cleaning up
        sys.exit(128 + number)

    names = ("SIGTERM", "SIGHUP") if threading.current_thread() is threading.main_thread() else ()
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    # What the caller ignores (nohup) or handles stays as it is.
    numbers = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
