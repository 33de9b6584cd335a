"""``DigitizeStream``: results as they finish, bounded in flight, one bad page among good ones."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from cardioscan.errors import (
    DeadlineExceededError,
    ImageError,
    RefusalCode,
    ServerOverloadedError,
    ServerUnavailableError,
)
from cardioscan.record import EcgRecord, Reason
from cardioscan_client.gateway.pages import PageAnswer, PageCall
from cardioscan_client.gateway.streams import answer_stream
from cardioscan_client.gateway.v1 import digitizer_pb2 as pb
from cardioscan_client.gateway.v1 import digitizer_pb2_grpc

Start = Callable[..., Any]
Until = Callable[[Callable[[], bool]], None]


def refuse(image: bytes, page: int, call: PageCall) -> PageAnswer:
    return PageAnswer(EcgRecord.refused("page", [Reason("no_labels_found", image.decode())]), 1)


def test_one_bad_page_among_good_ones(blank: Any, paper: bytes, tmp_path: Path) -> None:
    file = tmp_path / "good.png"
    file.write_bytes(paper)
    sent: list[Any] = [
        ("a", paper),
        ("b", file),
        ("bad", paper[:60] + b"\0" * 40),
        ("c", paper, 0),
        ("beyond", paper, 7),
        ("nowhere", tmp_path / "nowhere.png"),
        ("d", paper),
    ]
    with blank.client() as client:
        found = {page.page_id: page for page in client.digitize_stream(sent)}
    assert found.keys() == {"a", "b", "c", "d", "bad", "beyond", "nowhere"}
    for name in "abcd":
        assert (found[name].error, found[name].n_pages) == (None, 1)
        assert found[name].record.reasons[0].code == "no_labels_found" and found[name].record.name == name
    trouble = {name: found[name].error for name in ("bad", "beyond", "nowhere")}
    assert all(isinstance(error, ImageError) and found[name].record is None for name, error in trouble.items())
    codes = {name: error.code for name, error in trouble.items() if isinstance(error, ImageError)}
    assert codes == {
        "bad": RefusalCode.CORRUPT_IMAGE,
        "beyond": RefusalCode.PAGE_NOT_FOUND,
        "nowhere": RefusalCode.FILE_NOT_FOUND,
    }
    assert blank.value("cardioscan_pages_total", outcome="invalid", reason="corrupt_image") == 1


def test_results_come_as_they_finish(start: Start, gate: Any) -> None:
    def work(image: bytes, page: int, call: PageCall) -> PageAnswer:
        return gate(image, page, call) if image == b"slow" else refuse(image, page, call)

    running = start(work, jobs=2, pages_per_stream=3)
    order = []
    with running.client() as client:
        for page in client.digitize_stream([("slow", b"slow"), *((str(n), b"quick") for n in range(5))]):
            order.append(page.page_id)
            if page.page_id == "4":
                gate.opened.set()
    assert order == ["0", "1", "2", "3", "4", "slow"]


def test_nothing_is_read_beyond_the_window(start: Start, gate: Any, until: Until) -> None:
    drawn: list[int] = []

    def pages() -> Iterator[tuple[str, bytes]]:
        for number in range(40):
            drawn.append(number)
            yield str(number), bytes(4 << 20)

    running = start(gate, jobs=1, pages_per_stream=3)
    taken = lambda: running.value("cardioscan_pages_in_flight") + running.value("cardioscan_pages_waiting")  # noqa: E731
    with running.client() as client:
        results = client.digitize_stream(pages())
        first: list[Any] = []
        reading = threading.Thread(target=lambda: first.append(next(results)))
        reading.start()
        until(lambda: taken() == 3)
        counts = [len(drawn)]
        while len(counts) < 20 or counts[-1] != counts[-20]:  # until the sender is stuck
            time.sleep(0.05)
            counts.append(len(drawn))
        assert taken() == 3 and len(drawn) <= 10
        gate.opened.set()
        reading.join()
        assert len({page.page_id for page in [*first, *results]}) == 40


def test_a_caller_who_leaves_stops_the_work(start: Start, gate: Any, until: Until) -> None:
    running = start(gate, jobs=2, pages_per_stream=4)
    with grpc.insecure_channel(running.address) as channel:
        requests = iter([pb.DigitizeStreamRequest(page_id=str(n), image=b"x") for n in range(10)])
        call = digitizer_pb2_grpc.DigitizerServiceStub(channel).DigitizeStream(requests)
        until(lambda: len(gate.seen) == 2 and running.value("cardioscan_streams") == 1)
        call.cancel()
        until(lambda: gate.ended == ["PageCancelledError"] * 2)
    until(lambda: running.value("cardioscan_streams") == 0 and running.value("cardioscan_pages_in_flight") == 0)
    assert len(gate.seen) == 2


def test_each_page_has_its_own_deadline(start: Start, gate: Any) -> None:
    running = start(gate, page_timeout_s=0.2)
    with running.client() as client:
        found = list(client.digitize_stream([(str(n), b"x") for n in range(3)]))
    assert sorted(page.page_id for page in found) == ["0", "1", "2"]
    assert all(isinstance(page.error, DeadlineExceededError) for page in found)


def test_the_deadline_of_the_stream_ends_it(start: Start, gate: Any, until: Until) -> None:
    """Whose clock is ahead decides whether its caller hears it of the stream or of the page."""
    running = start(gate)
    with running.client() as client:
        try:
            (page,) = client.digitize_stream([("0", b"x")], timeout_s=0.3)
        except DeadlineExceededError:
            pass
        else:
            assert isinstance(page.error, DeadlineExceededError)
    until(lambda: len(gate.ended) == 1)


def test_one_stream_too_many(start: Start, gate: Any, until: Until) -> None:
    running = start(gate, streams=1)
    with running.client() as client:
        holding = threading.Thread(target=lambda: list(client.digitize_stream([("0", b"x")])))
        holding.start()
        until(lambda: running.value("cardioscan_streams") == 1)
        with pytest.raises(ServerOverloadedError, match="1 streams are open"):
            list(client.digitize_stream([("1", b"x")]))
        gate.opened.set()
        holding.join()
    assert running.value("cardioscan_rejected_total", reason="streams_full") == 1


def test_what_goes_wrong_in_the_callers_own_pages_is_raised(start: Start) -> None:
    def pages() -> Iterator[tuple[str, bytes]]:
        yield "0", b"x"
        raise LookupError("the archive has a hole")

    with start(refuse).client() as client, pytest.raises(LookupError, match="has a hole"):
        list(client.digitize_stream(pages()))


def test_a_stream_ends_when_the_gateway_is_stopped(start: Start, gate: Any, until: Until) -> None:
    """What was read of it is answered; then its caller learns that the rest was not."""
    running = start(gate, pages_per_stream=2)
    more = threading.Event()

    def pages() -> Iterator[tuple[str, bytes]]:
        yield "0", b"x"
        more.wait(60)
        yield "1", b"x"

    with running.client() as client:
        results = client.digitize_stream(pages())
        stopping = threading.Thread(target=running.stop)

        def stop_and_open() -> None:
            until(lambda: len(gate.seen) == 1)
            stopping.start()
            time.sleep(0.2)
            gate.opened.set()

        threading.Thread(target=stop_and_open).start()
        assert next(results).page_id == "0"
        with pytest.raises(ServerUnavailableError, match="is being stopped"):
            next(results)
        more.set()
    stopping.join()
    assert running.finished


@pytest.mark.parametrize("window", [1, 3])
def test_the_window_alone(window: int) -> None:
    """``answer_stream`` without gRPC: never more in flight than the window, nothing lost, nothing twice."""
    flying, most, left = 0, 0, list(range(20))

    async def read() -> int | None:
        nonlocal flying, most
        await asyncio.sleep(0)
        if not left:
            return None
        flying += 1
        most = max(most, flying)
        return left.pop(0)

    async def answer(number: int) -> int:
        await asyncio.sleep(0.001 * (number % 3))
        return number

    async def run() -> AsyncIterator[int]:
        nonlocal flying
        async for number in answer_stream(read, answer, window, asyncio.Event()):
            flying -= 1
            yield number

    async def collect() -> list[int]:
        return [number async for number in run()]

    assert sorted(asyncio.run(collect())) == list(range(20))
    assert most == window
