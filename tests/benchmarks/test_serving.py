"""The serving benchmark: its loops and its byte counter."""

from __future__ import annotations

import socket
import threading

import numpy as np
import pytest

from benchmarks.serving_load import Answer, closed_loop, open_loop
from benchmarks.serving_wire import CountingProxy
from cardioscan.errors import ServerOverloadedError


class Counter:
    """Work that waits until so many do it at once, counts them, and fails every ``fails``-th time."""

    def __init__(self, together: int = 1, fails: int = 0) -> None:
        self.together, self.fails, self.done, self.now, self.most = together, fails, 0, 0, 0
        self.lock, self.enough = threading.Lock(), threading.Event()

    def __call__(self) -> Answer:
        with self.lock:
            self.done += 1
            mine = self.done
            self.now += 1
            self.most = max(self.most, self.now)
            if self.now >= self.together:
                self.enough.set()
        self.enough.wait(30)
        with self.lock:
            self.now -= 1
        if self.fails and mine % self.fails == 0:
            raise ServerOverloadedError("full")
        return Answer(True, {"read": float(mine)})


@pytest.mark.parametrize(("callers", "pages", "done"), [(1, 3, 3), (4, 12, 12), (4, 2, 4)])
def test_a_closed_loop_keeps_so_many_pages_in_work(callers: int, pages: int, done: int) -> None:
    work = Counter(callers)
    load = closed_loop(work, callers, pages, 60)
    assert (load.pages, load.failed, work.done) == (done, 0, done)
    assert work.most == callers
    assert load.pages_per_s == pytest.approx(done / load.elapsed_s)
    assert load.stage_s("read") == pytest.approx((1 + done) / 2)


def test_errors_of_the_server_are_counted() -> None:
    load = closed_loop(Counter(fails=3), 2, 9, 60)
    assert (load.pages, load.failed) == (6, 3)
    assert load.latency_s(50) is not None
    assert closed_loop(Counter(fails=1), 1, 1, 60).latency_s(50) is None


def test_no_page_begins_when_the_time_is_over() -> None:
    assert closed_loop(Counter(), 2, 8, -1).pages == 0


def test_an_open_loop_does_not_wait_for_answers() -> None:
    work = Counter(8)
    load = open_loop(work, 1e6, 8, 60, np.random.default_rng(1))
    assert (load.pages, work.done) == (8, 8)
    assert work.most == 8


def test_arrivals_follow_the_generator() -> None:
    rate, pages = 200.0, 10
    expected = np.random.default_rng(5).exponential(1 / rate, pages).sum()
    load = open_loop(Counter(), rate, pages, 60, np.random.default_rng(5))
    assert load.elapsed_s >= expected


def test_bytes_are_counted_both_ways() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                while connection.recv(65536):
                    connection.sendall(b"123")

        threading.Thread(target=serve, daemon=True).start()
        host, port = listener.getsockname()
        with CountingProxy(f"{host}:{port}") as proxy:
            place, _, number = proxy.address.rpartition(":")
            with socket.create_connection((place, int(number))) as client:
                client.sendall(b"x" * 1000)
                assert client.recv(10) == b"123"
            assert (proxy.sent, proxy.received) == (1000, 3)
            proxy.reset()
            assert (proxy.sent, proxy.received) == (0, 0)
