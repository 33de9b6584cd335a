"""Tensors in shared memory: used where the server offers it, given up without a word where not, never left behind."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.serving_wire import CountingProxy
from cardioscan.backends.specs import SPECS
from cardioscan.errors import DeadlineExceededError, ServerOverloadedError, ServerUnavailableError, ServingError
from cardioscan_client import shared_memory
from cardioscan_client.connection import TritonOptions, is_on_this_machine
from cardioscan_client.deadline import page_deadline
from cardioscan_client.serve import ServerOptions, TritonServer
from cardioscan_client.shared_memory import FOLDER, PREFIX, Region, RegionPool, is_alive, remove_leftovers
from cardioscan_client.shared_tensors import layout
from cardioscan_client.triton import TritonBackend
from cardioscan_client.triton_aio import AsyncTritonBackend

WriteBlank = Callable[..., Path]
pytestmark = pytest.mark.skipif(not shared_memory.is_available(), reason="this machine has no /dev/shm")


def request(model: str = "source_classifier", n: int = 1) -> dict[str, np.ndarray]:
    return {item.name: np.zeros((n, *item.shape), item.dtype) for item in SPECS[model].inputs}


def regions() -> set[str]:
    """Those of this process."""
    return {path.name for path in FOLDER.glob(f"{PREFIX}{os.getpid()}-*")}


def known(backend: TritonBackend) -> set[str]:
    """The regions that the server has mapped."""
    return set(backend._client.get_system_shared_memory_status().regions)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = regions()  # a client of another test may still be open
    yield
    assert regions() <= before


@pytest.fixture
def blank_server(blank_repository: WriteBlank, any_ports: ServerOptions) -> Iterator[TritonServer]:
    with TritonServer(blank_repository(), any_ports) as running:
        yield running


def set_delay(server: TritonServer, seconds: float) -> None:
    for name in SPECS:
        (server.repository / name / "delay").write_text(str(seconds))


def run_client(address: str, *lines: str) -> subprocess.Popen[str]:
    """A process of its own with a connected ``backend``, which has made a request."""
    code = [
        "import numpy as np",
        "from cardioscan_client.triton import TritonBackend",
        f"backend = TritonBackend({address!r})",
        "assert backend.uses_shared_memory",
        "backend.infer('source_classifier', {'thumbnail': np.zeros((1, 3, 456, 456), np.uint8)})",
        "print('ready', flush=True)",
        *lines,
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", "\n".join(code)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


# Regions and their pool


def test_regions_are_used_again_and_bounded() -> None:
    pool = RegionPool(limit=2, size=4096)
    first, second = pool.take(10), pool.take(4096)
    assert first is not None and second is not None and pool.take(10) is None, "no more than two"
    assert pool.take(4097) is None, "too large for a region"
    with pool.lend(first):
        first.array(64, "float32", (3, 5))[...] = 1.5
    again = pool.take(10)
    assert again is first
    pool.discard(first)
    pool.discard(second)
    assert pool.stale() == [], "the server was never told of them"


@pytest.mark.parametrize(
    ("error", "kept"), [(None, True), (ServerOverloadedError("full"), False), (KeyboardInterrupt(), False)]
)
def test_a_region_is_kept_only_after_an_answer(error: BaseException | None, kept: bool) -> None:
    pool = RegionPool(limit=1, size=4096)
    region = pool.take(1)
    assert region is not None
    region.registered = True
    try:
        with pool.lend(region):
            if error is not None:
                raise error
    except BaseException as caught:
        assert caught is error
    assert is_alive(region.name) is kept
    assert pool.stale() == ([] if kept else [region.name])
    if not kept:
        assert pool.take(1) is None, "the server may still hold the memory of the one that was thrown away"
        pool.forget([region.name])
    pool.discard_all()


def test_too_little_memory_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = RegionPool(limit=1, size=1 << 60)
    assert pool.take(1) is None and not pool.is_exhausted()
    space = os.statvfs(FOLDER)
    monkeypatch.setattr(shared_memory, "_RESERVE", space.f_bavail * space.f_frsize)
    assert RegionPool(limit=1, size=4096).take(1) is None, "the rest is the server's"


def test_a_region_holds_a_page_of_the_largest_network() -> None:
    places, size = layout(SPECS["waveform_extractor"], 1)
    assert places == {"page": 0, "row_coverage": 3 * 1700 * 2200 + -(3 * 1700 * 2200) % 64}
    assert size >= 7 * 1700 * 2200


def test_only_the_regions_of_the_dead_are_removed() -> None:
    mine = Region(4096)
    old = 1.0
    os.utime(FOLDER / mine.name, (old, old))
    code = """
import os
from cardioscan_client.shared_memory import Region
region = Region(4096)
print(region.name, flush=True)
os.abort()
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    name = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment).stdout.strip()
    assert is_alive(name)
    remove_leftovers()
    assert is_alive(name), "it may just have been made, and not be locked yet"
    os.utime(FOLDER / name, (old, old))
    remove_leftovers()
    assert not is_alive(name) and is_alive(mine.name)
    mine.close()
    mine.close()


# With a server


def test_every_network_takes_it(blank_server: TritonServer) -> None:
    with TritonBackend(blank_server.grpc_address) as backend:
        assert backend.uses_shared_memory
        for name, spec in SPECS.items():
            answer = backend.infer(name, request(name))
            assert {key: (value.shape, str(value.dtype)) for key, value in answer.items()} == {
                item.name: ((1, *item.shape), item.dtype) for item in spec.outputs
            }
        assert len(known(backend)) == 1, "one caller needs one region"
        answer = backend.infer("waveform_extractor", request("waveform_extractor", 2))
        assert answer["row_coverage"].shape == (2, 4, 1700, 2200), "too large for a region, so it went as a message"
        names = known(backend)
    with TritonBackend(TritonOptions(blank_server.grpc_address, shared_memory="never")) as backend:
        assert not backend.uses_shared_memory
        assert known(backend) & names == set()


def test_a_request_that_was_given_up_does_not_write_into_another(blank_server: TritonServer) -> None:
    with TritonBackend(blank_server.grpc_address) as backend:
        (first,) = known(backend)
        set_delay(blank_server, 1.0)
        with page_deadline(0.2), pytest.raises(DeadlineExceededError):
            backend.infer("source_classifier", request())
        assert not is_alive(first)
        set_delay(blank_server, 0)
        backend.infer("source_classifier", request())  # waits for the one that was given up
        (second,) = known(backend) - {first}
        backend._shared_tensors._pool.discard_all()
        backend.infer("source_classifier", request())
        assert known(backend) & {first, second} == set(), "the server has let go of them"


def test_a_server_that_was_restarted_is_told_anew(blank_server: TritonServer) -> None:
    with TritonBackend(blank_server.grpc_address) as backend:
        before = known(backend)
        blank_server.stop()
        with TritonServer(blank_server.repository, blank_server.options):
            # Nobody was there to see it end: the first sign is a region that is not known.
            assert backend.infer("source_classifier", request())["source_probability"].shape == (1, 12)
            assert backend.uses_shared_memory
            assert len(known(backend)) == 1 and known(backend) != before


def test_a_server_that_is_away_when_it_is_told(blank_server: TritonServer) -> None:
    others = regions()
    with TritonBackend(TritonOptions(blank_server.grpc_address, reconnect_s=0.3)) as backend:
        backend._shared_tensors._pool.discard_all()
        blank_server.stop()
        with pytest.raises(ServerUnavailableError, match="no server answers"):
            backend.infer("source_classifier", request())
        assert regions() <= others


@pytest.mark.parametrize("how", ["end", "killed"])
def test_what_a_client_leaves_behind(blank_server: TritonServer, how: str) -> None:
    with TritonBackend(TritonOptions(blank_server.grpc_address, shared_memory="never")) as watcher:
        client = run_client(blank_server.grpc_address, "input()")
        assert client.stdout is not None and client.stdout.readline() == "ready\n"
        (name,) = known(watcher)
        if how == "end":
            client.communicate("\n")
            assert client.returncode == 0
        else:
            client.send_signal(signal.SIGKILL)
            client.communicate()
            assert known(watcher) == {name}
            os.utime(FOLDER / name, (1.0, 1.0))
            TritonBackend(blank_server.grpc_address).close()  # the next one clears up
        assert known(watcher) == set()
        assert not is_alive(name)


@pytest.mark.parametrize(
    "changes",
    [{"arguments": ("--grpc-restricted-protocol=shared-memory:key=secret",)}, {"host": "0.0.0.0"}],
    ids=["for those with a password", "open to other machines"],
)
def test_a_server_that_does_not_offer_it(
    blank_repository: WriteBlank, any_ports: ServerOptions, changes: dict[str, Any]
) -> None:
    with TritonServer(blank_repository(), dataclasses.replace(any_ports, **changes)) as running:
        with TritonBackend(running.grpc_address) as backend:
            assert not backend.uses_shared_memory
            assert backend.infer("source_classifier", request())["source_probability"].shape == (1, 12)
        with pytest.raises(ServingError, match="no shared memory with the server"):
            TritonBackend(TritonOptions(running.grpc_address, shared_memory="always"))


def test_the_asyncio_client_shares_too(blank_server: TritonServer) -> None:
    async def ask() -> None:
        async with AsyncTritonBackend(TritonOptions(blank_server.grpc_address, shared_memory_regions=2)) as backend:
            assert backend.uses_shared_memory
            await asyncio.gather(*(backend.infer("source_classifier", request()) for _ in range(5)))
            assert len(regions()) >= 2
            set_delay(blank_server, 1.0)
            given_up = asyncio.ensure_future(backend.infer("source_classifier", request()))
            await asyncio.sleep(0.2)
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
            set_delay(blank_server, 0)
            await backend.infer("source_classifier", request())

    asyncio.run(ask())
    with TritonBackend(TritonOptions(blank_server.grpc_address, shared_memory="never")) as watcher:
        assert known(watcher) == set()


# Bytes on the wire


@pytest.mark.parametrize(
    ("options", "sent_mb", "received_mb"),
    [
        ({}, (0, 0.1), (0, 0.1)),
        ({"shared_memory": "never"}, (11, 12), (14.9, 15.5)),
        ({"shared_memory": "never", "compression": "answers"}, (11, 12), (0, 1)),
        ({"shared_memory": "never", "compression": "always"}, (0, 1), (0, 1)),
    ],
    ids=["shared memory", "messages", "answers compressed", "all compressed"],
)
def test_bytes_on_the_wire(
    blank_server: TritonServer, options: dict[str, str], sent_mb: tuple[float, float], received_mb: tuple[float, float]
) -> None:
    with CountingProxy(blank_server.grpc_address) as proxy:
        with TritonBackend(TritonOptions(proxy.address, **options)) as backend:  # type: ignore[arg-type] # a table
            backend.infer("waveform_extractor", request("waveform_extractor"))
            assert sent_mb[0] <= proxy.sent / 1e6 <= sent_mb[1]
            assert received_mb[0] <= proxy.received / 1e6 <= received_mb[1]


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("localhost:8001", True),
        ("127.0.0.1:8001", True),
        ("[::1]:8001", True),
        ("192.0.2.1:8001", False),
        ("no.such.host.invalid:8001", False),
    ],
)
def test_which_machine_an_address_is_of(address: str, here: bool) -> None:
    assert is_on_this_machine(address) is here
    options = TritonOptions(address)
    assert options.compresses("requests") is options.compresses("answers") is not here


def test_the_environment_can_settle_compression(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARDIOSCAN_COMPRESSION", "answers")
    options = TritonOptions("192.0.2.1:8001")
    assert options.compresses("answers") and not options.compresses("requests")
    assert TritonOptions("192.0.2.1:8001", compression="always").compresses("requests")
    monkeypatch.setenv("CARDIOSCAN_COMPRESSION", "zip")
    with pytest.raises(ServingError, match="CARDIOSCAN_COMPRESSION is one of auto, always"):
        TritonOptions("192.0.2.1:8001")


@pytest.mark.parametrize("options", [{"shared_memory": "yes"}, {"compression": "gzip"}])
def test_unknown_choices_are_named(options: dict[str, str]) -> None:
    with pytest.raises(ServingError, match="is one of auto, always"):
        TritonOptions("localhost:8001", **options)  # type: ignore[arg-type] # what a typo does
