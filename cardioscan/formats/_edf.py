"""EDF+ (European Data Format, https://www.edfplus.info)."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

import numpy as np

from cardioscan.formats._shared import DERIVATION_NOTE, MISSING, optional_module, runs, to_int16
from cardioscan.page.leads import LEADS, RECORD_SECONDS, SAMPLING_RATE_HZ

if TYPE_CHECKING:
    from cardioscan.record import EcgRecord

# EDF+ binds an annotation to one signal by "@@" and the signal's label.
_MISSING_TEXT: Final = "Missing@@ECG {lead}"


def encode_edf(record: EcgRecord, stem: str) -> tuple[bytes]:
    """EDF+C: 12 signals "ECG I" ... in uV, one unit per uV, ten records of 1 s, unknown patient and start date.

    EDF has no missing sample. Here a sample that is missing holds the digital minimum, -32768 (physically -32768 uV,
    far from any ECG and below every measured value), and each gap is an annotation ``Missing@@ECG <lead>`` with its
    onset and duration: a reader that knows neither sees an unmistakable step, not an invented flat line.

    Raises:
        FormatError: a sample lies beyond +-32.767 mV.
        MissingDependencyError: edfio is not installed.
    """
    edfio = optional_module("edfio", "Writing EDF")
    samples = to_int16(record, "edf")
    signals = [
        edfio.EdfSignal(
            row.astype(np.float64),
            SAMPLING_RATE_HZ,
            label=f"ECG {lead}",
            transducer_type="printed page",
            physical_dimension="uV",
            physical_range=(-32768, 32767),
            digital_range=(-32768, 32767),
        )
        for lead, row in zip(LEADS, samples, strict=True)
    ]
    # With a duration, which holds for the whole record: early edfio cannot sort a mixture of those with and without.
    annotations = [edfio.EdfAnnotation(0.0, RECORD_SECONDS, DERIVATION_NOTE)]
    for lead, row in zip(LEADS, samples, strict=True):
        for start, stop in runs(row == MISSING):
            onset, duration = start / SAMPLING_RATE_HZ, (stop - start) / SAMPLING_RATE_HZ
            annotations.append(edfio.EdfAnnotation(onset, duration, _MISSING_TEXT.format(lead=lead)))
    edf = edfio.Edf(
        signals,
        recording=edfio.Recording(equipment_code="CardioScan"),
        data_record_duration=1,
        annotations=annotations,
    )
    buffer = io.BytesIO()
    edf.write(buffer)
    return (buffer.getvalue(),)
