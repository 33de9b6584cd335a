"""Records as messages and back."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cardioscan.errors import InvalidRecordError
from cardioscan.page.leads import LEADS
from cardioscan.record import SHAPE, Calibration, EcgRecord, ModelUse, Reason
from cardioscan_client.gateway.convert import from_message, read_ranges, to_message
from cardioscan_client.gateway.v1 import digitizer_pb2 as pb


def record() -> EcgRecord:
    rng = np.random.default_rng(0)
    signals = rng.normal(0, 0.4, SHAPE)
    signals[0, :1250] = signals[3, 100:200] = signals[11] = np.nan
    confidence = rng.uniform(0, 1, SHAPE).astype(np.float32)
    confidence[np.isnan(signals)] = 0
    return EcgRecord(
        name="page",
        signals=signals,
        confidence=confidence,
        reasons=(Reason("remark", "a sentence"),),
        source="page",
        source_category="0005",
        calibration=Calibration(500.0, 78.74, 196.85, 25.0, 10.0),
        models=(ModelUse("grid_rectifier", "1", "ab" * 32), ModelUse("label_detector", "2", "")),
        timings_s={"read": 0.25, "waveform": 1.5},
        heart_rate_bpm=61.5,
        diagnostics={"looks": 3.0, "lines": {"applied": True, "raster": [1.0, 2.0]}, "nothing": None},
    )


REFUSED = EcgRecord.refused("page", [Reason("grid_not_found", "No grid.")], source="page", timings_s={"read": 0.5})
NO_RATE = dataclasses.replace(record(), heart_rate_bpm=None, source_category=None)


@pytest.mark.parametrize("original", [record(), NO_RATE, REFUSED], ids=["digitized", "no rate", "refused"])
def test_a_record_comes_back_as_it_was(original: EcgRecord) -> None:
    message = pb.Record.FromString(to_message(original).SerializeToString())
    found = from_message(message, "page", "page")
    np.testing.assert_allclose(found.signals, original.signals, atol=1e-6)
    np.testing.assert_array_equal(found.confidence, original.confidence)
    for item in dataclasses.fields(EcgRecord):
        if item.name not in ("signals", "confidence"):
            assert getattr(found, item.name) == getattr(original, item.name), item.name


def test_a_lead_says_where_it_was_read() -> None:
    leads = dict(zip(LEADS, to_message(record()).leads, strict=True))
    ranges = {
        name: [(piece.start, piece.end) for piece in leads[name].read_ranges] for name in ("I", "II", "aVR", "V6")
    }
    assert ranges == {"I": [(1250, 5000)], "II": [(0, 5000)], "aVR": [(0, 100), (200, 5000)], "V6": []}
    assert leads["V6"].mean_confidence == 0 and 0.4 < leads["II"].mean_confidence < 0.6
    assert all(np.isnan(leads["V6"].signal_mv))


def test_ranges_at_the_ends() -> None:
    signal = np.array([0.0, np.nan, 1.0, 2.0, np.nan, 3.0])
    assert [(piece.start, piece.end) for piece in read_ranges(signal)] == [(0, 1), (2, 4), (5, 6)]


def test_a_refused_record_has_no_leads_and_no_scale() -> None:
    message = to_message(REFUSED)
    assert message.outcome == pb.OUTCOME_REFUSED and not message.leads and not message.HasField("calibration")


@pytest.mark.parametrize(
    "message",
    [
        pb.Record(),
        pb.Record(outcome=pb.OUTCOME_DIGITIZED, leads=[pb.Lead(name=pb.LEAD_NAME_I, signal_mv=[1], confidence=[1])]),
        pb.Record(outcome=pb.OUTCOME_DIGITIZED),
    ],
    ids=["no outcome", "short leads", "no leads"],
)
def test_a_message_that_contradicts_itself_is_an_error(message: pb.Record) -> None:
    with pytest.raises(InvalidRecordError):
        from_message(message)
