from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioscan.errors import InvalidRecordError, RefusalCode, StageError
from cardioscan.page.catalogue import find_layout
from cardioscan.page.layout import Layout
from cardioscan.page.leads import LEADS
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.page.scale import Scale, Source
from cardioscan.record import SHAPE, Calibration, Digitization, EcgRecord, ModelUse, Outcome, Reason

CALIBRATION = Calibration(500.0, 78.74, 196.85, 25.0, 10.0)
REASON = Reason("grid_not_found", "no grid on this page")


def arrays() -> tuple[np.ndarray, np.ndarray]:
    signals = np.full(SHAPE, np.nan)
    confidence = np.zeros(SHAPE, np.float32)
    signals[1] = np.linspace(-1, 1, SHAPE[1])
    confidence[1] = 0.75
    signals[0, :1250] = 0.25
    confidence[0, :1250] = np.repeat([1.0, 0.5], 625)
    return signals, confidence


def digitized(**changes: object) -> EcgRecord:
    signals, confidence = arrays()
    values: dict = {"name": "page", "signals": signals, "confidence": confidence, "calibration": CALIBRATION}
    return EcgRecord(**{**values, **changes})


def changed(which: str, index: tuple, value: float) -> dict[str, np.ndarray]:
    signals, confidence = arrays()
    values = {"signals": signals, "confidence": confidence}
    values[which][index] = value
    return values


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"signals": np.zeros((12, 4999))}, "shape"),
        ({"signals": np.zeros(SHAPE, np.float32)}, "float64"),
        ({"signals": [[0.0]]}, "list"),
        ({"confidence": np.zeros(SHAPE)}, "float32"),
        (changed("signals", (1, 0), np.inf), "infinity"),
        (changed("confidence", (1, 0), 1.5), r"\[0, 1\]"),
        (changed("confidence", (1, 0), -0.1), r"\[0, 1\]"),
        (changed("confidence", (1, 0), np.nan), r"\[0, 1\]"),
        (changed("confidence", (5, 0), 0.5), "NaN"),
        ({"signals": np.full(SHAPE, np.nan), "confidence": np.zeros(SHAPE, np.float32)}, "finite sample"),
        ({"outcome": "refused"}, "at least one reason"),
        ({"outcome": Outcome.REFUSED, "reasons": (REASON,)}, "no finite sample"),
        ({"outcome": "maybe"}, "outcome"),
        ({"reasons": ("grid_not_found",)}, "Reason"),
        ({"models": ("net",)}, "ModelUse"),
        ({"source_category": "5"}, "four digits"),
        ({"heart_rate_bpm": 0.0}, "positive"),
        ({"heart_rate_bpm": float("nan")}, "positive"),
        ({"timings_s": {"stage": -1.0}}, "negative"),
        ({"name": ""}, "stem"),
        ({"name": "a/b"}, "stem"),
        ({"name": ".."}, "stem"),
        ({"diagnostics": {"deep": {"er": object()}}}, "diagnostics.deep.er"),
    ],
)
def test_contradictions_are_refused(changes: dict, words: str) -> None:
    with pytest.raises(InvalidRecordError, match=words):
        digitized(**changes)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["sampling_rate_hz", "px_per_mv", "px_per_s", "speed_mm_per_s", "gain_mm_per_mv"])
def test_calibration_is_positive(name: str, value: float) -> None:
    with pytest.raises(InvalidRecordError, match=name):
        dataclasses.replace(CALIBRATION, **{name: value})


@pytest.mark.parametrize("name", ["speed_source", "gain_source"])
def test_calibration_says_how_it_is_known(name: str) -> None:
    assert getattr(dataclasses.replace(CALIBRATION, **{name: "read"}), name) is Source.READ
    with pytest.raises(InvalidRecordError, match=name):
        dataclasses.replace(CALIBRATION, **{name: "guessed"})


@pytest.mark.parametrize(("speed", "gain"), [(25.0, 10.0), (50.0, 20.0), (12.5, 5.0)])
def test_calibration_of_a_scale(speed: float, gain: float) -> None:
    scale = Scale(speed, gain, Source.READ, Source.MEASURED)
    calibration = Calibration.of(scale)
    assert (calibration.speed_mm_per_s, calibration.gain_mm_per_mv) == (speed, gain)
    assert (calibration.px_per_s, calibration.px_per_mv) == (scale.px_per_s, scale.px_per_mv)
    assert (calibration.speed_source, calibration.gain_source) == (Source.READ, Source.MEASURED)
    assert calibration.sampling_rate_hz == 500


def test_model_hash_is_checked() -> None:
    assert ModelUse("net", "1", "0" * 64).sha256 == "0" * 64
    with pytest.raises(InvalidRecordError, match="net"):
        ModelUse("net", "1", "xyz")


def test_arrays_are_copied_and_read_only() -> None:
    signals, confidence = arrays()
    record = EcgRecord("page", signals, confidence)
    signals[1, 0] = 9.0
    confidence[1, 0] = 0.0
    assert record.signals[1, 0] == -1.0 and record.confidence[1, 0] == np.float32(0.75)
    for array in (record.signals, record.confidence, record.lead("II")):
        with pytest.raises(ValueError):
            array[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        record.timings_s["stage"] = 1.0  # type: ignore[index]


def test_lead_time_and_rate() -> None:
    record = digitized()
    np.testing.assert_array_equal(record.lead("II"), record.signals[1])
    assert record.sampling_rate_hz == 500
    assert record.time_s[0] == 0 and record.time_s[-1] == pytest.approx(9.998)
    with pytest.raises(KeyError, match="V7"):
        record.lead("V7")


def test_lead_confidence_is_the_mean_over_finite_samples() -> None:
    values = digitized().lead_confidence()
    assert list(values) == list(LEADS)
    assert values["I"] == pytest.approx(0.75) and values["II"] == pytest.approx(0.75) and values["V6"] == 0.0


@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0, 0.99))
@settings(max_examples=20, deadline=None)
def test_any_consistent_arrays_make_a_record(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    signals = rng.normal(size=SHAPE)
    signals[rng.random(SHAPE) < share] = np.nan
    confidence = np.where(np.isnan(signals), 0, rng.random(SHAPE)).astype(np.float32)
    record = EcgRecord("page", signals, confidence)
    again = pickle.loads(pickle.dumps(record))
    np.testing.assert_array_equal(again.signals, signals)
    np.testing.assert_array_equal(again.confidence, confidence)
    for lead, mean in record.lead_confidence().items():
        finite = np.isfinite(record.lead(lead))
        assert mean == pytest.approx(confidence[LEADS.index(lead)][finite].mean() if finite.any() else 0, abs=1e-5)


def test_refused_record() -> None:
    reason = Reason.from_error(StageError(RefusalCode.GRID_NOT_FOUND, "no grid on this page"))
    record = EcgRecord.refused("page", [reason], source="page.png", timings_s={"label": 0.5}, diagnostics={"tried": 4})
    assert reason == REASON
    assert record.outcome is Outcome.REFUSED and np.isnan(record.signals).all() and not record.confidence.any()
    assert record.calibration is None and record.heart_rate_bpm is None and record.source == "page.png"
    assert set(record.lead_confidence().values()) == {0.0}
    with pytest.raises(InvalidRecordError):
        EcgRecord.refused("page", [])


def test_reason_stores_an_enum_as_its_value() -> None:
    code = Reason(RefusalCode.EMPTY_FILE, "x").code
    assert code == "empty_file" and type(code) is str
    with pytest.raises(InvalidRecordError):
        Reason("", "x")


def test_json_holds_what_the_page_json_promises() -> None:
    record = digitized(
        models=(ModelUse("label_detector", "1", "a" * 64),),
        timings_s={"label_detector": np.float32(0.25)},
        heart_rate_bpm=np.float64(71.26),
        source="page.jpg",
        source_category="0005",
        diagnostics={"quality": np.float32(0.5), "rows": np.arange(3), "nan": np.nan, "code": RefusalCode.EMPTY_FILE},
    )
    data = json.loads(json.dumps(record.to_json_dict(), allow_nan=False))
    assert data["outcome"] == "digitized" and data["reasons"] == [] and data["source_category"] == "0005"
    assert list(data["lead_confidence"]) == list(LEADS) and data["lead_seconds"]["I"] == 2.5
    assert data["calibration"]["px_per_mv"] == 78.74 and data["models"][0]["sha256"] == "a" * 64
    assert data["timings_s"] == {"label_detector": 0.25} and data["heart_rate_bpm"] == 71.3
    assert data["diagnostics"] == {"quality": 0.5, "rows": [0, 1, 2], "nan": None, "code": "empty_file"}
    assert data["calibration"]["speed_source"] == data["calibration"]["gain_source"] == "assumed"
    assert data["layout"] is None
    refused = EcgRecord.refused("page", [REASON]).to_json_dict()
    assert refused["heart_rate_bpm"] is None and refused["calibration"] is None and refused["layout"] is None
    assert refused["reasons"] == [{"code": "grid_not_found", "detail": "no grid on this page"}]


@pytest.mark.parametrize("name", ["3x4+1", "3x4+3(V1,II,V5)", "6x2 Cabrera", "12x1", "V1"])
@pytest.mark.parametrize("sequential", [True, False])
def test_the_layout_is_in_the_json_and_read_back(name: str, sequential: bool) -> None:
    layout = find_layout(name) if sequential else find_layout(name).simultaneous()
    record = digitized(layout=layout)
    content = json.loads(json.dumps(record.to_json_dict(), allow_nan=False))
    assert Layout.from_json_dict(content["layout"]) == layout
    assert pickle.loads(pickle.dumps(record)).layout == layout


def test_a_digitization_samples_the_flat_page_when_it_is_first_asked_for() -> None:
    asked = []

    def flat() -> np.ndarray:
        asked.append(True)
        return np.zeros((2, 3, 3), np.uint8)

    unknown, known = Digitization(digitized()), Digitization(digitized(), flatten=flat, page=REFERENCE_PAGE)
    assert unknown.rectified is unknown.page is unknown.lattice is None and unknown.page_confidence == 1.0
    assert not asked
    assert known.rectified is known.rectified and len(asked) == 1


def pickled(record: EcgRecord) -> EcgRecord:
    return pickle.loads(pickle.dumps(record))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, copy.copy, pickled, dataclasses.replace])
def test_copies_hold_the_same(duplicate) -> None:
    record = digitized(diagnostics={"a": [1, 2]}, timings_s={"x": 1.0}, heart_rate_bpm=60)
    again = duplicate(record)
    assert again.to_json_dict() == record.to_json_dict()
    np.testing.assert_array_equal(again.signals, record.signals)
    assert not again.signals.flags.writeable
