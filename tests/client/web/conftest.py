"""Web servers for the tests: uvicorn on a free port, the released networks, every page digitized once a session."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from cardioscan import Digitizer
from cardioscan.backends.specs import NAME_PLACES
from cardioscan.imaging.images import load_image
from cardioscan.pipeline import Digitization, DigitizerOptions
from cardioscan_client.web.options import WebOptions
from cardioscan_client.web.run import address_of, listen, make_server

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
Serve = Callable[..., AbstractContextManager[str]]


class Once(Digitizer):
    """The real digitizer, asked once for every page; asked again, it goes through the same stages in no time."""

    def __init__(self) -> None:
        super().__init__(options=DigitizerOptions(limits=WebOptions().limits))
        self.known: dict[Any, tuple[list[str], Digitization]] = {}
        self.hold: threading.Event | None = None

    def digitize_with_details(self, source: Any, page: int = 0, **guidance: Any) -> Digitization:
        progress = guidance.pop("progress", None) or (lambda stage: None)
        corners = guidance.get("corners")
        key = (hashlib.sha256(source).digest(), page, None if corners is None else np.asarray(corners).tobytes())
        if self.hold is not None:
            progress("read")
            self.hold.wait(60)
        if key not in self.known:
            stages: list[str] = []

            def note(stage: str) -> None:
                stages.append(stage)
                progress(stage)

            details = super().digitize_with_details(source, page, progress=note, **guidance)
            self.known[key] = (stages, details)
        for stage in self.known[key][0]:
            progress(stage)
        return self.known[key][1]


@pytest.fixture(scope="session")
def digitizer() -> Once:
    return Once()


@pytest.fixture(scope="session")
def photo() -> bytes:
    """The example photograph."""
    return (EXAMPLES / "page-photo.jpg").read_bytes()


@pytest.fixture(scope="session")
def truth() -> dict[str, np.ndarray]:
    """Signals and lattice of the example photograph."""
    with np.load(EXAMPLES / "page-photo.npz") as content:
        return {"signals": content["signals"].astype(np.float64), "nodes": content["nodes"]}


@pytest.fixture(scope="session")
def nameless(photo: bytes, truth: dict[str, np.ndarray]) -> bytes:
    """The example photograph with lead names and bars covered: the digitizer cannot place it by itself.

    Of names alone it finds enough by what is around them, the bars above all.
    """
    image = np.array(load_image(photo).pixels)
    nodes = truth["nodes"]
    for label in NAME_PLACES.classes:
        x, y = nodes[label.j, label.i]
        cv2.circle(image, (round(x + 12), round(y)), 44, (236, 232, 240), -1)
        cv2.rectangle(image, (round(x - 22), round(y - 90)), (round(x + 14), round(y - 10)), (236, 232, 240), -1)
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()


@pytest.fixture(scope="session")
def corners(truth: dict[str, np.ndarray]) -> list[list[float]]:
    """The sheet's corners on the photograph, as a hand may set them."""
    nodes = truth["nodes"]
    ends = np.array([nodes[0, 0], nodes[0, -1], nodes[-1, -1], nodes[-1, 0]])
    return (ends + [[6, -8], [-7, 5], [8, 6], [-5, -6]]).round(1).tolist()


@pytest.fixture(scope="session")
def serve(digitizer: Once) -> Serve:
    """``with serve(token=...) as url``: a server with these options."""

    @contextlib.contextmanager
    def run(**options: Any) -> Iterator[str]:
        settings = WebOptions(**{"port": 0, "grace_s": 1.0, **options})
        with contextlib.closing(listen(settings)) as sock:
            server = make_server(digitizer, settings)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
            thread.start()
            while not server.started:
                time.sleep(0.01)
                assert thread.is_alive(), "the server did not start"
            try:
                yield address_of(sock).rstrip("/")
            finally:
                server.should_exit = True
                thread.join(20)

    return run


@pytest.fixture(scope="session")
def url(serve: Serve) -> Iterator[str]:
    """A server with the usual options."""
    with serve() as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=300) as made:
        yield made


@pytest.fixture(scope="session")
def finished() -> Callable[[httpx.Client, str], dict[str, Any]]:
    """``finished(client, id)``: wait for a job and return it."""

    def wait(client: httpx.Client, job_id: str) -> dict[str, Any]:
        version = -1
        while True:
            news = (
                client.get("/v1/jobs", params={"ids": job_id, "since": version, "wait": 20}).raise_for_status().json()
            )
            version = news["version"]
            assert not news["gone"]
            for job in news["jobs"]:
                if job["state"] in ("done", "failed"):
                    return dict(job)

    return wait
