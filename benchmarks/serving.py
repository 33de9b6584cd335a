"""Digitizing embedded and served: latency, throughput, CPU time and bytes on the wire.

python -m benchmarks.serving
python -m benchmarks.serving --concurrency 1,2 --pages 4 --seconds 60
python -m benchmarks.serving --server HOST:8001 --paths messages,ecg_digitizer

Without --server it starts a server of the flavour cpu on this machine. Three tables are printed and written as JSON:
``serving_overhead`` (one page after another, the paths in turn, so that whatever else runs here hits them alike),
``serving_stages`` (the same pages by stage) and ``serving`` (closed and open loops).
"""

from __future__ import annotations

# As the command line does, and before NumPy is imported: the threads of its linear algebra would fight for the cores.
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import contextlib
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import psutil

from benchmarks.common import ROOT, report
from benchmarks.serving_load import Answer, Load, Work, closed_loop, open_loop
from benchmarks.serving_wire import CountingProxy
from cardioscan import Digitizer, DigitizerOptions
from cardioscan.backends.specs import DIGITIZER
from cardioscan.errors import ServingError
from cardioscan.record import EcgRecord
from cardioscan_client.connection import TritonOptions
from cardioscan_client.serve import ServerOptions, TritonServer
from cardioscan_client.triton import TritonBackend
from cardioscan_export.repository import RepositoryOptions, write_repository

PATHS = ("embedded", "messages", "compressed", "shared memory", "ecg_digitizer")
"""How a page can be digitized; ``compressed`` is what a client on another machine does."""
TIMEOUT_S = 3600.0
Result = tuple[Load, float, float | None]
"""A load, the CPU seconds of this process per page and those of the server."""


@dataclass(frozen=True)
class Bench:
    """What all measurements share.

    Attributes:
        content: the encoded page.
        address: of the server.
        pid: of the server's process; None where it runs elsewhere.
        embedded: digitizes the page in this process.
    """

    content: bytes
    address: str
    pid: int | None
    embedded: Work

    @contextlib.contextmanager
    def path(self, name: str, address: str | None = None) -> Iterator[Work]:
        """A way to digitize the page, connected through ``address`` where one is given."""
        address = address or self.address
        if name == "embedded":
            yield self.embedded
        elif name == "ecg_digitizer":
            with _whole_page(address, self.content) as work:
                yield work
        else:
            choices: dict[str, Any] = {
                "messages": {"shared_memory": "never", "compression": "never"},
                "compressed": {"shared_memory": "never", "compression": "always"},
                "shared memory": {"shared_memory": "always"},
            }[name]
            options = TritonOptions(address, None, TIMEOUT_S, shared_memory_regions=16, **choices)
            with TritonBackend(options) as backend:
                digitizer = Digitizer(backend)
                yield lambda: _answer(digitizer.digitize(self.content))

    def server_cpu_s(self) -> float | None:
        """CPU seconds that the server and its processes have used so far; None where it runs elsewhere."""
        if self.pid is None:
            return None
        server = psutil.Process(self.pid)
        return sum(sum(process.cpu_times()[:2]) for process in [server, *server.children(recursive=True)])

    def measured(self, run: Callable[[], Load]) -> Result:
        """What came of a load, the CPU seconds of this process per page, and those of the server."""
        client, server = time.process_time(), self.server_cpu_s()
        load = run()
        client, after = time.process_time() - client, self.server_cpu_s()
        n_pages = max(1, load.pages)
        return load, client / n_pages, None if server is None or after is None else (after - server) / n_pages


def embedded(content: bytes, threads: int) -> Work:
    """Digitizing in this process; ``threads`` per network, 0 takes all cores."""
    digitizer = Digitizer(options=DigitizerOptions(threads=threads))
    # More pages at once than cores would take memory and give nothing; further ones wait, as they do on a server.
    slots = threading.Semaphore(os.cpu_count() or 1)

    def work() -> Answer:
        with slots:
            return _answer(digitizer.digitize(content))

    return work


@contextlib.contextmanager
def _whole_page(address: str, content: bytes) -> Iterator[Work]:
    """The pipeline on the server: one request per page."""
    import tritonclient.grpc
    from tritonclient.utils import InferenceServerException

    client = tritonclient.grpc.InferenceServerClient(address)
    image = tritonclient.grpc.InferInput("image", [len(content)], "UINT8")
    image.set_data_from_numpy(np.frombuffer(content, np.uint8))

    def work() -> Answer:
        try:
            result = client.infer(DIGITIZER.name, [image], client_timeout=TIMEOUT_S)
        except InferenceServerException as error:
            raise ServingError(str(error)) from error
        page = json.loads(result.as_numpy("record").tobytes())
        return Answer(page["outcome"] == "digitized", page["timings_s"])

    try:
        yield work
    finally:
        client.close()


def _answer(record: EcgRecord) -> Answer:
    return Answer(record.outcome.value == "digitized", record.timings_s)


def wire_mb(bench: Bench, name: str) -> tuple[float, float]:
    """MB (10^6 bytes) that a page sends and receives; this page is also the path's warm-up."""
    if name == "embedded":
        with bench.path(name) as work:
            work()
        return 0.0, 0.0
    with CountingProxy(bench.address) as proxy, bench.path(name, proxy.address) as work:
        proxy.reset()
        with contextlib.suppress(ServingError):  # too slow today; the tables will tell
            work()
        return proxy.sent / 1e6, proxy.received / 1e6


def one_by_one(bench: Bench, names: list[str], pages: int, seconds: float) -> dict[str, Result]:
    """Each path at concurrency 1, in turns."""
    loads = {name: Load() for name in names}
    spent: dict[str, list[tuple[float, float | None]]] = {name: [] for name in names}
    end = time.perf_counter() + seconds * len(names)
    with contextlib.ExitStack() as stack:
        works = {name: stack.enter_context(bench.path(name)) for name in names}
        for _ in range(pages):
            for name, work in works.items():
                load, client, server = bench.measured(partial(closed_loop, work, 1, 1, seconds))
                loads[name].elapsed_s += load.elapsed_s
                loads[name].latencies_s += load.latencies_s
                loads[name].answers += load.answers
                loads[name].failed += load.failed
                spent[name].append((client, server))
            if time.perf_counter() > end:
                break
    return {
        name: (
            loads[name],
            _median([client for client, _ in spent[name]]),
            _median([server for _, server in spent[name]]),
        )
        for name in names
    }


def _median(values: list[Any]) -> Any:
    return None if any(value is None for value in values) else float(np.median(values))


def _row(name: str, loop: str, at: float, result: Result, wire: tuple[float, float]) -> dict[str, Any]:
    load, client, server = result
    return {
        "path": name,
        "loop": loop,
        "callers or pages/min": at,
        "pages": load.pages,
        "failed": load.failed,
        "pages/min": 60 * load.pages_per_s,
        "median s": load.latency_s(50),
        "p95 s": load.latency_s(95),
        "client CPU s/page": client,
        "server CPU s/page": None if name == "embedded" else server,
        "MB/page": sum(wire),
    }


def _overhead(alone: dict[str, Result], wires: dict[str, tuple[float, float]]) -> list[dict[str, Any]]:
    rows = []
    for name, (load, client, server) in alone.items():
        cpu = client if name == "embedded" or server is None else client + server
        rows.append({"path": name, "pages": load.pages, "median s": load.latency_s(50), "CPU s/page": cpu})
        if "embedded" in alone:
            base, base_cpu, _ = alone["embedded"]
            rows[-1]["time, % over embedded"] = 100 * (_ratio(load.latency_s(50), base.latency_s(50)) - 1)
            rows[-1]["CPU, % over embedded"] = 100 * (_ratio(cpu, base_cpu) - 1)
        rows[-1]["MB sent"], rows[-1]["MB received"] = wires[name]
    return rows


def _ratio(value: float | None, base: float | None) -> float:
    return value / base if value is not None and base else float("nan")


@contextlib.contextmanager
def _server(address: str | None, threads: int, digitizers: int) -> Iterator[tuple[str, int | None]]:
    if address is not None:
        yield address, None
        return
    with tempfile.TemporaryDirectory() as folder:
        write_repository(folder, RepositoryOptions("cpu", threads=threads, digitizers=digitizers, link=True))
        with TritonServer(folder, ServerOptions(grpc_port=0, http_port=0, metrics_port=0)) as server:
            yield server.grpc_address, server.pid


@click.command()
@click.option("--concurrency", default="1,2,4,8,16", help="Callers of the closed loops.")
@click.option("--pages", default=8, help="Pages per point (at least one for each caller).")
@click.option("--seconds", default=600.0, help="No page of a point begins after so many.")
@click.option(
    "--load", "share", default=0.7, help="Arrivals of the open loop as a share of the best closed loop's rate."
)
@click.option("--paths", default=",".join(PATHS), help="Which paths to measure.")
@click.option("--image", default=str(ROOT / "examples" / "page-photo.jpg"), help="The page.")
@click.option("--threads", default=0, help="Threads of each network; 0 uses all cores.")
@click.option("--server", "address", help="A server that runs already; its CPU time is not measured.")
@click.option("--seed", default=0, help="Start of the random arrivals.")
def main(
    concurrency: str,
    pages: int,
    seconds: float,
    share: float,
    paths: str,
    image: str,
    threads: int,
    address: str | None,
    seed: int,
) -> None:
    """Measure and print the tables."""
    names, callers = paths.split(","), [int(number) for number in concurrency.split(",")]
    if unknown := set(names) - set(PATHS):
        raise click.UsageError(f"unknown paths {', '.join(sorted(unknown))}; known are {', '.join(PATHS)}")
    rng = np.random.default_rng(seed)
    digitizers = min(max(callers), os.cpu_count() or 1) if "ecg_digitizer" in names else 0
    with _server(address, threads, digitizers) as (place, pid):
        content = Path(image).read_bytes()
        bench = Bench(content, place, pid, embedded(content, threads))
        wires = {name: wire_mb(bench, name) for name in names}
        alone = one_by_one(bench, names, pages, seconds)
        report("serving_overhead", "One page after another", _overhead(alone, wires))
        stages = list(
            dict.fromkeys(stage for load, _, _ in alone.values() for item in load.answers for stage in item.stages)
        )
        report(
            "serving_stages",
            "Median s per stage, one page after another",
            [
                {"stage": stage} | {name: load.stage_s(stage) for name, (load, _, _) in alone.items()}
                for stage in stages
            ],
        )
        rows = []
        for name in names:
            best = alone[name][0].pages_per_s
            rows.append(_row(name, "closed", 1, alone[name], wires[name]))
            with bench.path(name) as work:
                for number in callers:
                    if number > 1:
                        result = bench.measured(partial(closed_loop, work, number, pages, seconds))
                        best = max(best, result[0].pages_per_s)
                        rows.append(_row(name, "closed", number, result, wires[name]))
                rate = share * best
                result = bench.measured(partial(open_loop, work, rate, pages, seconds, rng))
                rows.append(_row(name, "open", 60 * rate, result, wires[name]))
            report("serving", "Closed loops (callers) and open loops (arrivals per minute)", rows)


if __name__ == "__main__":
    main()
