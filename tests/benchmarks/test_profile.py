"""The profile's book-keeping."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("pyinstrument", reason="needs pyinstrument (extra 'test')")

from pyinstrument import Profiler  # noqa: E402

from benchmarks.profile import Ledger, measured_stopwatch, self_times  # noqa: E402


def busy(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_time_inside_a_stage_is_taken_off_the_one_around_it() -> None:
    ledger = Ledger()
    begun = time.process_time()
    with ledger.stage("outer"):
        busy(0.02)
        with ledger.stage("inner"):
            busy(0.06)
            ledger.sample(7)
        busy(0.02)
        ledger.sample(5)
    whole = time.process_time() - begun
    outer, inner = ledger.stages["outer"], ledger.stages["inner"]
    assert outer.cpu_s >= 0.04 and inner.cpu_s >= 0.06
    assert outer.cpu_s + inner.cpu_s == pytest.approx(whole, abs=0.01)
    assert (outer.peak_bytes, inner.peak_bytes) == (5, 7)


def test_a_stage_that_fails_is_closed() -> None:
    ledger = Ledger()
    with pytest.raises(RuntimeError), ledger.stage("outer"), ledger.stage("inner"):
        raise RuntimeError
    with ledger.stage("next"):
        busy(0.01)
    assert set(ledger.stages) == {"outer", "inner", "next"} and ledger.stages["inner"].cpu_s < 0.01


def test_the_pipelines_own_timings_stay() -> None:
    ledger = Ledger()
    stopwatch = measured_stopwatch(ledger)()
    with stopwatch("read"):
        busy(0.01)
    assert stopwatch.timings_s()["read"] >= 0.01 and ledger.stages["read"].cpu_s >= 0.01


def test_own_times_name_functions_and_add_up() -> None:
    with Profiler(interval=0.001, async_mode="disabled") as profiler:
        busy(0.1)
    root = profiler.last_session.root_frame()
    own = self_times(root)
    assert sum(own.values()) == pytest.approx(root.time)
    assert any(name.endswith(":busy") for name in own)
