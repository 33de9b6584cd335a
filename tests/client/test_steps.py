"""Steps and retries: the same flow for synchronous and asyncio clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from cardioscan_client.steps import Steps, run_steps, run_steps_async, with_retries


def run_both(make: Callable[[Callable[[Any], Any]], Steps[Any]]) -> list[Any]:
    """What comes of steps whose calls are synchronous, and of the same steps with coroutines."""

    def call(value: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    async def call_async(value: Any) -> Any:
        await asyncio.sleep(0)
        return call(value)

    return [run_steps(make(call)), asyncio.run(run_steps_async(make(call_async)))]


def test_results_and_errors_come_back_into_the_steps() -> None:
    def steps(call: Callable[[Any], Any]) -> Steps[list[Any]]:
        seen = [(yield lambda: call(1))]
        try:
            yield lambda: call(KeyError("two"))
        except KeyError as error:
            seen.append(error.args[0])
        seen.append((yield lambda: call(3)))
        return seen

    assert run_both(steps) == [[1, "two", 3]] * 2


@pytest.mark.parametrize("n_failures", [0, 1, 2])
def test_a_request_is_sent_until_it_is_answered(n_failures: int) -> None:
    def steps(call: Callable[[Any], Any]) -> Steps[list[Any]]:
        sent: list[str] = []

        def send() -> Steps[list[Any]]:
            sent.append("try")
            yield lambda: call(OSError() if sent.count("try") <= n_failures else None)
            return sent

        def prepare(error: OSError, retries: int) -> Steps[None]:
            sent.append(f"pause {retries}")
            yield lambda: call(None)

        return with_retries(send, OSError, prepare)

    expected = [word for n in range(n_failures) for word in ("try", f"pause {n}")] + ["try"]
    assert run_both(steps) == [expected] * 2


def test_other_errors_and_those_of_the_preparation_end_it() -> None:
    def send(error: Exception) -> Steps[None]:
        def fail() -> None:
            raise error

        yield fail

    def prepare(error: OSError, retries: int) -> Steps[None]:
        raise TimeoutError(f"after {retries} retries") from error
        yield

    with pytest.raises(KeyError):
        run_steps(with_retries(lambda: send(KeyError()), ConnectionError, prepare))
    with pytest.raises(TimeoutError, match="after 0 retries") as caught:
        run_steps(with_retries(lambda: send(ConnectionError()), ConnectionError, prepare))
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_a_cancelled_task_leaves_the_steps_tidily() -> None:
    left: list[str] = []

    def steps() -> Steps[None]:
        try:
            yield lambda: asyncio.sleep(60)
        finally:
            left.append("left")

    async def cancel() -> None:
        task = asyncio.ensure_future(run_steps_async(steps()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert left == ["left"]
