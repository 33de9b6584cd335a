"""Requests as generators of steps, so that synchronous and asyncio clients share one flow and one loop of retries.

A step is a call without arguments. A client runs it (asyncio: awaits what it returns), and sends its result into the
generator or throws in what it raised.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")
Step: TypeAlias = Callable[[], Any]
Steps: TypeAlias = Generator[Step, Any, T]
"""Steps, and what comes of them."""
Ask: TypeAlias = Callable[..., Step]
"""Makes the step of a question to a server from the name and the arguments of a method of its client."""


def run_steps(steps: Steps[T]) -> T:
    """Run the steps one after the other; returns what comes of them."""
    try:
        step = next(steps)
        while True:
            try:
                result = step()
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        value: T = end.value
        return value


async def run_steps_async(steps: Steps[T]) -> T:
    """As ``run_steps``, where the steps return awaitables."""
    try:
        step = next(steps)
        while True:
            try:
                result = await step()
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        value: T = end.value
        return value


def with_retries(
    send: Callable[[], Steps[T]], failure: type[Exception], prepare: Callable[[Any, int], Steps[None]]
) -> Steps[T]:
    """Send a request until it is answered.

    Args:
        send: one try.
        failure: what a try raises when another may follow.
        prepare: gets the failure and how often the request was sent again before; waits until it may be sent again, or
            raises the error for the caller.
    """
    retries = 0
    while True:
        try:
            return (yield from send())
        except failure as error:
            yield from prepare(error, retries)
        retries += 1
