"""FHIR R4 (4.0.1) Observation with one SampledData component a lead, as plain JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from cardioscan.formats._shared import DERIVATION_NOTE, INT32_LIMIT_UV, LEAD_CODES, content_uuid, to_microvolts
from cardioscan.page.leads import LEADS, SAMPLING_RATE_HZ

if TYPE_CHECKING:
    from cardioscan.record import EcgRecord

LOINC: Final = "http://loinc.org"
MDC: Final = "urn:iso:std:iso:11073:10101"
UCUM: Final = "http://unitsofmeasure.org"
_TERMINOLOGY: Final = "http://terminology.hl7.org/CodeSystem"


def encode_fhir(record: EcgRecord, stem: str) -> tuple[bytes]:
    """One Observation, LOINC 34534-8 (12 lead EKG panel), status preliminary: no person has checked it.

    Each lead is a component coded in ISO/IEEE 11073-10101, its SampledData in whole uV with factor 0.001 to mV, period
    2 ms and "E" where a sample is missing; a lead without samples has a dataAbsentReason instead. There is no subject
    and no date, for the record knows neither. Mean confidences and the derivation are notes.

    Raises:
        FormatError: a sample lies beyond +-2147 V, more than any reader will hold.
    """
    microvolts, present = to_microvolts(record, INT32_LIMIT_UV, "fhir")
    identifier = content_uuid(record, "fhir-observation")
    components = [_component(*item) for item in zip(LEADS, microvolts, present, strict=True)]
    if record.heart_rate_bpm is not None:
        components.append(_heart_rate(record.heart_rate_bpm))
    confidence = ", ".join(f"{lead} {value:.2f}" for lead, value in record.lead_confidence().items())
    observation: dict[str, Any] = {
        "resourceType": "Observation",
        "id": str(identifier),
        "text": {
            "status": "generated",
            "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><p>12-lead ECG. {DERIVATION_NOTE}</p></div>',
        },
        "contained": [_device(record)],
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{identifier}"}],
        "status": "preliminary",
        "category": [
            {"coding": [_coding(f"{_TERMINOLOGY}/observation-category", "procedure", "Procedure")]},
        ],
        "code": {"coding": [_coding(LOINC, "34534-8", "12 lead EKG panel")], "text": "12-lead ECG"},
        "note": [{"text": DERIVATION_NOTE}, {"text": f"Mean confidence of each lead, 0 to 1: {confidence}"}],
        "method": {"text": "Digitized from an image of a printed page"},
        "device": {"reference": "#digitizer"},
        "component": components,
    }
    return (json.dumps(observation, ensure_ascii=False, allow_nan=False, indent=1).encode("utf-8") + b"\n",)


def _coding(system: str, code: str, display: str) -> dict[str, str]:
    return {"system": system, "code": code, "display": display}


def _component(lead: str, microvolts: NDArray[np.int64], present: NDArray[np.bool_]) -> dict[str, Any]:
    code = LEAD_CODES[lead]
    component: dict[str, Any] = {
        "code": {"coding": [_coding(MDC, code.potential_code, code.potential_id)], "text": f"Lead {lead}"}
    }
    if not present.any():
        component["dataAbsentReason"] = {
            "coding": [_coding(f"{_TERMINOLOGY}/data-absent-reason", "unknown", "Unknown")],
            "text": "Not printed or not readable",
        }
        return component
    pairs = zip(microvolts.tolist(), present.tolist(), strict=True)
    component["valueSampledData"] = {
        "origin": {"value": 0, "unit": "mV", "system": UCUM, "code": "mV"},
        "period": 1000 // SAMPLING_RATE_HZ,
        "factor": 0.001,
        "dimensions": 1,
        "data": " ".join(str(value) if there else "E" for value, there in pairs),
    }
    return component


def _heart_rate(rate: float) -> dict[str, Any]:
    return {
        "code": {"coding": [_coding(LOINC, "8867-4", "Heart rate")]},
        "valueQuantity": {"value": round(rate, 1), "unit": "beats/minute", "system": UCUM, "code": "/min"},
    }


def _device(record: EcgRecord) -> dict[str, Any]:
    device: dict[str, Any] = {
        "resourceType": "Device",
        "id": "digitizer",
        "deviceName": [{"name": "CardioScan page digitizer", "type": "model-name"}],
    }
    if record.models:
        device["version"] = [
            {"type": {"text": model.name}, "value": f"{model.version} {model.sha256}".strip()}
            for model in record.models
        ]
    return device
