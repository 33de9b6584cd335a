"""Seconds by piece of work, and word of what begins, around the stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from numpy.typing import NDArray

from cardioscan.backends.inference import InferenceBackend, Tensors

__all__ = ["Progress", "Stopwatch", "TimedBackend"]

Progress = Callable[[str], None]
"""Called with the name of each piece of work when it begins: a network, or a key of ``EcgRecord.timings_s``."""


class Stopwatch:
    """Books time on the innermost piece of work that is open; one page at a time.

    Args:
        progress: told what begins, in the thread that does it.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress = progress
        self._open: list[str] = []
        self._since = 0.0
        self._seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Book what happens inside on ``name``, less what is booked on other names in there."""
        if self._progress is not None:
            self._progress(name)
        self._settle()
        self._open.append(name)
        try:
            yield
        finally:
            self._settle()
            self._open.pop()

    def _settle(self) -> None:
        now = time.perf_counter()
        if self._open:
            self._seconds[self._open[-1]] = self._seconds.get(self._open[-1], 0.0) + now - self._since
        self._since = now

    def timings_s(self) -> Mapping[str, float]:
        """Seconds by name, so far, to a tenth of a millisecond."""
        return {name: round(seconds, 4) for name, seconds in self._seconds.items()}


class TimedBackend:
    """An inference backend whose networks' time is booked under their names."""

    def __init__(self, backend: InferenceBackend, stopwatch: Stopwatch) -> None:
        self._backend, self._stopwatch = backend, stopwatch

    def infer(self, model: str, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """What the backend answers."""
        with self._stopwatch(model):
            return self._backend.infer(model, inputs)

    def model_versions(self) -> dict[str, tuple[str, str]]:
        """Those of the backend."""
        return self._backend.model_versions()
