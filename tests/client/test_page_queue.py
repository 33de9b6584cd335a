"""The queue of pages that the gateway, the web page and the asyncio digitizer share."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from cardioscan_client.page_queue import PageQueue


class Dropped(Exception):
    """Stands for the error of a page that was dropped."""


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Work waits for it; opened when the test is over."""
    made = threading.Event()
    yield made
    made.set()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_pages_in_work_and_waiting_are_counted_and_bounded(gate: threading.Event) -> None:
    queue = PageQueue(2, max_waiting=1)
    assert queue.idle and queue.has_room(3) and not queue.has_room(4)
    futures = [queue.submit(gate.wait) for _ in range(3)]
    until(lambda: queue.running == 2)
    assert (queue.waiting, queue.idle, queue.has_room()) == (1, False, False)
    assert futures[2].cancel(), "a page that waits can be dropped"
    assert queue.waiting == 0 and queue.has_room()
    gate.set()
    until(lambda: queue.idle)
    assert queue.running == 0
    queue.close()
    with pytest.raises(RuntimeError):
        queue.submit(gate.wait)
    assert queue.idle


def test_without_a_bound_there_is_always_room() -> None:
    assert PageQueue(1).has_room(10**6)


@pytest.mark.parametrize("how", ["answered", "late", "cancelled", "closed", "given up"])
def test_how_a_page_may_end(how: str, gate: threading.Event) -> None:
    async def run() -> str:
        queue, told = PageQueue(1), []
        page = asyncio.ensure_future(
            queue.run(
                lambda: "done" if gate.wait(30) else "never",
                lambda: told.append("stop"),
                Dropped,
                0.2 if how == "late" else None,
            )
        )
        while not queue.running:
            await asyncio.sleep(0.01)
        if how == "cancelled":
            page.cancel()
        elif how in ("closed", "given up"):
            queue.close(give_up=how == "given up")
        if how in ("answered", "closed"):
            gate.set()
        try:
            return f"{await page} {len(told)}"
        except Dropped:
            return f"dropped {len(told)}"
        except asyncio.CancelledError:
            return f"cancelled {len(told)}"

    expected = {"answered": "done 0", "closed": "done 0", "cancelled": "cancelled 1"}
    assert asyncio.run(run()) == expected.get(how, "dropped 1")


def test_closing_drops_the_pages_that_wait(gate: threading.Event) -> None:
    async def run() -> None:
        queue = PageQueue(1)
        first = asyncio.ensure_future(queue.run(gate.wait, gate.set, Dropped))
        second = asyncio.ensure_future(queue.run(gate.wait, gate.set, Dropped))
        while not queue.waiting or not queue.running:
            await asyncio.sleep(0.01)
        queue.close()
        with pytest.raises(Dropped):
            await second
        gate.set()
        assert await first is True

    asyncio.run(run())
