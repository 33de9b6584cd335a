from __future__ import annotations

import warnings

import numpy as np
import pytest

from cardioscan.errors import FormatError
from cardioscan.formats import write_record, writers
from cardioscan.page.leads import LEADS

pydicom = pytest.importorskip("pydicom", reason="needs pydicom")

TYPE_1 = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "InstanceNumber",
    "ContentDate", "ContentTime", "AcquisitionDateTime", "WaveformSequence",
]  # fmt: skip
TYPE_2 = [
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "ReferringPhysicianName", "AccessionNumber", "SeriesNumber", "Manufacturer", "AcquisitionContextSequence",
]  # fmt: skip
# DICOM context group 3001, "ECG Lead", coding scheme MDC.
LEAD_VALUES = ["2:1", "2:2", "2:61", "2:62", "2:63", "2:64", "2:3", "2:4", "2:5", "2:6", "2:7", "2:8"]


@pytest.fixture
def dataset(page_record, tmp_path):
    (path,) = write_record(page_record, tmp_path, ["dicom"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = pydicom.dcmread(path)
        # Every value is parsed, and checked, when it is walked over.
        list(dataset.iterall())
    return dataset


def test_attributes_that_the_standard_requires(dataset):
    assert dataset.file_meta.MediaStorageSOPClassUID.name == "12-lead ECG Waveform Storage"
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert [name for name in TYPE_1 if not dataset.get(name)] == []
    assert [name for name in TYPE_2 if name not in dataset] == []
    uids = [dataset.SOPInstanceUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID]
    assert len(set(uids)) == 3
    assert all(uid.is_valid and uid.startswith("2.25.") for uid in uids)


def test_nothing_about_a_patient(dataset):
    assert str(dataset.PatientName) == "Anonymous"
    assert [str(dataset.get(name)) for name in ("PatientID", "PatientBirthDate", "PatientSex", "StudyDate")] == [""] * 4
    assert dataset.PatientIdentityRemoved == "YES"
    assert dataset.LongitudinalTemporalInformationModified == "REMOVED"


def test_waveform(dataset, page_signals):
    (group,) = dataset.WaveformSequence
    assert group.WaveformOriginality == "DERIVED"
    assert (group.NumberOfWaveformChannels, group.NumberOfWaveformSamples) == (12, 5000)
    assert group.SamplingFrequency == 500
    padding = np.frombuffer(group.WaveformPaddingValue, "<i2")
    raw = dataset.waveform_array(0)
    microvolts = np.where(raw == padding, np.nan, raw).T
    np.testing.assert_allclose(microvolts / 1000, page_signals, atol=0.5000001e-3)


def test_channels(dataset):
    channels = dataset.WaveformSequence[0].ChannelDefinitionSequence
    assert [channel.ChannelLabel for channel in channels] == list(LEADS)
    assert [channel.ChannelSourceSequence[0].CodeValue for channel in channels] == LEAD_VALUES
    for channel in channels:
        source, unit = channel.ChannelSourceSequence[0], channel.ChannelSensitivityUnitsSequence[0]
        assert source.CodingSchemeDesignator == "MDC"
        assert (unit.CodeValue, unit.CodingSchemeDesignator) == ("uV", "UCUM")
        assert (channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor) == (1, 1)
        assert (channel.ChannelBaseline, channel.ChannelSampleSkew, channel.WaveformBitsStored) == (0, 0, 16)
    assert {channel.ChannelLabel for channel in channels if channel.ChannelStatus == "INVALID"} == {"aVF"}


def test_codes_agree_with_the_dictionary_of_pydicom(dataset):
    code_dict = pytest.importorskip("pydicom.sr._concepts_dict", reason="needs pydicom's concept dictionary")
    known = {
        value: meaning
        for codes in code_dict.concepts["MDC"].values()
        for value, (meaning, groups) in codes.items()
        if 3001 in groups
    }
    for channel in dataset.WaveformSequence[0].ChannelDefinitionSequence:
        source = channel.ChannelSourceSequence[0]
        assert known[source.CodeValue] == source.CodeMeaning


def test_annotations_tell_the_origin_and_the_heart_rate(dataset):
    note, rate = dataset.WaveformAnnotationSequence
    assert "image of a printed ECG page" in note.UnformattedTextValue
    assert rate.NumericValue == 71.5
    assert rate.ConceptNameCodeSequence[0].CodeValue == "8867-4"
    assert list(dataset.SoftwareVersions) == ["label_detector 1", "grid_rectifier 2"]


def test_no_heart_rate_and_no_models(make_record, page_signals, tmp_path):
    (path,) = write_record(make_record(page_signals), tmp_path, ["dicom"])
    dataset = pydicom.dcmread(path)
    assert len(dataset.WaveformAnnotationSequence) == 1
    assert "SoftwareVersions" not in dataset


def test_out_of_range(make_record, page_signals):
    signals = page_signals.copy()
    signals[1, 9] = -33
    with pytest.raises(FormatError, match="dicom cannot hold lead II, sample 9"):
        writers()["dicom"].files(make_record(signals))
