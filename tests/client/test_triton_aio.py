"""The asyncio client over a real server."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from cardioscan.backends.inference import OnnxBackend
from cardioscan.backends.specs import SPECS
from cardioscan.errors import DeadlineExceededError, ModelContractError, ServerUnavailableError
from cardioscan_client.connection import TritonOptions
from cardioscan_client.serve import ServerOptions, TritonServer
from cardioscan_client.triton_aio import AsyncDigitizer, AsyncTritonBackend

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "page-photo.jpg"
WriteBlank = Callable[..., Path]


def thumbnail(seed: int = 1) -> dict[str, np.ndarray]:
    shape = (1, *SPECS["source_classifier"].inputs[0].shape)
    return {"thumbnail": np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)}


@pytest.fixture
def blank_server(blank_repository: WriteBlank, any_ports: ServerOptions) -> Iterator[TritonServer]:
    with TritonServer(blank_repository(), any_ports) as running:
        yield running


def set_delay(server: TritonServer, seconds: float) -> None:
    for name in SPECS:
        (server.repository / name / "delay").write_text(str(seconds))


def test_requests_side_by_side_get_their_own_answers(server: TritonServer) -> None:
    async def ask() -> list[np.ndarray]:
        async with AsyncTritonBackend(server.grpc_address) as backend:
            answers = await asyncio.gather(*(backend.infer("source_classifier", thumbnail(n)) for n in range(3)))
            assert backend.model_versions() == {"source_classifier": ("1", SPECS["source_classifier"].sha256)}
        return [answer["source_probability"] for answer in answers]

    embedded = OnnxBackend(threads=1)
    for n, answer in enumerate(asyncio.run(ask())):
        expected = embedded.infer("source_classifier", thumbnail(n))["source_probability"]
        np.testing.assert_allclose(answer, expected, atol=1e-6)


def test_pages_and_the_loop_run_side_by_side(blank_server: TritonServer) -> None:
    set_delay(blank_server, 0.1)

    async def digitize() -> tuple[list[str], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.05)
                ticks += 1

        ticking = asyncio.ensure_future(tick())
        async with AsyncTritonBackend(blank_server.grpc_address) as backend:
            digitizer = AsyncDigitizer(backend, max_pages=2)
            records = await asyncio.gather(*(digitizer.digitize(EXAMPLE) for _ in range(3)))
            digitizer.close()
        ticking.cancel()
        return [record.reasons[0].code for record in records], ticks

    codes, ticks = asyncio.run(digitize())
    assert codes == ["no_labels_found"] * 3, "blank models see no lead name"
    assert ticks > 5, "the loop was never blocked for long"


def test_a_page_has_one_deadline(blank_server: TritonServer) -> None:
    set_delay(blank_server, 0.4)

    async def digitize() -> None:
        async with AsyncTritonBackend(TritonOptions(blank_server.grpc_address, page_timeout_s=1.0)) as backend:
            digitizer = AsyncDigitizer(backend)
            try:
                await digitizer.digitize(EXAMPLE)
            finally:
                digitizer.close()

    # Each request alone would be in time.
    with pytest.raises(DeadlineExceededError, match="within 1 s"):
        asyncio.run(digitize())


def test_a_page_that_is_cancelled_sends_nothing_more(blank_server: TritonServer) -> None:
    set_delay(blank_server, 0.3)

    before = set(threading.enumerate())

    def page_threads() -> list[threading.Thread]:
        return [item for item in threading.enumerate() if item not in before and item.name.startswith("cardioscan")]

    async def digitize() -> None:
        async with AsyncTritonBackend(blank_server.grpc_address) as backend:
            digitizer = AsyncDigitizer(backend)
            page = asyncio.ensure_future(digitizer.digitize(EXAMPLE))
            await asyncio.sleep(0.5)
            assert page_threads()
            page.cancel()
            with pytest.raises(asyncio.CancelledError):
                await page
            digitizer.close()
            # The page's thread ends; the connection serves others.
            for _ in range(200):
                if not page_threads():
                    break
                await asyncio.sleep(0.1)
            assert not page_threads()
            assert (await backend.infer("source_classifier", thumbnail()))["source_probability"].shape == (1, 12)

    asyncio.run(digitize())


def test_a_server_that_is_restarted_is_waited_for(blank_server: TritonServer) -> None:
    again = TritonServer(blank_server.repository, blank_server.options)

    async def ask() -> tuple[int, ...]:
        async with AsyncTritonBackend(blank_server.grpc_address) as backend:
            assert blank_server.pid is not None
            os.kill(blank_server.pid, signal.SIGKILL)
            blank_server.stop()
            starting = asyncio.get_running_loop().run_in_executor(None, again.start)
            answer = await backend.infer("source_classifier", thumbnail())
            await starting
            return answer["source_probability"].shape

    try:
        assert asyncio.run(ask()) == (1, 12)
    finally:
        again.stop()


def test_errors_are_typed(blank_repository: WriteBlank, any_ports: ServerOptions) -> None:
    async def connect(address: str) -> None:
        async with AsyncTritonBackend(address):
            pass

    with pytest.raises(ServerUnavailableError, match="no server answers"):
        asyncio.run(connect("127.0.0.1:9"))
    with pytest.raises(ServerUnavailableError, match="not connected"):
        asyncio.run(AsyncTritonBackend("127.0.0.1:9").infer("source_classifier", thumbnail()))
    repository = blank_repository(edits={"versions: [ 1 ]": "versions: [ 2 ]"})
    with TritonServer(repository, any_ports) as running, pytest.raises(ModelContractError, match="not found"):
        asyncio.run(connect(running.grpc_address))
