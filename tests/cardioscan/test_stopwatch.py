"""Time is booked on the innermost piece of work."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cardioscan.backends.inference import Tensors
from cardioscan.stopwatch import Stopwatch, TimedBackend


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Time passes when it is told to."""
    now = [100.0]
    monkeypatch.setattr("cardioscan.stopwatch.time", SimpleNamespace(perf_counter=lambda: now[0]))

    def passes(seconds: float) -> None:
        now[0] += seconds

    return passes


def test_time_is_booked_on_the_innermost_name(clock: Callable[[float], None]) -> None:
    told: list[str] = []
    stopwatch = Stopwatch(told.append)
    clock(9)
    with stopwatch("outer"):
        clock(1)
        with stopwatch("inner"):
            clock(2)
            with stopwatch("innermost"):
                clock(4)
        clock(8)
        with stopwatch("inner"):
            clock(16)
    clock(9)
    assert stopwatch.timings_s() == {"outer": 9.0, "inner": 18.0, "innermost": 4.0}
    assert told == ["outer", "inner", "innermost", "inner"]


def test_time_until_a_fault_is_booked_and_the_work_around_goes_on(clock: Callable[[float], None]) -> None:
    stopwatch = Stopwatch()
    with stopwatch("outer"):
        with pytest.raises(ZeroDivisionError), stopwatch("inner"):
            clock(1.00004)
            raise ZeroDivisionError
        clock(2)
    assert stopwatch.timings_s() == {"inner": 1.0, "outer": 2.0}


def test_networks_are_booked_under_their_own_names(clock: Callable[[float], None]) -> None:
    class Slow:
        def infer(self, model: str, inputs: Tensors) -> dict[str, NDArray[Any]]:
            clock(3)
            return {model: inputs["page"]}

        def model_versions(self) -> dict[str, tuple[str, str]]:
            return {"label_detector": ("1", "")}

    stopwatch, page = Stopwatch(), np.zeros(2)
    backend = TimedBackend(Slow(), stopwatch)
    with stopwatch("alignment"):
        clock(0.5)
        assert backend.infer("label_detector", {"page": page}) == {"label_detector": page}
    assert stopwatch.timings_s() == {"alignment": 0.5, "label_detector": 3.0}
    assert backend.model_versions() == {"label_detector": ("1", "")}
