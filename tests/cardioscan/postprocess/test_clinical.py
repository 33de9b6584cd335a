"""Clinical measures of signals that know them, and none of signals that have none."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from cardioscan.errors import InvalidRecordError, MissingDependencyError
from cardioscan.evaluate.evaluation import only_printed, read_truth
from cardioscan.page.catalogue import find_layout
from cardioscan.page.leads import LEADS
from cardioscan.postprocess.clinical import MEASURES, PLAUSIBLE, ClinicalMeasures, measure_clinical
from cardioscan.postprocess.delineation import delineate
from cardioscan.postprocess.heart_rate import HEART_RATE_RANGE_BPM, heart_rate_bpm
from cardioscan.synthesis.simulator import SimulatedSignals
from tests.cardioscan.postprocess.known_ecg import FS, GAINS, II, INTERVALS, ecg, hump

pytest.importorskip("neurokit2", reason="needs the package neurokit2 (extra 'clinical')")

STANDARD = find_layout("3x4+1")


def measured(values: ClinicalMeasures) -> dict[str, bool]:
    return {name: bool(np.isfinite(values.values(name)).any()) for name in MEASURES}


# --- against known truth


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize(
    ("rate", "pr", "qrs", "qt", "st"),
    [
        (40, 170, 90, 440, 0.0),
        (50, 200, 110, 420, 0.1),
        (60, 160, 80, 400, -0.1),
        (75, 120, 90, 370, 0.0),
        (75, 260, 90, 370, 0.0),
        (75, 160, 150, 410, 0.15),
        (90, 150, 100, 340, 0.2),
        (110, 130, 80, 320, -0.05),
        (130, 120, 80, 310, 0.0),
    ],
)
def test_intervals_of_signals_that_know_them(
    rate: float, pr: float, qrs: float, qt: float, st: float, noise: float
) -> None:
    found = measure_clinical(only_printed(ecg(rate, pr, qrs, qt, st, noise=noise, seed=int(rate + pr)), STANDARD))
    assert found.heart_rate_bpm == pytest.approx(rate, abs=0.3)
    assert found.pr_ms == pytest.approx(pr, abs=15)
    assert found.qrs_ms == pytest.approx(qrs, abs=15)
    assert found.qt_ms == pytest.approx(qt - 15, abs=20)  # tangents end a T wave before its last millivolt
    assert found.qtc_bazett_ms == pytest.approx(found.qt_ms * np.sqrt(found.heart_rate_bpm / 60))
    assert found.qtc_fridericia_ms == pytest.approx(found.qt_ms * np.cbrt(found.heart_rate_bpm / 60))
    np.testing.assert_allclose(found.values("st_mv"), st * GAINS, atol=0.01 + noise)


@pytest.mark.parametrize("noise", [0.0, 1.0, 3.0])
def test_the_rate_of_simulated_hearts(noise: float) -> None:
    # Beats of every kind, 40 to 160 per minute, some hearts fibrillating, some with a beat in four extra.
    source = SimulatedSignals(40, seed=5, noise=noise)
    true, found, at_run_time = [], [], []
    for index in range(len(source)):
        signals = only_printed(source.record(index), STANDARD)
        times = source.beat_times(index)
        times = times[(times >= 0.2) & (times <= 9.8)]
        true.append(60 / np.diff(times).mean())
        found.append(measure_clinical(signals).heart_rate_bpm)
        at_run_time.append(heart_rate_bpm(signals, np.isfinite(signals)) or np.nan)
    off = np.abs(np.array(found) - true)
    assert np.mean(off <= 1) >= 0.85 and np.median(off) < 0.2
    assert np.mean(np.abs(np.array(found) - at_run_time) <= 2) >= 0.8


def test_simulated_hearts_have_the_intervals_of_hearts() -> None:
    source = SimulatedSignals(40, seed=6)
    found = [measure_clinical(only_printed(source.record(index), STANDARD)) for index in range(len(source))]
    for name, (low, high), share in (
        ("pr_ms", (110, 200), 0.6),
        ("qrs_ms", (75, 150), 0.8),
        ("qtc_fridericia_ms", (350, 450), 0.6),
    ):
        values = np.array([page.values(name)[0] for page in found])
        assert np.mean((values > low) & (values < high)) >= share, name


@pytest.mark.parametrize("rate", [30, 170, 200])
def test_rates_at_both_ends(rate: float) -> None:
    # Waves come closer as the heart goes faster, or there would be no beat to tell from the next.
    squeeze = min(1.0, np.sqrt(60 / rate))
    signals = only_printed(ecg(rate, pr_ms=150 * squeeze, qrs_ms=80, qt_ms=max(400 * squeeze, 190), p=0.1), STANDARD)
    assert measure_clinical(signals).heart_rate_bpm == pytest.approx(rate, abs=0.5)


# --- what is not there is not measured


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("seed", range(4))
def test_fibrillation_has_no_pr(seed: int, noise: float) -> None:
    signals = ecg(90, p=0, spread=0.18, noise=noise, seed=seed)
    time = np.arange(5000) / FS
    signals += GAINS[:, None] * 0.04 * np.sin(2 * np.pi * (6 * time + 0.4 * np.sin(time)))
    found = measure_clinical(only_printed(signals, STANDARD))
    assert np.isnan(found.pr_ms)
    assert 60 < found.heart_rate_bpm < 130 and found.qrs_ms == pytest.approx(90, abs=20)


def test_a_flat_t_wave_has_no_qt() -> None:
    found = measure_clinical(ecg(t=0.02, noise=0.01))
    assert np.isnan(found.qt_ms) and np.isnan(found.qtc_bazett_ms) and np.isfinite(found.pr_ms)


def unmeasurable(case: str) -> np.ndarray:
    rng, time = np.random.default_rng(1), np.arange(5000) / FS
    signals = ecg()
    if case == "two beats":
        return ecg(onsets=np.array([4.0, 4.9]))
    if case == "no lead II":
        signals[II] = np.nan
    elif case == "lead II for 2.5 s":
        signals[II, 1250:] = np.nan
    elif case == "lead II with a gap of 6 s":
        signals[II, 2000:] = np.nan
    elif case == "lead II in pieces":
        signals[II, np.arange(5000) % 400 < 60] = np.nan
    else:
        lead = {
            "all NaN": np.full(5000, np.nan),
            "flat": np.full(5000, 0.3),
            "noise": rng.normal(0, 0.1, 5000),
            "walk": np.cumsum(rng.normal(0, 0.01, 5000)),
            "mains": 0.3 * np.sin(2 * np.pi * 50 * time),
            "10 Hz": 0.3 * np.sin(2 * np.pi * 10 * time),
            "wander": np.sin(2 * np.pi * 0.4 * time),
            "step": (time > 5) * 1.0,
            "spike": (time == 5) * 1.0,
        }[case]
        return np.tile(lead, (12, 1))
    return signals


UNMEASURABLE = ["all NaN", "flat", "noise", "walk", "mains", "10 Hz", "wander", "step", "spike", "two beats"]
UNMEASURABLE += ["no lead II", "lead II for 2.5 s", "lead II with a gap of 6 s"]


@pytest.mark.parametrize("case", UNMEASURABLE)
def test_nothing_is_invented(case: str) -> None:
    found = measure_clinical(unmeasurable(case))
    assert not any(measured(found).values()) and found.n_beats == 0


@pytest.mark.parametrize("seed", range(25))
def test_every_measure_is_plausible_or_nan(seed: int) -> None:
    rng = np.random.default_rng(seed)
    source = SimulatedSignals(1, seed=seed, noise=float(rng.choice([0, 1, 10])))
    signals = source.record(0) * rng.choice([0.02, 0.3, 1, 5]) + rng.normal(0, rng.choice([0, 0.05, 0.5]), (12, 5000))
    for start in rng.integers(0, 5000, rng.integers(0, 12)):
        signals[rng.integers(0, 12) if rng.random() < 0.5 else II, start : start + rng.integers(1, 600)] = np.nan
    found = measure_clinical(signals)
    for name, (low, high) in {**PLAUSIBLE, "heart_rate_bpm": HEART_RATE_RANGE_BPM}.items():
        values = found.values(name)
        assert (np.isnan(values) | ((values >= low) & (values <= high))).all(), name


@pytest.mark.parametrize("shape", [(12,), (11, 5000), (5000, 12), (1, 12, 5000)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidRecordError, match="12, N"):
        measure_clinical(np.zeros(shape))


def test_without_neurokit2_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "neurokit2", None)
    with pytest.raises(MissingDependencyError, match=r"cardioscan\[clinical\]"):
        measure_clinical(ecg())


# --- gaps, places, sizes


@pytest.mark.parametrize(
    ("gaps", "beats_lost"),
    [
        ([(1000, 1015), (3000, 3020)], 2),
        ([(1500, 1650)], 2),
        ([(0, 900)], 3),
        ([(4300, 5000)], 2),
        ([(700, 900), (2500, 2700), (4000, 4200)], 6),
    ],
    ids=["short", "one of 0.3 s", "begins late", "ends early", "three of 0.4 s"],
)
def test_gaps_in_the_rhythm_lead_cost_beats_only(gaps: list[tuple[int, int]], beats_lost: int) -> None:
    whole = ecg(noise=0.005, spread=0.01)
    torn = whole.copy()
    for start, stop in gaps:
        torn[II, start:stop] = np.nan
    a, b = measure_clinical(whole), measure_clinical(torn)
    assert a.n_beats - beats_lost <= b.n_beats <= a.n_beats
    assert b.heart_rate_bpm == pytest.approx(a.heart_rate_bpm, abs=1)
    for name in INTERVALS:
        assert getattr(b, name) == pytest.approx(getattr(a, name), abs=10)


def test_a_lead_that_was_not_read_has_no_st_level() -> None:
    signals = only_printed(ecg(st=0.1, noise=0.005), STANDARD)
    before = measure_clinical(signals).st_mv
    signals[LEADS.index("V3")] = np.nan
    signals[LEADS.index("aVL"), ::5] = np.nan
    after = measure_clinical(signals).st_mv
    assert {lead for lead in LEADS if np.isnan(after[lead])} == {"V3", "aVL"}
    assert {lead: v for lead, v in after.items() if np.isfinite(v)}.items() <= before.items()


@pytest.mark.parametrize("shift", [1, 37, 100, 250])
@pytest.mark.parametrize("seed", range(3))
def test_a_shifted_record_measures_the_same(shift: int, seed: int) -> None:
    onsets = np.arange(-2, 15) * 0.82 + np.random.default_rng(seed).normal(0, 0.01, 17)
    a = measure_clinical(ecg(onsets=onsets, st=0.1))
    b = measure_clinical(ecg(onsets=onsets + shift / FS, st=0.1))
    assert b.heart_rate_bpm == pytest.approx(a.heart_rate_bpm, abs=0.5)
    for name in INTERVALS:
        assert getattr(b, name) == pytest.approx(getattr(a, name), abs=6)
    np.testing.assert_allclose(b.values("st_mv"), a.values("st_mv"), atol=0.01)


@pytest.mark.parametrize(("gain", "offset"), [(0.6, 0.0), (1.0, 0.7), (2.0, -0.4)])
def test_gain_and_offset_leave_times_alone(gain: float, offset: float) -> None:
    signals = ecg(st=0.1)
    a, b = measure_clinical(signals), measure_clinical(gain * signals + offset)
    assert b.heart_rate_bpm == pytest.approx(a.heart_rate_bpm, abs=0.05)
    for name in INTERVALS:
        assert getattr(b, name) == pytest.approx(getattr(a, name), abs=6)
    np.testing.assert_allclose(b.values("st_mv"), gain * a.values("st_mv"), atol=0.005)


@pytest.mark.parametrize(("t", "s"), [(-0.25, 0.25), (0.3, 1.5)], ids=["T inverted", "deep S"])
def test_other_shapes_of_waves(t: float, s: float) -> None:
    found = measure_clinical(ecg(t=t, s=s, noise=0.005))
    assert found.heart_rate_bpm == pytest.approx(70, abs=0.5)
    for name, true in (("pr_ms", 160), ("qrs_ms", 90), ("qt_ms", 365)):
        assert getattr(found, name) == pytest.approx(true, abs=20), name


def test_extra_beats_count_for_the_rate_but_not_for_the_intervals() -> None:
    onsets = np.arange(12) * 0.86 - 0.4
    early = [3, 8]  # a wide beat without P comes 0.2 s too soon, its T wave against it
    signals = ecg(onsets=np.delete(onsets, early), noise=0.005)
    time = np.arange(5000) / FS
    for at in onsets[early] - 0.2:
        signals += GAINS[:, None] * (1.5 * hump(time, at, at + 0.12) - 0.5 * hump(time, at + 0.2, at + 0.5))
    found = measure_clinical(signals)
    assert found.qrs_ms == pytest.approx(90, abs=15) and found.pr_ms == pytest.approx(160, abs=15)
    assert found.heart_rate_bpm == pytest.approx(60 / 0.86, abs=1)
    assert found.n_beats <= 9  # of ten; the first begins before the record


def test_real_truths_are_measured(shared_data: Path) -> None:
    pytest.importorskip("wfdb", reason="needs the package wfdb (extra 'formats')")
    headers = sorted((shared_data / "photos").glob("*.hea"))
    found = [measure_clinical(next(iter(read_truth(path).values()))) for path in headers]
    assert found
    assert np.mean([np.isfinite(page.heart_rate_bpm) for page in found]) > 0.9
    for name, (low, high) in PLAUSIBLE.items():
        values = np.array([page.values(name) for page in found])
        known = values[np.isfinite(values)]
        assert known.size >= 0.6 * values.size and known.min() >= low and known.max() <= high, name


def test_beats_lie_where_lead_ii_has_them() -> None:
    source = SimulatedSignals(20, seed=9)
    for index in range(len(source)):
        found = delineate(source.record(index)[II])
        if found.r_peaks.size:
            off = np.abs(found.r_peaks[:, None] / FS - source.beat_times(index)).min(axis=1)
            assert np.median(off) < 0.06
