"""Each correction removes the distortion that it is for, and finds nothing to correct in a faultless page."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.oracle import (
    KNOT_S,
    aligned_to_truth,
    correct_all,
    correct_baseline,
    correct_gain,
    correct_outliers,
    correct_row_confusion,
    correct_time_base,
    find_row_confusion,
    offsets_mv,
    outliers,
)
from cardioscan.evaluate.evaluation import only_printed
from cardioscan.evaluate.measure import compare
from cardioscan.page.leads import LEAD_INDEX, LEADS
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.synthesis.simulator import SimulatedSignals

Floats = NDArray[np.float64]
Change = Callable[[Floats], Floats]

WHOLE = np.asarray(SimulatedSignals(8, seed=5).record(3), np.float64)
TRUTH = only_printed(WHOLE, REFERENCE_PAGE.layout)
V1, V2, V3 = LEAD_INDEX["V1"], LEAD_INDEX["V2"], LEAD_INDEX["V3"]


def decibels(pred: Floats) -> float:
    return compare(pred, TRUTH).snr_db


def at(places: Callable[[Floats], Floats]) -> Floats:
    """The truth read at other places: ``places`` maps sample numbers; what is not printed stays NaN."""
    moved = np.full(TRUTH.shape, np.nan)
    for row, signal in enumerate(TRUTH):
        printed = np.flatnonzero(np.isfinite(signal))
        moved[row, printed] = np.interp(places(printed.astype(np.float64)), np.arange(signal.size), WHOLE[row])
    return moved


def stretched(x: Floats) -> Floats:
    return x + 6 + 0.008 * (x - x.mean())


def bent(x: Floats, by: float = 5) -> Floats:
    return x + by * np.sin(2 * np.pi * (x - x[0]) / 1250)


def slightly_bent(x: Floats) -> Floats:
    return bent(x, 2.5)


def drifting(signals: Floats) -> Floats:
    return signals + 0.15 * np.sin(2 * np.pi * np.arange(signals.shape[1]) / 2000)


CASES: list[tuple[str, Floats, Change, float]] = [
    ("gain", TRUTH * np.linspace(0.8, 1.3, 12)[:, None], lambda p: correct_gain(p, TRUTH), 25.8),
    ("straight time", at(stretched), lambda p: correct_time_base(p, TRUTH), 25.0),
    ("bent time", at(bent), lambda p: correct_time_base(p, TRUTH, KNOT_S), 21.0),
    ("level", drifting(TRUTH), lambda p: correct_baseline(p, TRUTH), 22.0),
    ("all", drifting(at(bent)) * 0.85, lambda p: correct_all(p, TRUTH, REFERENCE_PAGE), 19.0),
]


@pytest.mark.parametrize(("name", "distorted", "correct", "at_least"), CASES, ids=[case[0] for case in CASES])
def test_a_correction_removes_its_distortion(name: str, distorted: Floats, correct: Change, at_least: float) -> None:
    assert decibels(distorted) < at_least - 4
    assert decibels(correct(distorted)) > at_least


@pytest.mark.parametrize(("distorted", "correct"), [case[1:3] for case in CASES], ids=[case[0] for case in CASES])
def test_no_lead_comes_out_worse(distorted: Floats, correct: Change) -> None:
    noisy = distorted + np.random.default_rng(1).normal(0, 0.1, distorted.shape)
    noisy[LEAD_INDEX["aVF"]] = np.nan
    noisy[LEAD_INDEX["II"], 2000:] = np.nan
    corrected = correct(noisy)
    before, after = compare(noisy, TRUTH).leads, compare(corrected, TRUTH).leads
    assert all(after[lead].rmse_mv <= before[lead].rmse_mv + 1e-12 for lead in LEADS)
    assert np.isnan(corrected[LEAD_INDEX["aVF"]]).all()


def test_the_gain_leaves_errors_of_time_and_the_time_base_those_of_gain() -> None:
    assert decibels(correct_gain(at(bent), TRUTH)) < decibels(at(bent)) + 1
    assert decibels(correct_time_base(TRUTH * 0.7, TRUTH)) < decibels(TRUTH * 0.7) + 1


def test_aligning_to_the_truth_changes_no_score() -> None:
    late = np.full(TRUTH.shape, np.nan)
    late[:, 9:] = TRUTH[:, :-9] + 0.4
    late[LEAD_INDEX["aVR"]] = np.nan
    first, again = compare(late, TRUTH), compare(aligned_to_truth(late, TRUTH), TRUTH)
    assert again.ratio == pytest.approx(first.ratio)
    assert again.leads["II"].lag_s == 0 and first.leads["II"].lag_s == pytest.approx(0.018)
    assert np.isnan(aligned_to_truth(late, TRUTH)[LEAD_INDEX["aVR"]]).all()
    offsets = offsets_mv(late, TRUTH)
    assert np.isnan(offsets[LEAD_INDEX["aVR"]])
    # First and last readings are held, hence the tolerance.
    np.testing.assert_allclose(np.delete(offsets, LEAD_INDEX["aVR"]), 0.4, atol=1e-3)


def test_a_page_that_was_not_read_stays_unread() -> None:
    unread = np.full(TRUTH.shape, np.nan)
    for _, _, correct, _ in CASES:
        assert np.isnan(correct(unread)).all()
    assert find_row_confusion(unread, TRUTH, REFERENCE_PAGE).leads == ()


def swapped() -> Floats:
    pred = TRUTH.copy()
    pred[[V1, V2]] = pred[[V2, V1]]
    return pred


def height_of(lead: int, row: int, neighbour: int) -> float:
    """mV between the zero lines of a lead's row and a neighbouring row."""
    zero = REFERENCE_PAGE.zero_y
    return (zero[row] - zero[neighbour]) / REFERENCE_PAGE.scale.px_per_mv


def peak_of_another_row() -> Floats:
    """0.1 s of V2 read from the trace of V3, one row below."""
    pred = TRUTH.copy()
    pred[V2, 3000:3050] = TRUTH[V3, 3000:3050] + height_of(V2, 1, 2)
    return pred


@pytest.mark.parametrize(
    ("pred", "leads", "samples"),
    [
        (TRUTH, (), 0),
        (TRUTH + np.random.default_rng(2).normal(0, 0.05, TRUTH.shape), (), 0),
        (at(slightly_bent), (), 0),
        (TRUTH * 1.2, (), 0),
        (swapped(), ("V1", "V2"), 2500),
        (peak_of_another_row(), (), 50),
    ],
    ids=["faultless", "noisy", "bent", "gain", "leads swapped", "peak of another row"],
)
def test_confused_rows_are_counted(pred: Floats, leads: tuple[str, ...], samples: int) -> None:
    confusion = find_row_confusion(pred, TRUTH, REFERENCE_PAGE)
    assert set(confusion.leads) == set(leads)
    assert abs(int(confusion.samples.sum()) - samples) <= 5
    assert confusion.share == confusion.samples.sum() / np.isfinite(TRUTH).sum()


def peak_cut_off() -> Floats:
    """Everything of V2 beyond half of its height is missing from the reading."""
    pred = TRUTH.copy()
    limit = 0.5 * np.nanmax(np.abs(TRUTH[V2]))
    pred[V2] = np.clip(TRUTH[V2], -limit, limit)
    return pred


@pytest.mark.parametrize(
    ("pred", "leads"),
    [
        (TRUTH, set()),
        (at(slightly_bent), set()),
        (peak_cut_off(), {V2}),
        (peak_of_another_row(), {V2}),
        (swapped(), {V1, V2}),
    ],
    ids=["faultless", "bent", "peak cut off", "peak of another row", "leads swapped"],
)
def test_outliers_are_found_and_corrected(pred: Floats, leads: set[int]) -> None:
    assert set(np.flatnonzero(outliers(pred, TRUTH).any(axis=1))) == leads
    if leads:
        assert decibels(correct_outliers(pred, TRUTH)) > decibels(pred) + 2


def test_a_peak_cut_off_is_no_other_row() -> None:
    assert find_row_confusion(peak_cut_off(), TRUTH, REFERENCE_PAGE).share == 0


@pytest.mark.parametrize("pred", [swapped(), peak_of_another_row()], ids=["leads swapped", "peak of another row"])
def test_confused_rows_are_corrected(pred: Floats) -> None:
    assert decibels(pred) < 20
    assert decibels(correct_row_confusion(pred, TRUTH, REFERENCE_PAGE)) > 25.8
