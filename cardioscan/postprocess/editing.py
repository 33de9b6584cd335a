"""Corrections by hand: a piece of a lead drawn anew, or taken out. Each stays in the record's ``edits``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from scipy.interpolate import PchipInterpolator

from cardioscan.errors import EditError, InvalidRecordError
from cardioscan.page.leads import LEAD_INDEX, LEADS, RECORD_SAMPLES, SAMPLING_RATE_HZ
from cardioscan.postprocess.heart_rate import heart_rate_bpm
from cardioscan.record import EcgRecord, Outcome

HAND_CONFIDENCE: Final = 0.5
"""Confidence of samples drawn by hand: nothing measured speaks for them or against them."""

MAX_POINTS: Final = RECORD_SAMPLES
_TIME_TOLERANCE_S: Final = 1e-6  # times nearer than this are the same
_MAX_MV: Final = 20.0
_MAX_S: Final = RECORD_SAMPLES / SAMPLING_RATE_HZ


@dataclass(frozen=True)
class Redraw:
    """A piece of a lead drawn by hand.

    Attributes:
        lead: its name.
        points: (s, mV) in the order of time, two at least; between them runs a monotone cubic without overshoot.
    """

    lead: str
    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        """Check the lead, the number of points, and that time runs on."""
        _check_lead(self.lead)
        points = np.asarray(self.points, np.float64)
        if points.ndim != 2 or points.shape[1:] != (2,) or not 2 <= len(points) <= MAX_POINTS:
            raise EditError(f"lead {self.lead}: a piece needs 2 to {MAX_POINTS} points of s and mV")
        if not np.isfinite(points).all() or points[:, 0].min() < 0 or points[:, 0].max() > _MAX_S:
            raise EditError(f"lead {self.lead}: the points must lie between 0 and {_MAX_S:g} s")
        if np.abs(points[:, 1]).max() > _MAX_MV:
            raise EditError(f"lead {self.lead}: the points must lie within {_MAX_MV:g} mV of zero")
        if (np.diff(points[:, 0]) <= 0).any():
            raise EditError(f"lead {self.lead}: the points must run from left to right")

    def to_json_dict(self) -> dict[str, Any]:
        """As it stands in ``page.json``."""
        points = [[round(t, 4), round(v, 4)] for t, v in self.points]
        return {"kind": "redraw", "lead": self.lead, "points": points}


@dataclass(frozen=True)
class Erase:
    """A piece of a lead taken out, from ``start_s`` to before ``stop_s``: it was not readable after all."""

    lead: str
    start_s: float
    stop_s: float

    def __post_init__(self) -> None:
        """Check the lead and the times."""
        _check_lead(self.lead)
        if not 0 <= self.start_s < self.stop_s <= _MAX_S:
            raise EditError(f"lead {self.lead}: a piece to erase must end after it starts, between 0 and {_MAX_S:g} s")

    def to_json_dict(self) -> dict[str, Any]:
        """As it stands in ``page.json``."""
        return {"kind": "erase", "lead": self.lead, "start_s": round(self.start_s, 4), "stop_s": round(self.stop_s, 4)}


Edit = Redraw | Erase


def apply_edits(record: EcgRecord, edits: Sequence[Edit]) -> EcgRecord:
    """The record with corrections made to it, in order; heart rate is counted anew.

    Args:
        record: a digitized record; earlier edits of it stay in ``edits``.
        edits: corrections.

    Raises:
        EditError: the record is refused, a piece holds no sample, or nothing would be left.
    """
    if not edits:
        return record
    if record.outcome is Outcome.REFUSED:
        raise EditError("a refused page has no traces to correct: place its corners and run again")
    signals, confidence = np.array(record.signals), np.array(record.confidence)
    for edit in edits:
        row = LEAD_INDEX[edit.lead]
        if isinstance(edit, Redraw):
            times, values = np.asarray(edit.points, np.float64).T
            piece = _samples(edit.lead, times[0], times[-1] + 2 * _TIME_TOLERANCE_S)
            signals[row, piece] = PchipInterpolator(times, values)(
                np.arange(piece.start, piece.stop) / SAMPLING_RATE_HZ
            )
            confidence[row, piece] = HAND_CONFIDENCE
        else:
            piece = _samples(edit.lead, edit.start_s, edit.stop_s)
            signals[row, piece], confidence[row, piece] = np.nan, 0
    try:
        return replace(
            record,
            signals=signals,
            confidence=confidence,
            heart_rate_bpm=heart_rate_bpm(signals, confidence),
            edits=(*record.edits, *(edit.to_json_dict() for edit in edits)),
        )
    except InvalidRecordError as error:
        raise EditError("nothing would be left of this page") from error


def edit_from_json(value: Mapping[str, Any]) -> Edit:
    """The edit that ``to_json_dict`` turned into JSON. Raises ``EditError`` where it is none."""
    try:
        if value["kind"] == "redraw":
            return Redraw(str(value["lead"]), tuple((float(t), float(v)) for t, v in value["points"]))
        if value["kind"] == "erase":
            return Erase(str(value["lead"]), float(value["start_s"]), float(value["stop_s"]))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, EditError):
            raise
        raise EditError(f"a correction is incomplete: {error}") from error
    raise EditError(f"a correction is a 'redraw' or an 'erase', not {value['kind']!r}")


def _check_lead(lead: str) -> None:
    if lead not in LEAD_INDEX:
        raise EditError(f"there is no lead {lead!r}; the leads are {', '.join(LEADS)}")


def _samples(lead: str, start_s: float, stop_s: float) -> slice:
    """The samples at times from ``start_s`` to before ``stop_s``."""
    first = max(0, int(np.ceil((start_s - _TIME_TOLERANCE_S) * SAMPLING_RATE_HZ)))
    last = min(RECORD_SAMPLES, int(np.ceil((stop_s - _TIME_TOLERANCE_S) * SAMPLING_RATE_HZ)))
    if last <= first:
        raise EditError(f"lead {lead}: the piece holds no sample")
    return slice(first, last)
