"""What several formats share: lead codes, quantisation, runs of missing samples, identifiers, optional packages."""

from __future__ import annotations

import hashlib
import importlib
import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from cardioscan.errors import FormatError, MissingDependencyError
from cardioscan.page.leads import LEADS, SAMPLING_RATE_HZ

if TYPE_CHECKING:
    from cardioscan.record import EcgRecord

EXTRA: Final = "formats"
"""The extra of the distribution that installs the packages of all formats."""

MISSING: Final = -32768
"""The 16-bit sample that stands for "not printed or not readable"; never a measured value."""

INT16_LIMIT_UV: Final = 32767
INT32_LIMIT_UV: Final = 2**31 - 1

DERIVATION_NOTE: Final = (
    "Digitized by CardioScan from an image of a printed ECG page, not recorded from electrodes. "
    "Samples that are not printed or not readable are missing."
)

_NAMESPACE: Final = uuid.UUID("6f0c3f0e-5d0b-5c0c-9d2e-2b7a4d1c8e55")


@dataclass(frozen=True)
class LeadCode:
    """The names of one lead in ISO/IEEE 11073-10101 (MDC).

    Attributes:
        reference_id: lead identifier as used by HL7 aECG, such as ``MDC_ECG_LEAD_AVR``.
        dicom_value, dicom_meaning: code value (scheme MDC) and meaning in DICOM context group 3001, "ECG Lead".
        potential_code, potential_id: 32-bit code and identifier of the lead's potential, used by FHIR.
    """

    reference_id: str
    dicom_value: str
    dicom_meaning: str
    potential_code: str
    potential_id: str


def _lead_codes() -> dict[str, LeadCode]:
    # MDC numbers of the leads in code block 2; the potentials repeat them 256 higher in the 32-bit numbering.
    numbers = dict(zip(LEADS, (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8), strict=True))
    augmented = {"aVR": "right", "aVL": "left", "aVF": "foot"}
    return {
        lead: LeadCode(
            reference_id=f"MDC_ECG_LEAD_{lead.upper()}",
            dicom_value=f"2:{number}",
            dicom_meaning=f"{lead}, augmented voltage, {augmented[lead]}" if lead in augmented else f"Lead {lead}",
            potential_code=str(2 * 65536 + 256 + number),
            potential_id=f"MDC_ECG_ELEC_POTL_{lead.upper()}",
        )
        for lead, number in numbers.items()
    }


LEAD_CODES: Final = _lead_codes()


def optional_module(module: str, purpose: str) -> Any:
    """Import an optional package; raises MissingDependencyError, naming the extra, where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(module.partition(".")[0], EXTRA, purpose) from error


def to_microvolts(record: EcgRecord, limit: int, format_name: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The record's signals rounded to whole microvolts (half to even).

    Returns:
        microvolts: (12, 5000) int64, 0 where missing.
        present: (12, 5000) bool, False where the signal is NaN.

    Raises:
        FormatError: a sample lies beyond ``limit`` uV; names the lead, the sample and the value.
    """
    present = np.isfinite(record.signals)
    # Compared in mV, so that a value near the largest float64 is refused here and does not overflow below.
    beyond = present & (np.abs(np.where(present, record.signals, 0.0)) >= (limit + 0.5) / 1000)
    if beyond.any():
        row, column = np.argwhere(beyond)[0]
        raise FormatError(
            f"{format_name} cannot hold lead {LEADS[row]}, sample {column}: {record.signals[row, column]:g} mV is "
            f"outside +-{limit / 1000:g} mV"
        )
    return np.rint(np.where(present, record.signals, 0.0) * 1000).astype(np.int64), present


def to_int16(record: EcgRecord, format_name: str) -> NDArray[np.int16]:
    """(12, 5000) int16 microvolts with ``MISSING`` where there is no sample. Raises FormatError beyond +-32.767 mV."""
    microvolts, present = to_microvolts(record, INT16_LIMIT_UV, format_name)
    return np.where(present, microvolts, MISSING).astype(np.int16)


def runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Runs of True in a (n,) mask as half-open ``(start, stop)`` pairs, in order."""
    steps = np.diff(np.concatenate(([0], mask.astype(np.int8), [0])))
    return list(zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True))


def seconds(sample: int) -> str:
    """The time of a sample as text with 3 decimals, exact at 500 Hz."""
    return f"{sample / SAMPLING_RATE_HZ:.3f}"


def content_uuid(record: EcgRecord, role: str) -> uuid.UUID:
    """An identifier of the record's content for one ``role`` ("study", "observation", ...).

    The same name, signals, confidence and models give the same identifier on every machine; times taken do not count.
    """
    digest = hashlib.sha256()
    models = [[model.name, model.version, model.sha256] for model in record.models]
    digest.update(json.dumps([record.name, models]).encode())
    # One bit pattern for every NaN and both zeros; little endian on every machine.
    digest.update((np.where(np.isnan(record.signals), np.nan, record.signals) + 0.0).astype("<f8").tobytes())
    digest.update(record.confidence.astype("<f4").tobytes())
    return uuid.uuid5(_NAMESPACE, f"{role}:{digest.hexdigest()}")
