from __future__ import annotations

import numpy as np
import pytest

from cardioscan.errors import FormatError
from cardioscan.formats import write_record, writers
from cardioscan.page.leads import LEADS

pytest.importorskip("edfio", reason="needs edfio")
pyedflib = pytest.importorskip("pyedflib", reason="needs pyedflib, an independent reader")


@pytest.fixture
def reader(page_record, tmp_path):
    (path,) = write_record(page_record, tmp_path, ["edf"])
    with pyedflib.EdfReader(str(path)) as edf:
        yield edf


def test_signals(reader, page_signals):
    assert reader.getSignalLabels() == [f"ECG {lead}" for lead in LEADS]
    assert set(reader.getSampleFrequencies()) == {500.0}
    assert {reader.getPhysicalDimension(channel) for channel in range(12)} == {"uV"}
    for channel, expected in enumerate(page_signals):
        digital = reader.readSignal(channel, digital=True)
        missing = np.isnan(expected)
        np.testing.assert_array_equal(digital == -32768, missing)
        physical = reader.readSignal(channel)
        np.testing.assert_allclose(physical[~missing] / 1000, expected[~missing], atol=0.50001e-3)
        assert (physical[missing] < -32767.5).all()


def test_every_gap_is_an_annotation(reader, page_signals):
    onsets, durations, texts = reader.readAnnotations()
    missing = np.zeros((12, 5000), bool)
    for onset, duration, text in zip(onsets, durations, texts, strict=True):
        if text.startswith("Missing@@ECG "):
            start, length = round(onset * 500), round(duration * 500)
            missing[LEADS.index(text.removeprefix("Missing@@ECG ")), start : start + length] = True
    np.testing.assert_array_equal(missing, np.isnan(page_signals))
    assert any("image of a printed ECG page" in text for text in texts)


def test_patient_and_date_are_unknown(reader, page_record):
    assert reader.getPatientName() in {"", "X"}
    assert reader.getPatientCode() in {"", "X"}
    (content,) = writers()["edf"].files(page_record).values()
    assert content[8:88].split() == [b"X", b"X", b"X", b"X"]
    assert content[88:168].split()[:2] == [b"Startdate", b"X"]


def test_a_gap_at_every_other_sample(make_record, tmp_path):
    signals = np.full((12, 5000), np.nan)
    signals[4, ::2] = 1.0
    (path,) = write_record(make_record(signals), tmp_path, ["edf"])
    with pyedflib.EdfReader(str(path)) as edf:
        np.testing.assert_array_equal(edf.readSignal(4, digital=True)[::2], 1000)
        assert sum(text == "Missing@@ECG aVL" for text in edf.readAnnotations()[2]) == 2500


def test_out_of_range(make_record, page_signals):
    signals = page_signals.copy()
    signals[1, 9] = 33
    with pytest.raises(FormatError, match="edf cannot hold lead II, sample 9"):
        writers()["edf"].files(make_record(signals))
