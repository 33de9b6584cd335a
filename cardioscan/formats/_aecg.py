"""HL7 Annotated ECG (aECG, ANSI/HL7 V3 ECG R1-2004, schema PORT_MT020001)."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from cardioscan.formats._shared import (
    DERIVATION_NOTE,
    INT32_LIMIT_UV,
    LEAD_CODES,
    content_uuid,
    seconds,
    to_microvolts,
)
from cardioscan.page.leads import LEADS

if TYPE_CHECKING:
    from cardioscan.record import EcgRecord

NAMESPACE: Final = "urn:hl7-org:v3"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
_ACT_CODE: Final = "2.16.840.1.113883.5.4"
_CPT: Final = "2.16.840.1.113883.6.12"
_MDC: Final = "2.16.840.1.113883.6.24"


def encode_aecg(record: EcgRecord, stem: str) -> tuple[bytes]:
    """One AnnotatedECG with one RHYTHM series, digits in whole uV, relative time from the start of the page.

    The format has no missing sample; all sequences of a set are equally long. So the record is cut wherever a lead
    begins or ends, and each interval becomes a sequence set with its own time base and the leads that are present
    throughout it. On the standard page these are four sets of 2.5 s. Dates, subject and trial, which the schema asks
    for, have null flavors: unknown (UNK) or no information (NI).

    Raises:
        FormatError: a sample lies beyond +-2147 V, more than any reader will hold.
    """
    microvolts, present = to_microvolts(record, INT32_LIMIT_UV, "aecg")
    root = ElementTree.Element("AnnotatedECG", {"xmlns": NAMESPACE, "xmlns:xsi": XSI, "type": "Observation"})
    _add(root, "id", root=str(content_uuid(record, "aecg-document")))
    _add(root, "code", code="93000", codeSystem=_CPT, codeSystemName="CPT-4")
    _add(root, "text").text = DERIVATION_NOTE
    _add(root, "effectiveTime", nullFlavor="UNK")
    assignment = _add(_add(_add(_add(root, "componentOf"), "timepointEvent"), "componentOf"), "subjectAssignment")
    _add(_add(_add(assignment, "subject"), "trialSubject"), "id", nullFlavor="NI")
    _add(_add(_add(assignment, "componentOf"), "clinicalTrial"), "id", nullFlavor="NI")
    series = _add(_add(root, "component"), "series")
    _add(series, "id", root=str(content_uuid(record, "aecg-series")))
    _add(series, "code", code="RHYTHM", codeSystem=_ACT_CODE, codeSystemName="ActCode")
    _add(series, "effectiveTime", nullFlavor="UNK")
    device = _add(_add(_add(series, "author"), "seriesAuthor"), "manufacturedSeriesDevice")
    _add(device, "manufacturerModelName").text = "CardioScan page digitizer"
    if record.models:
        _add(device, "softwareName").text = "; ".join(f"{model.name} {model.version}" for model in record.models)
    for start, stop in _intervals(present):
        _sequence_set(series, start, microvolts[:, start:stop], present[:, start])
    ElementTree.indent(root, " ")
    return (ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True) + b"\n",)


def _add(parent: ElementTree.Element, tag: str, **attributes: str) -> ElementTree.Element:
    return ElementTree.SubElement(parent, tag, attributes)


def _intervals(present: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Half-open intervals over which the same leads, and at least one, are present; in order."""
    changes = np.flatnonzero((present[:, 1:] != present[:, :-1]).any(axis=0)) + 1
    bounds = [0, *changes.tolist(), present.shape[1]]
    return [(start, stop) for start, stop in zip(bounds, bounds[1:], strict=False) if present[:, start].any()]


def _sequence_set(
    series: ElementTree.Element, start: int, microvolts: NDArray[np.int64], leads: NDArray[np.bool_]
) -> None:
    sequences = _add(_add(series, "component"), "sequenceSet")
    time = _add(_add(sequences, "component"), "sequence")
    _add(time, "code", code="TIME_RELATIVE", codeSystem=_ACT_CODE, codeSystemName="ActCode")
    value = _add(time, "value", **{"xsi:type": "GLIST_PQ"})
    _add(value, "head", value=seconds(start), unit="s")
    _add(value, "increment", value=seconds(1), unit="s")
    for index in np.flatnonzero(leads):
        sequence = _add(_add(sequences, "component"), "sequence")
        _add(sequence, "code", code=LEAD_CODES[LEADS[index]].reference_id, codeSystem=_MDC, codeSystemName="MDC")
        value = _add(sequence, "value", **{"xsi:type": "SLIST_PQ"})
        _add(value, "origin", value="0", unit="uV")
        _add(value, "scale", value="1", unit="uV")
        _add(value, "digits").text = " ".join(map(str, microvolts[index].tolist()))
