"""Many requests at a real server: pages overlap and fill its batches, and too much load does not take it down."""

from __future__ import annotations

import asyncio
import http.client
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cardioscan.backends.specs import SPECS
from cardioscan.errors import ServerOverloadedError
from cardioscan.pipeline import DigitizerOptions
from cardioscan_client.batch import run_batch
from cardioscan_client.connection import TritonOptions
from cardioscan_client.faults import Cause
from cardioscan_client.page_runner import BatchOptions
from cardioscan_client.pool import MAX_SERVED_JOBS, available_cpus, default_jobs
from cardioscan_client.serve import ServerOptions, TritonServer
from cardioscan_client.triton import TritonBackend
from cardioscan_client.triton_aio import AsyncDigitizer, AsyncTritonBackend

WriteBlank = Callable[..., Path]
BLANK_PAGE = np.full((300, 300, 3), 255, np.uint8)


@pytest.fixture
def held_server(blank_repository: WriteBlank, any_ports: ServerOptions) -> Iterator[TritonServer]:
    """A server of blank models whose label detector begins to answer when three pages have asked it."""
    repository = blank_repository()
    delay = repository / "label_detector" / "delay"
    delay.write_text("600")
    with TritonServer(repository, any_ports) as running:

        def release() -> None:
            while running.pid is not None and begun(repository) + waiting(running, "label_detector") < 3:
                time.sleep(0.05)
            delay.write_text("0")

        thread = threading.Thread(target=release)
        thread.start()
        yield running
        running.stop()
        thread.join()


def begun(repository: Path) -> int:
    """How many requests the label detector works on: one, or the two that happened to come together."""
    try:
        return int((repository / "label_detector" / "begun").read_text())
    except (FileNotFoundError, ValueError):  # not yet, or just being written
        return 0


def waiting(server: TritonServer, model: str) -> int:
    """How many requests are in a model's queue, by the server's metrics."""
    connection = http.client.HTTPConnection("127.0.0.1", server.options.metrics_port)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    except OSError:
        return 0
    finally:
        connection.close()
    found = re.search(rf'nv_inference_pending_request_count{{model="{model}",version="1"}} (\d+)', text)
    return int(found[1]) if found else 0


def statistics(address: str, model: str) -> Any:
    with TritonBackend(TritonOptions(address, shared_memory="never")) as backend:
        return backend._client.get_inference_statistics(model).model_stats[0]


def patient(server: TritonServer) -> TritonOptions:
    return TritonOptions(server.grpc_address, page_timeout_s=600, request_timeout_s=600)


def batches(address: str) -> set[int]:
    """Sizes of the batches that the label detector was given; a page sends it one view at a time."""
    return {item.batch_size for item in statistics(address, "label_detector").batch_stats}


# Pages overlap


def test_pages_of_a_batch_meet_on_the_server(held_server: TritonServer, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(4)]
    for file in files:
        Image.fromarray(BLANK_PAGE).save(file)
    (tmp_path / "out").mkdir()
    options = BatchOptions(tmp_path / "out", server=patient(held_server))
    results = list(run_batch(files, options, jobs=3))
    assert sorted(result.name for result in results) == [file.stem for file in files]
    assert max(batches(held_server.grpc_address)) == 2, "requests of different pages were computed together"
    with TritonBackend(TritonOptions(held_server.grpc_address, shared_memory="never")) as watcher:
        left = watcher._client.get_system_shared_memory_status().regions
        assert not left, "the worker processes have given their shared memory back"


def test_pages_of_an_event_loop_meet_on_the_server_and_are_bounded(
    held_server: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way = Counter[str]()
    infer = AsyncTritonBackend.infer

    async def counted(self: AsyncTritonBackend, model: str, inputs: Any) -> Any:
        under_way["now"] += 1
        under_way["most"] = max(under_way["most"], under_way["now"])
        try:
            return await infer(self, model, inputs)
        finally:
            under_way["now"] -= 1

    monkeypatch.setattr(AsyncTritonBackend, "infer", counted)

    async def digitize() -> None:
        async with AsyncTritonBackend(patient(held_server)) as backend:
            digitizer = AsyncDigitizer(backend, DigitizerOptions(), max_pages=3)
            await asyncio.gather(*(digitizer.digitize(BLANK_PAGE) for _ in range(4)))
            digitizer.close()

    asyncio.run(digitize())
    assert under_way["most"] == 3
    assert max(batches(held_server.grpc_address)) == 2


@pytest.mark.parametrize(
    ("served", "names", "jobs"),
    [
        (False, ["a.jpg", "b.jpg", "c.pdf"], 1),
        (True, ["a.jpg"], 1),
        (True, ["a.jpg"] * 50, min(available_cpus() + 1, MAX_SERVED_JOBS)),
        (True, ["many-pages.PDF"], min(available_cpus() + 1, MAX_SERVED_JOBS)),
    ],
)
def test_how_many_pages_are_in_work(served: bool, names: list[str], jobs: int) -> None:
    assert default_jobs(served, [Path(name) for name in names]) == jobs


# Too much load


def test_ten_times_the_load(blank_repository: WriteBlank, any_ports: ServerOptions) -> None:
    psutil = pytest.importorskip("psutil", reason="the package psutil (extra 'test') is not installed")
    queue, batch, callers, each = 2, 2, 40, 4  # four requests at a time find room, forty come
    repository = blank_repository(edits={"max_queue_size: 16": f"max_queue_size: {queue}"}, delay_s=0.05)
    with TritonServer(repository, any_ports) as running:
        address = running.grpc_address
        process = psutil.Process(running.pid)
        inputs = {"page": np.zeros((1, *SPECS["label_detector"].inputs[0].shape), np.uint8)}
        outcomes = Counter[str]()
        memory: list[int] = []
        with TritonBackend(TritonOptions(address, request_timeout_s=300)) as backend:

            def ask() -> None:
                for _ in range(each):
                    try:
                        answer = backend.infer("label_detector", inputs)
                        outcomes[f"{answer['label_probability'].shape}"] += 1
                    except ServerOverloadedError:
                        outcomes["rejected"] += 1
                    memory.append(process.memory_info().rss)

            threads = [threading.Thread(target=ask) for _ in range(callers)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            running.check()
            backend.infer("label_detector", inputs)
        told = statistics(address, "label_detector").inference_stats
    # Each request is either answered or rejected, and the server counts the same answers. (It counts no rejections.)
    assert sum(outcomes.values()) == callers * each
    assert set(outcomes) == {"rejected", "(1, 14, 288, 360)"}
    assert told.success.count == callers * each - outcomes["rejected"] + 1
    assert backend.failures[Cause.OVERLOADED] >= 3 * outcomes["rejected"], "each was sent three times"
    # Who was let in waited for the queue before him and no longer, whatever this machine makes of a request.
    waited, computed = told.queue.ns / told.queue.count, told.compute_infer.ns / told.compute_infer.count
    assert waited <= 2 * (queue + batch) * computed
    # 2.4 GB were sent; what one message of each caller takes, twice over, is the most that is held at a time.
    assert max(memory) - min(memory) < 2 * callers * inputs["page"].nbytes
