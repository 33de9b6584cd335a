"""Pictures that are no standard 12-lead page, through the whole pipeline with the released networks."""

from __future__ import annotations

import numpy as np
import pytest

from cardioscan import Digitizer
from cardioscan.synthesis.distractors import DISTRACTORS

CODES = {"image_too_small", "no_labels_found", "alignment_failed", "grid_not_found", "trace_not_found"}


@pytest.fixture(scope="module")
def digitizer() -> Digitizer:
    return Digitizer()


@pytest.mark.parametrize("kind", ["text", "spreadsheet", "ecg_paper", "page_without_traces", "page_without_grid"])
def test_what_is_no_page_is_refused_with_a_reason(digitizer: Digitizer, kind: str) -> None:
    record = digitizer.digitize(DISTRACTORS[kind](np.random.default_rng(3)))
    assert record.outcome == "refused", record.diagnostics
    assert {reason.code for reason in record.reasons} <= CODES and record.reasons
    assert record.reasons[0].detail
    assert np.isnan(record.signals).all() and not record.confidence.any()
    assert record.heart_rate_bpm is None


@pytest.mark.parametrize(
    ("kind", "number", "code"), [("six_by_two", 17, "alignment_failed"), ("page_without_traces", 18, "trace_not_found")]
)
def test_pages_that_nearly_pass_are_refused_for_what_was_read(
    digitizer: Digitizer, kind: str, number: int, code: str
) -> None:
    found = digitizer.digitize_with_details(DISTRACTORS[kind](np.random.default_rng([5, number])))
    record = found.record
    assert record.outcome == "refused", record.diagnostics
    assert record.reasons[0].code == code
    assert record.layout is record.calibration is None and not found.traces
    assert found.labels is not None and found.lattice is not None and found.page is not None  # how far it came
