"""Deadlines: one budget per page, whatever is nested in it."""

from __future__ import annotations

import threading

import pytest

from cardioscan.errors import DeadlineExceededError
from cardioscan_client.deadline import Deadline, page_deadline, request_deadline


def test_a_deadline_that_has_passed_names_what_was_not_done() -> None:
    assert Deadline(100).check("label_detector") is None
    assert 99 < Deadline(100).remaining() <= 100
    with pytest.raises(DeadlineExceededError, match="label_detector was not done within 0 s"):
        Deadline(0).check("label_detector")


@pytest.mark.parametrize(
    ("pages", "request_s", "expected"),
    [
        ((), 60, 60),
        ((None,), 60, 60),
        ((10,), 60, 10),
        ((100,), 60, 60),
        ((10, 50), 60, 10),
        ((50, 10), 60, 10),
        ((10, None), 60, 10),
    ],
)
def test_the_earliest_deadline_counts(pages: tuple[float | None, ...], request_s: float, expected: float) -> None:
    def inside(rest: tuple[float | None, ...]) -> float:
        if not rest:
            return request_deadline(request_s).remaining()
        with page_deadline(rest[0]):
            return inside(rest[1:])

    assert expected - 1 < inside(pages) <= expected
    assert request_deadline(1000).remaining() > 999, "nothing is left in force"


def test_threads_have_their_own_deadlines() -> None:
    found: list[float] = []
    with page_deadline(5):
        thread = threading.Thread(target=lambda: found.append(request_deadline(60).remaining()))
        thread.start()
        thread.join()
    assert found[0] > 59
