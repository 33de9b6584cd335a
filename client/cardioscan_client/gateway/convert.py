"""``EcgRecord`` as a message of ``cardioscan.v1``, and back again."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from google.protobuf import json_format, struct_pb2
from numpy.typing import NDArray

from cardioscan.errors import InvalidRecordError, LayoutError
from cardioscan.page.layout import Cell, Layout
from cardioscan.page.leads import LEADS, SAMPLING_RATE_HZ
from cardioscan.page.scale import Source
from cardioscan.record import SHAPE, Calibration, EcgRecord, ModelUse, Outcome, Reason
from cardioscan_client.gateway.v1 import digitizer_pb2 as pb

_OUTCOMES: Final = {Outcome.DIGITIZED: pb.OUTCOME_DIGITIZED, Outcome.REFUSED: pb.OUTCOME_REFUSED}
_OUTCOME_OF_NUMBER: Final = {number: outcome for outcome, number in _OUTCOMES.items()}
_LEADS: Final[dict[str, pb.LeadName]] = {name: getattr(pb, f"LEAD_NAME_{name.upper()}") for name in LEADS}


def to_message(record: EcgRecord) -> pb.Record:
    """The message of a record. Signals become float32, which is exact to 1e-6 mV; names of files stay here."""
    message = pb.Record(
        outcome=_OUTCOMES[record.outcome],
        reasons=[pb.Reason(code=reason.code, message=reason.detail) for reason in record.reasons],
        sampling_rate_hz=record.sampling_rate_hz,
        heart_rate_bpm=record.heart_rate_bpm,
        source_category=record.source_category or "",
        models=[pb.Model(name=use.name, version=use.version, sha256=use.sha256) for use in record.models],
        stage_seconds=dict(record.timings_s),
        diagnostics=json_format.ParseDict(dict(record.diagnostics), struct_pb2.Struct()),
    )
    if record.calibration is not None:
        scale = record.calibration
        message.calibration.CopyFrom(
            pb.Calibration(
                px_per_mv=scale.px_per_mv,
                px_per_s=scale.px_per_s,
                speed_mm_per_s=scale.speed_mm_per_s,
                gain_mm_per_mv=scale.gain_mm_per_mv,
                speed_source=scale.speed_source.value,
                gain_source=scale.gain_source.value,
            )
        )
    if record.layout is not None:
        message.layout.CopyFrom(
            pb.Layout(
                name=record.layout.name,
                cells=[
                    pb.Cell(
                        lead=_LEADS[cell.lead],
                        row=cell.row,
                        column=cell.column,
                        t_start=cell.t_start,
                        seconds=cell.seconds,
                        inverted=cell.sign < 0,
                    )
                    for cell in record.layout.cells
                ],
            )
        )
    if record.outcome is Outcome.DIGITIZED:
        means = record.lead_confidence()
        for name, signal, confidence in zip(LEADS, record.signals, record.confidence, strict=True):
            lead = pb.Lead(name=_LEADS[name], mean_confidence=means[name], read_ranges=read_ranges(signal))
            lead.signal_mv.extend(signal.astype(np.float32).tolist())
            lead.confidence.extend(confidence.tolist())
            message.leads.append(lead)
    return message


def read_ranges(signal: NDArray[np.float64]) -> list[pb.SampleRange]:
    """The runs of finite samples in a signal (n,)."""
    edges = np.flatnonzero(np.diff(np.isfinite(signal).astype(np.int8), prepend=0, append=0))
    return [pb.SampleRange(start=int(start), end=int(end)) for start, end in edges.reshape(-1, 2)]


def from_message(message: pb.Record, name: str = "page", source: str | None = None) -> EcgRecord:
    """The record of a message.

    Args:
        message: what a gateway sent.
        name, source: as in ``EcgRecord``; the gateway never learns them.

    Raises:
        InvalidRecordError: the message is none of a gateway of this release.
    """
    if message.outcome not in _OUTCOME_OF_NUMBER:
        raise InvalidRecordError(f"the gateway sent an outcome that this client does not know: {message.outcome}")
    signals, confidence = np.full(SHAPE, np.nan), np.zeros(SHAPE, np.float32)
    rows = {number: row for row, number in enumerate(_LEADS.values())}
    for lead in message.leads:
        if lead.name not in rows or not len(lead.signal_mv) == len(lead.confidence) == SHAPE[1]:
            raise InvalidRecordError("the gateway sent leads of another kind: is it of the same release?")
        signals[rows[lead.name]], confidence[rows[lead.name]] = lead.signal_mv[:], lead.confidence[:]
    return EcgRecord(
        name=name,
        signals=signals,
        confidence=confidence,
        outcome=_OUTCOME_OF_NUMBER[message.outcome],
        reasons=tuple(Reason(reason.code, reason.message) for reason in message.reasons),
        source=source,
        source_category=message.source_category or None,
        layout=_layout(message),
        calibration=_calibration(message),
        models=tuple(ModelUse(use.name, use.version, use.sha256) for use in message.models),
        timings_s=dict(message.stage_seconds),
        heart_rate_bpm=message.heart_rate_bpm if message.HasField("heart_rate_bpm") else None,
        diagnostics=_diagnostics(message),
    )


def _calibration(message: pb.Record) -> Calibration | None:
    if not message.HasField("calibration"):
        return None
    scale = message.calibration
    return Calibration(
        sampling_rate_hz=message.sampling_rate_hz or SAMPLING_RATE_HZ,
        px_per_mv=scale.px_per_mv,
        px_per_s=scale.px_per_s,
        speed_mm_per_s=scale.speed_mm_per_s,
        gain_mm_per_mv=scale.gain_mm_per_mv,
        speed_source=Source(scale.speed_source or Source.ASSUMED),
        gain_source=Source(scale.gain_source or Source.ASSUMED),
    )


def _layout(message: pb.Record) -> Layout | None:
    if not message.HasField("layout"):
        return None
    leads = {number: name for name, number in _LEADS.items()}
    try:
        cells = tuple(
            Cell(leads[cell.lead], cell.row, cell.column, cell.t_start, cell.seconds, -1 if cell.inverted else 1)
            for cell in message.layout.cells
        )
        return Layout(message.layout.name, cells)
    except (KeyError, LayoutError) as error:
        raise InvalidRecordError(f"the gateway sent a layout that this client does not know: {error}") from error


def _diagnostics(message: pb.Record) -> dict[str, Any]:
    values: dict[str, Any] = json_format.MessageToDict(message.diagnostics)
    return values
