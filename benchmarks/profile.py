"""Where a page's time and memory go: a table by stage, one by function, and a flame graph.

python -m benchmarks.profile
python -m benchmarks.profile --threads 1 photo.jpg scan.png
python -m benchmarks.profile --server localhost:8001

By stage: wall and CPU seconds of the stage itself (what runs inside it under a name of its own is taken off), and the
highest resident memory while it ran, sampled. By function: pyinstrument's samples of wall time. The flame graph is
written as HTML and in the format of speedscope.app beside the other results.
"""

from __future__ import annotations

# As the command line does, and before NumPy is imported: the threads of its linear algebra would fight for the cores.
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import psutil
from pyinstrument import Profiler
from pyinstrument.frame import Frame
from pyinstrument.renderers import HTMLRenderer, SpeedscopeRenderer

from benchmarks.common import RESULTS, ROOT, report
from cardioscan import Digitizer, DigitizerOptions, pipeline
from cardioscan.stopwatch import Stopwatch

SAMPLE_S = 0.002


@dataclass
class Spent:
    """What one stage took over all pages."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int = 0


@dataclass
class Ledger:
    """Books time and memory on the innermost stage that is open; one page at a time."""

    stages: dict[str, Spent] = field(default_factory=lambda: defaultdict(Spent))
    _open: list[str] = field(default_factory=list)
    _since: tuple[float, float] = (0.0, 0.0)

    def _settle(self) -> None:
        now = (time.perf_counter(), time.process_time())
        spent = self.stages[self._open[-1] if self._open else "between"]
        spent.wall_s += now[0] - self._since[0]
        spent.cpu_s += now[1] - self._since[1]
        self._since = now

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Book what happens inside on ``name``."""
        if self._open:
            self._settle()
        else:
            self._since = (time.perf_counter(), time.process_time())
        self._open.append(name)
        try:
            yield
        finally:
            self._settle()
            self._open.pop()

    def sample(self, resident: int) -> None:
        """Note the resident memory of this moment."""
        with contextlib.suppress(IndexError):  # the stage may end meanwhile
            spent = self.stages[self._open[-1]]
            spent.peak_bytes = max(spent.peak_bytes, resident)


def measured_stopwatch(ledger: Ledger) -> type[Stopwatch]:
    """``Stopwatch`` that keeps the ledger beside its own timings."""

    class MeasuredStopwatch(Stopwatch):
        @contextlib.contextmanager
        def __call__(self, name: str) -> Iterator[None]:
            with ledger.stage(name), super().__call__(name):
                yield

    return MeasuredStopwatch


@contextlib.contextmanager
def watched(ledger: Ledger) -> Iterator[None]:
    """Sample this process's resident memory every few milliseconds."""
    process, done = psutil.Process(), threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_S):
            ledger.sample(process.memory_info().rss)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def self_times(root: Frame | None) -> dict[str, float]:
    """Seconds spent in each function itself, as "module:function", from pyinstrument's tree."""
    totals: dict[str, float] = defaultdict(float)
    waiting = [] if root is None else [root]
    while waiting:
        frame = waiting.pop()
        own = frame.time - sum(child.time for child in frame.children)
        if own > 0:
            totals[_name(frame)] += own
        waiting.extend(frame.children)
    return totals


def _name(frame: Frame) -> str:
    # Time in a function itself is a child of its own in this tree: it belongs to the function.
    named = frame.parent if frame.is_synthetic and frame.parent is not None else frame
    path = named.file_path_short or ""
    return f"{path.removesuffix('.py').replace(os.sep, '.')}:{named.function}"


@click.command()
@click.argument("images", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--threads", default=0, help="Threads of the networks; 0 uses all cores.")
@click.option("--server", "address", help="Profile this client of a Triton server instead.")
@click.option("--top", default=25, help="Functions to list.")
def main(images: tuple[Path, ...], threads: int, address: str | None, top: int) -> None:
    """Profile digitizing: the example photograph, or IMAGES, each once after one page that warms up."""
    pages = images or (ROOT / "examples" / "page-photo.jpg",)
    ledger = Ledger()
    profiler = Profiler(interval=SAMPLE_S, async_mode="disabled")
    with contextlib.ExitStack() as stack:
        backend: Any = None
        if address is not None:
            from cardioscan_client.connection import TritonOptions
            from cardioscan_client.triton import TritonBackend

            backend = stack.enter_context(TritonBackend(TritonOptions(address)))
        digitizer = Digitizer(backend, DigitizerOptions(threads=threads))
        digitizer.digitize(pages[0])
        stack.enter_context(patch.object(pipeline, "Stopwatch", measured_stopwatch(ledger)))
        with watched(ledger), profiler:
            for page in pages:
                with ledger.stage("between"):
                    digitizer.digitize(page)
    n = len(pages)
    rows: list[dict[str, object]] = [
        {"stage": name, "wall s": spent.wall_s / n, "CPU s": spent.cpu_s / n, "peak GB": spent.peak_bytes / 1e9}
        for name, spent in ledger.stages.items()
    ]
    total = ledger.stages.values()
    rows.append(
        {
            "stage": "whole page",
            "wall s": sum(spent.wall_s for spent in total) / n,
            "CPU s": sum(spent.cpu_s for spent in total) / n,
            "peak GB": max(spent.peak_bytes for spent in total) / 1e9,
        }
    )
    where = "served" if address else f"embedded, {os.cpu_count()} cores"
    report("profile", f"By stage, mean of {n} page{'' if n == 1 else 's'} ({where})", rows)
    session = profiler.last_session
    assert session is not None
    own = sorted(self_times(session.root_frame()).items(), key=lambda item: -item[1])[:top]
    report(
        "profile-functions",
        "By function, own wall time",
        [{"function": name, "s": seconds / n} for name, seconds in own],
    )
    RESULTS.mkdir(parents=True, exist_ok=True)
    for suffix, renderer in ((".html", HTMLRenderer()), (".speedscope.json", SpeedscopeRenderer())):
        path = RESULTS / f"profile{suffix}"
        path.write_text(profiler.output(renderer), encoding="utf-8")
        click.echo(f"flame graph: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
