"""DICOM 12-lead ECG Waveform Storage (PS3.3 A.34.3), explicit VR little endian."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from cardioscan.formats._shared import (
    DERIVATION_NOTE,
    LEAD_CODES,
    MISSING,
    content_uuid,
    optional_module,
    to_int16,
)
from cardioscan.page.leads import LEADS, SAMPLING_RATE_HZ

if TYPE_CHECKING:
    from cardioscan.record import EcgRecord

TWELVE_LEAD_ECG: Final = "1.2.840.10008.5.1.4.1.1.9.1.1"
_EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
# Content and acquisition time must not be empty (type 1), yet the page does not tell them. This placeholder goes with
# Longitudinal Temporal Information Modified = REMOVED, which tells readers that no date of the file is real.
_UNKNOWN_DATE: Final = "19000101"
_UNKNOWN_TIME: Final = "000000"
_LONG_STRING: Final = 64


def encode_dicom(record: EcgRecord, stem: str) -> tuple[bytes]:
    """One multiplex group of 12 channels, signed 16 bit, 1 uV per unit (UCUM), padding value -32768 where missing.

    The patient is unknown: no identifier is written, ``PatientIdentityRemoved`` is YES. Waveform originality is
    DERIVED, and an annotation says that the signals come from an image. UIDs are derived from the content (2.25 form),
    so that writing the same record again gives the same instance. A lead without any sample has channel status INVALID.

    Raises:
        FormatError: a sample lies beyond +-32.767 mV.
        MissingDependencyError: pydicom is not installed.
    """
    dicom = optional_module("pydicom", "Writing DICOM")
    samples = to_int16(record, "dicom")
    dataset = dicom.Dataset()
    dataset.file_meta = dicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = _EXPLICIT_VR_LITTLE_ENDIAN
    _identify(dataset, record)
    dataset.AcquisitionContextSequence = []
    dataset.WaveformSequence = [_multiplex_group(dicom.Dataset, samples)]
    dataset.WaveformAnnotationSequence = _annotations(dicom.Dataset, record)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return (buffer.getvalue(),)


def _uid(record: EcgRecord, role: str) -> str:
    """A UID made of a UUID (PS3.5 B.2)."""
    return f"2.25.{content_uuid(record, role).int}"


def _identify(dataset: Any, record: EcgRecord) -> None:
    """Patient, study, series, equipment and instance."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = TWELVE_LEAD_ECG
    dataset.SOPInstanceUID = _uid(record, "dicom-instance")
    dataset.StudyInstanceUID = _uid(record, "dicom-study")
    dataset.SeriesInstanceUID = _uid(record, "dicom-series")
    dataset.PatientName = "Anonymous"
    for keyword in ("PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"):
        setattr(dataset, keyword, "")
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "No patient data is taken from the image of the page"
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
    dataset.Modality = "ECG"
    dataset.SeriesNumber = 1
    dataset.SeriesDescription = "12-lead ECG digitized from an image"
    dataset.InstanceNumber = 1
    dataset.ContentDate = _UNKNOWN_DATE
    dataset.ContentTime = _UNKNOWN_TIME
    dataset.AcquisitionDateTime = _UNKNOWN_DATE + _UNKNOWN_TIME
    dataset.Manufacturer = "CardioScan"
    dataset.ManufacturerModelName = "CardioScan page digitizer"
    if record.models:
        # A backslash would start another value.
        versions = [f"{model.name} {model.version}".replace("\\", "/")[:_LONG_STRING] for model in record.models]
        dataset.SoftwareVersions = versions


def _code(new: Any, value: str, scheme: str, meaning: str) -> Any:
    item = new()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _multiplex_group(new: Any, samples: NDArray[np.int16]) -> Any:
    group = new()
    group.WaveformOriginality = "DERIVED"
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = samples.shape
    group.SamplingFrequency = SAMPLING_RATE_HZ
    group.MultiplexGroupLabel = "RHYTHM"
    group.ChannelDefinitionSequence = [
        _channel(new, lead, bool((row != MISSING).any())) for lead, row in zip(LEADS, samples, strict=True)
    ]
    group.WaveformBitsAllocated = 16
    group.WaveformSampleInterpretation = "SS"
    # VR "OB or OW": 16-bit samples make both OW.
    group.add_new("WaveformPaddingValue", "OW", np.array(MISSING, "<i2").tobytes())
    # All channels of sample 0, then all of sample 1, and so on.
    group.add_new("WaveformData", "OW", np.ascontiguousarray(samples.T).astype("<i2").tobytes())
    return group


def _channel(new: Any, lead: str, has_samples: bool) -> Any:
    code = LEAD_CODES[lead]
    channel = new()
    channel.ChannelLabel = lead
    channel.ChannelStatus = "OK" if has_samples else "INVALID"
    channel.ChannelSourceSequence = [_code(new, code.dicom_value, "MDC", code.dicom_meaning)]
    channel.ChannelDerivationDescription = "Traced from an image of a printed page"
    channel.ChannelSensitivity = "1"
    channel.ChannelSensitivityUnitsSequence = [_code(new, "uV", "UCUM", "microvolt")]
    channel.ChannelSensitivityCorrectionFactor = "1"
    channel.ChannelBaseline = "0"
    channel.ChannelSampleSkew = "0"
    channel.WaveformBitsStored = 16
    return channel


def _annotations(new: Any, record: EcgRecord) -> list[Any]:
    note = new()
    note.UnformattedTextValue = DERIVATION_NOTE
    items = [note]
    if record.heart_rate_bpm is not None:
        rate = new()
        rate.ConceptNameCodeSequence = [_code(new, "8867-4", "LN", "Heart rate")]
        rate.NumericValue = f"{record.heart_rate_bpm:.1f}"
        rate.MeasurementUnitsCodeSequence = [_code(new, "{H.B.}/min", "UCUM", "Heart beats per minute")]
        items.append(rate)
    for item in items:
        # Multiplex group 1, all of its channels.
        item.ReferencedWaveformChannels = [1, 0]
        item.AnnotationGroupNumber = 0
    return items
