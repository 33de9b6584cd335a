"""The last stage: prints merged, limb leads corrected, confidence, refusals."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from cardioscan.backends.specs import NAME_PLACES
from cardioscan.errors import RefusalCode, StageError
from cardioscan.evaluate.evaluation import only_printed
from cardioscan.page.catalogue import find_layout
from cardioscan.page.leads import LEAD_INDEX
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.postprocess.read import Read, read
from cardioscan.synthesis.simulator import SimulatedSignals
from cardioscan.waveform.decode import DecodedPage, Reading

NODES = REFERENCE_PAGE.sheet.lattice()
NAMES = np.array([(label.class_id, *NODES[label.j, label.i]) for label in NAME_PLACES.classes])
RECORD = SimulatedSignals(4, seed=3).record(1).astype(np.float64)


def decoded_as(
    name: str, noise_mv: float = 0.0, holes: dict[str, slice] | None = None, clarity: float = 0.9
) -> DecodedPage:
    """A record as a page of the layout shows it, every print with noise of its own, holes in the longest ones."""
    layout, rng = find_layout(name), np.random.default_rng(5)
    readings: dict[str, list[Reading]] = {}
    for lead in LEAD_INDEX:
        for cell in layout.prints(lead):
            start, stop = round(500 * cell.t_start), round(500 * (cell.t_start + cell.seconds))
            signal = np.full(5000, np.nan)
            signal[start:stop] = RECORD[LEAD_INDEX[lead], start:stop] + rng.normal(0, noise_mv, stop - start)
            if lead not in readings and holes and lead in holes:
                signal[holes[lead]] = np.nan
            clear = np.where(np.isfinite(signal), clarity, 0).astype(np.float32)
            readings.setdefault(lead, []).append(Reading(signal, clear))
    signals, clear = np.full((12, 5000), np.nan), np.zeros((12, 5000), np.float32)
    for lead, (longest, *_) in readings.items():
        signals[LEAD_INDEX[lead]], clear[LEAD_INDEX[lead]] = longest.signal, longest.clarity
    others = {lead: tuple(prints[1:]) for lead, prints in readings.items() if len(prints) > 1}
    return DecodedPage(signals, clear, {}, others, 2.5)


def done(name: str, decoded: DecodedPage, einthoven: bool = True, names: np.ndarray = NAMES, page: float = 1.0) -> Read:
    """The stage on these traces, of a page in place."""
    located = SimpleNamespace(names=names)
    flattened = SimpleNamespace(located=located, nodes=NODES, moved_px=0.2, confidence=page)
    rows = SimpleNamespace(page=SimpleNamespace(layout=find_layout(name)), flattened=flattened)
    traced = SimpleNamespace(decoded=decoded, rows=rows, diagnostics={"seen": 1})
    return read(traced, NAME_PLACES, einthoven, smooth=False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "lead"),
    [("3x4+1", "II"), ("3x4+1(V1)", "V1"), ("3x4+1(V5)", "V5"), ("3x4+3", "V5"), ("12x1+1(aVF)", "aVF")],
)
def test_a_lead_printed_twice_is_merged_whatever_its_name(name: str, lead: str) -> None:
    index = LEAD_INDEX[lead]
    short = find_layout(name).prints(lead)[1]
    begin = round(500 * short.t_start)
    hole = slice(begin + 200, begin + 400)
    decoded = decoded_as(name, 0.02, {lead: hole})
    result = done(name, decoded, einthoven=False)
    twice = slice(begin + 400, begin + round(500 * short.seconds))
    error = result.signals[index] - RECORD[index]
    alone = decoded.signals[index] - RECORD[index]
    assert error[twice].std() < 0.8 * alone[twice].std()
    assert np.isfinite(result.signals[index]).all() and np.abs(error[hole]).max() < 0.1
    assert (result.confidence[index] > 0).all()
    untouched = np.delete(np.arange(12), [LEAD_INDEX[other] for other in decoded.other_prints])
    np.testing.assert_array_equal(result.signals[untouched], decoded.signals[untouched])


def test_all_three_prints_of_a_lead_are_merged() -> None:
    name = "3x4+2(II,II)"
    decoded = decoded_as(name, 0.02)
    merged = done(name, decoded, einthoven=False).signals[LEAD_INDEX["II"]] - RECORD[LEAD_INDEX["II"]]
    assert len(decoded.other_prints["II"]) == 2
    assert merged[:1250].std() < merged[1250:].std() < 0.8 * 0.02


@pytest.mark.parametrize("name", ["3x4+1", "3x4+1(V1)", "6x2", "12x1", "6x2 Cabrera"])
def test_what_is_not_printed_stays_unread_and_without_confidence(name: str) -> None:
    result = done(name, decoded_as(name, 0.005))
    shown = np.isfinite(only_printed(RECORD, find_layout(name)))
    np.testing.assert_array_equal(np.isfinite(result.signals), shown)
    np.testing.assert_array_equal(result.confidence > 0, shown)
    assert result.confidence.max() <= 1 and result.features.shape == (12, 9)
    assert result.diagnostics["seen"] == 1 and result.diagnostics["read"] == 1.0
    assert result.diagnostics["noise_mv"] < 0.03 and result.heart_rate_bpm is not None


@pytest.mark.parametrize("einthoven", [True, False])
def test_limb_leads_correct_each_other_where_it_is_asked_for(einthoven: bool) -> None:
    signals = done("12x1", decoded_as("12x1", 0.02), einthoven).signals
    assert (np.abs(signals[0] - signals[1] + signals[2]).max() < 1e-9) == einthoven


def test_a_page_that_may_be_in_the_wrong_place_lowers_every_confidence() -> None:
    sure, unsure = (done("3x4+1", decoded_as("3x4+1", 0.005), page=page).confidence for page in (1.0, 0.5))
    np.testing.assert_allclose(unsure, 0.5 * sure)


@pytest.mark.parametrize(
    ("change", "names", "code", "words"),
    [
        ("unread", NAMES, RefusalCode.TRACE_NOT_FOUND, "shows a trace"),
        ("none", NAMES + (0, 400, 0), RefusalCode.ALIGNMENT_FAILED, "lead names stand"),
        ("contradiction", NAMES[:0], RefusalCode.ALIGNMENT_FAILED, "contradict"),
    ],
)
def test_what_cannot_be_an_ecg_of_this_layout_is_refused(
    change: str, names: np.ndarray, code: RefusalCode, words: str
) -> None:
    holes = {lead: slice(100, 5000) for lead in LEAD_INDEX} if change == "unread" else None
    decoded = decoded_as("12x1", 5.0 if change == "contradiction" else 0.0, holes)
    with pytest.raises(StageError, match=words) as refused:
        done("12x1", decoded, names=names)
    assert refused.value.code is code
