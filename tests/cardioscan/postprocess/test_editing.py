"""Corrections by hand."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest

from cardioscan.errors import EditError
from cardioscan.page.leads import LEAD_INDEX
from cardioscan.postprocess.editing import HAND_CONFIDENCE, Edit, Erase, Redraw, apply_edits, edit_from_json
from cardioscan.record import SHAPE, EcgRecord, Reason

V1 = LEAD_INDEX["V1"]


def record() -> EcgRecord:
    signals = np.full(SHAPE, np.nan)
    signals[V1, 2500:3750] = 0.25
    return EcgRecord("page", signals, np.where(np.isnan(signals), 0, 0.9).astype(np.float32))


def test_a_piece_drawn_by_hand_replaces_samples_and_says_so() -> None:
    edited = apply_edits(record(), [Redraw("V1", ((5.5, 0.0), (5.6, 1.0), (5.7, 0.0)))])
    signal, sure = edited.signals[V1], edited.confidence[V1]
    assert signal[2750] == pytest.approx(0) and signal[2800] == pytest.approx(1) and signal[2850] == pytest.approx(0)
    assert signal[2749] == 0.25 and signal[2851] == 0.25
    assert (sure[2750:2851] == np.float32(HAND_CONFIDENCE)).all() and sure[2749] == np.float32(0.9)
    assert signal[2750:2851].max() <= 1.0 + 1e-12
    stated = json.loads(json.dumps(edited.to_json_dict()))["edits"]
    assert stated == [{"kind": "redraw", "lead": "V1", "points": [[5.5, 0.0], [5.6, 1.0], [5.7, 0.0]]}]
    assert pickle.loads(pickle.dumps(edited)).edits == edited.edits


def test_a_gap_can_be_filled_and_a_piece_taken_out() -> None:
    edited = apply_edits(record(), [Redraw("V1", ((2.0, 0.1), (2.1, 0.1))), Erase("V1", 6.0, 7.0)])
    assert np.isfinite(edited.signals[V1, 1000:1051]).all()
    assert np.isnan(edited.signals[V1, 3000:3500]).all() and not edited.confidence[V1, 3000:3500].any()
    assert [edit["kind"] for edit in edited.edits] == ["redraw", "erase"]


def test_edits_come_back_from_json() -> None:
    for edit in (Redraw("II", ((0.0, -0.5), (1.0, 0.5))), Erase("aVR", 0.0, 10.0)):
        assert edit_from_json(json.loads(json.dumps(edit.to_json_dict()))) == edit


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"kind": "redraw", "lead": "V7", "points": [[0, 0], [1, 0]]}, "no lead 'V7'"),
        ({"kind": "redraw", "lead": "V1", "points": [[0, 0]]}, "2 to"),
        ({"kind": "redraw", "lead": "V1", "points": [[1, 0], [0, 0]]}, "left to right"),
        ({"kind": "redraw", "lead": "V1", "points": [[0, 0], [11, 0]]}, "between 0 and 10 s"),
        ({"kind": "redraw", "lead": "V1", "points": [[0, 0], [1, 50]]}, "within 20 mV"),
        ({"kind": "redraw", "lead": "V1", "points": [[0, 0], [1, "high"]]}, "incomplete"),
        ({"kind": "redraw", "lead": "V1"}, "incomplete"),
        ({"kind": "erase", "lead": "V1", "start_s": 2, "stop_s": 1}, "end after it starts"),
        ({"kind": "paint"}, "'redraw' or an 'erase'"),
        ({}, "incomplete"),
    ],
)
def test_what_is_no_edit_is_an_error_with_a_sentence(value: dict[str, Any], says: str) -> None:
    with pytest.raises(EditError, match=says):
        edit_from_json(value)


@pytest.mark.parametrize(
    ("on", "edit", "says"),
    [
        (record(), Erase("V1", 0.0, 10.0), "nothing would be left"),
        (record(), Redraw("V1", ((1.0001, 0.0), (1.0011, 0.0))), "no sample"),
        (EcgRecord.refused("page", [Reason("grid_not_found", "none")]), Erase("V1", 0.0, 1.0), "refused"),
    ],
    ids=["all erased", "between samples", "refused"],
)
def test_edits_that_cannot_be_made(on: EcgRecord, edit: Edit, says: str) -> None:
    with pytest.raises(EditError, match=says):
        apply_edits(on, [edit])
