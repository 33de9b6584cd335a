"""Putting load on a digitizer: closed loops (so many callers, each with one page) and open ones (random arrivals)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cardioscan.errors import ServingError


@dataclass(frozen=True)
class Answer:
    """What came of one page.

    Attributes:
        digitized: whether it was; False for a page that was refused.
        stages: seconds per stage, by name.
    """

    digitized: bool
    stages: Mapping[str, float] = field(default_factory=dict)


Work = Callable[[], Answer]
"""Digitizes one page."""


@dataclass
class Load:
    """What came of many pages.

    Attributes:
        elapsed_s: from the first to the last.
        latencies_s: of the pages that were answered; in an open loop from when they arrived.
        answers: of these.
        failed: how many met an error of the server.
    """

    elapsed_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    failed: int = 0

    @property
    def pages(self) -> int:
        """How many pages were answered."""
        return len(self.answers)

    @property
    def pages_per_s(self) -> float:
        """How many pages were answered per second."""
        return self.pages / self.elapsed_s if self.elapsed_s else 0.0

    def latency_s(self, percentile: float) -> float | None:
        """A percentile of the latency; None where nothing was answered."""
        return float(np.percentile(self.latencies_s, percentile)) if self.latencies_s else None

    def stage_s(self, stage: str) -> float:
        """Median seconds of a stage; NaN where nothing was answered."""
        return float(np.median([answer.stages.get(stage, 0.0) for answer in self.answers] or [np.nan]))

    def add(self, work: Work, since: float, lock: threading.Lock) -> None:
        """Digitize one page that has waited since a time of ``perf_counter``."""
        try:
            answer = work()
        except ServingError:
            with lock:
                self.failed += 1
            return
        with lock:
            self.latencies_s.append(time.perf_counter() - since)
            self.answers.append(answer)


def closed_loop(work: Work, concurrency: int, pages: int, seconds: float) -> Load:
    """Callers that each send their next page when the last one is answered.

    Args:
        work: digitizes a page; called from ``concurrency`` threads.
        concurrency: number of callers.
        pages: to digitize, at least one for each caller.
        seconds: after which no further page is begun.
    """
    load, lock, left = Load(), threading.Lock(), iter(range(max(pages, concurrency)))
    started = time.perf_counter()

    def call() -> None:
        while True:
            with lock:
                if next(left, None) is None:
                    return
            since = time.perf_counter()
            if since - started > seconds:
                return
            load.add(work, since, lock)

    _run([threading.Thread(target=call) for _ in range(concurrency)])
    load.elapsed_s = time.perf_counter() - started
    return load


def open_loop(work: Work, rate: float, pages: int, seconds: float, rng: np.random.Generator) -> Load:
    """Pages that arrive at random (Poisson), whatever has become of those before.

    Args:
        work: digitizes a page; called from a thread for each page.
        rate: mean arrivals per second.
        pages: how many arrive.
        seconds: after which none arrives.
        rng: source of the arrivals.
    """
    load, lock = Load(), threading.Lock()
    arrivals = np.cumsum(rng.exponential(1 / rate, pages))
    started = time.perf_counter()
    threads = []
    for arrival in arrivals[arrivals <= max(seconds, arrivals[0])]:
        time.sleep(max(0.0, started + arrival - time.perf_counter()))
        thread = threading.Thread(target=load.add, args=(work, started + arrival, lock))
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join()
    load.elapsed_s = time.perf_counter() - started
    return load


def _run(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
