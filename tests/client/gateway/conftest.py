"""Real gateways in this process, each with an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("grpc_health", reason="the package grpcio-health-checking (extra 'gateway') is not installed")
pytest.importorskip("prometheus_client", reason="the package prometheus-client (extra 'gateway') is not installed")

from cardioscan.backends.inference import OnnxBackend, Tensors
from cardioscan.backends.specs import SPECS
from cardioscan.pipeline import DigitizerOptions
from cardioscan.record import EcgRecord, Reason
from cardioscan_client.gateway.client import DigitizerClient
from cardioscan_client.gateway.options import GatewayOptions
from cardioscan_client.gateway.pages import PageAnswer, PageCall, PageDigitizer, PageFunction
from cardioscan_client.gateway.server import Gateway

PATIENCE_S = 60.0


class Gate:
    """A page function that holds every page until it is opened, or until the page's call ends; keeps count."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.seen: list[bytes] = []
        self.ended: list[str] = []

    def __call__(self, image: bytes, page: int, call: PageCall) -> PageAnswer:
        self.seen.append(image[:16])
        try:
            while not self.opened.wait(0.01):
                call.check("the page")
        except Exception as error:
            self.ended.append(type(error).__name__)
            raise
        return PageAnswer(EcgRecord.refused("page", [Reason("no_labels_found", "held, then let go")]), 1)


class BlankBackend:
    """Networks that see nothing: zeros of the right shapes, after ``delay_s``."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s, self.calls = delay_s, 0

    def infer(self, model: str, inputs: Tensors) -> dict[str, np.ndarray]:
        self.calls += 1
        time.sleep(self.delay_s)
        return {tensor.name: np.zeros((1, *tensor.shape), tensor.dtype) for tensor in SPECS[model].outputs}

    def model_versions(self) -> dict[str, tuple[str, str]]:
        return {}


class Running:
    """A gateway that runs in a thread until it is stopped."""

    def __init__(self, work: PageFunction, upstream: Callable[[], bool] | None = None, **options: Any) -> None:
        given = {"port": 0, "metrics_port": 0, "grace_s": 10.0, **options}
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._trouble: BaseException | None = None
        self.finished: bool | None = None
        self.gateway = Gateway(work, GatewayOptions(**given), upstream)
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._run()))
        self._thread.start()
        self._ready.wait()
        if self._trouble is not None:
            self._thread.join()
            raise self._trouble

    async def _run(self) -> None:
        try:
            await self.gateway.start()
        except BaseException as error:
            self._trouble = error
            return
        finally:
            self._ready.set()
        await self._stop.wait()
        self.finished = await self.gateway.drain()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.gateway.port}"

    def client(self, **options: Any) -> DigitizerClient:
        return DigitizerClient(self.address, **options)

    def value(self, name: str, **labels: str) -> float:
        """A metric as it is now; 0 where it was never counted."""
        return self.gateway.metrics.registry.get_sample_value(name, labels) or 0.0

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


StartGateway = Callable[..., Running]


@pytest.fixture
def start() -> Iterator[StartGateway]:
    """``start(work, **options)`` runs a gateway until the test is over."""
    running: list[Running] = []

    def begin(work: PageFunction, **options: Any) -> Running:
        running.append(Running(work, **options))
        return running[-1]

    yield begin
    for gateway in running:
        gateway.stop()


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A page function that holds pages; opened when the test is over."""
    made = Gate()
    yield made
    made.opened.set()


@pytest.fixture
def blank_backend() -> type[BlankBackend]:
    """Makes backends that see nothing."""
    return BlankBackend


@pytest.fixture
def blank(start: StartGateway) -> Running:
    """A gateway with the real pipeline over networks that see nothing: quick, and every page is refused."""
    return start(PageDigitizer(BlankBackend(), DigitizerOptions()))


@pytest.fixture(scope="session")
def embedded() -> Iterator[Running]:
    """A gateway with the released networks, on one thread."""
    options = DigitizerOptions(threads=1)
    running = Running(PageDigitizer(OnnxBackend(threads=1), options), page_timeout_s=600)
    yield running
    running.stop()


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Waits until a condition holds; fails where it never does."""

    def wait(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, "it never came to pass"
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def example() -> Path:
    """A photographed page."""
    return Path(__file__).resolve().parents[3] / "examples" / "page-photo.jpg"


@pytest.fixture(scope="session")
def paper() -> bytes:
    """A PNG of blank paper, large enough to be looked at."""
    import cv2

    return cv2.imencode(".png", np.full((400, 500, 3), 250, np.uint8))[1].tobytes()
