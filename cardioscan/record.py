"""``EcgRecord``: what one page became, checked once and then unchangeable."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cardioscan.arrays import Floats, Image
from cardioscan.errors import InvalidRecordError, PageRefusedError
from cardioscan.page.layout import Layout
from cardioscan.page.leads import LEAD_INDEX, LEADS, RECORD_SAMPLES, SAMPLING_RATE_HZ
from cardioscan.page.read_page import ReadPage
from cardioscan.page.scale import Scale, Source

SHAPE: Final = (len(LEADS), RECORD_SAMPLES)
"""Shape of ``signals`` and ``confidence``: (12, 5000)."""

JSON_SCHEMA_VERSION: Final = 1
_CATEGORY = re.compile(r"\d{4}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Outcome(str, Enum):
    """How a page ended."""

    DIGITIZED = "digitized"
    REFUSED = "refused"


@dataclass(frozen=True)
class Reason:
    """Why a page was refused, or a remark on one that was not.

    Attributes:
        code: stable for programs, a value of ``cardioscan.errors.RefusalCode`` for a refusal.
        detail: a sentence for a person.
    """

    code: str
    detail: str

    def __post_init__(self) -> None:
        """Check that there is a code, and store an enum member as its plain value."""
        code = self.code.value if isinstance(self.code, Enum) else self.code
        if not isinstance(code, str) or not code:
            raise InvalidRecordError(f"a reason needs a non-empty code, not {self.code!r}")
        object.__setattr__(self, "code", code)

    @classmethod
    def from_error(cls, error: PageRefusedError) -> Reason:
        """The reason that a ``PageRefusedError`` carries."""
        return cls(error.code.value, error.detail)


@dataclass(frozen=True)
class Calibration:
    """The scale at which a trace was turned into mV and seconds.

    Attributes:
        sampling_rate_hz: rate of the signals that came out.
        px_per_mv, px_per_s: scale of the rectified frame.
        speed_mm_per_s, gain_mm_per_mv: paper speed and gain.
        speed_source, gain_source: how each is known.
    """

    sampling_rate_hz: float
    px_per_mv: float
    px_per_s: float
    speed_mm_per_s: float
    gain_mm_per_mv: float
    speed_source: Source = Source.ASSUMED
    gain_source: Source = Source.ASSUMED

    def __post_init__(self) -> None:
        """Check that every number is positive and finite, and that the sources are some."""
        for name in ("sampling_rate_hz", "px_per_mv", "px_per_s", "speed_mm_per_s", "gain_mm_per_mv"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InvalidRecordError(f"calibration: {name} must be positive, not {value!r}")
        for name in ("speed_source", "gain_source"):
            try:
                object.__setattr__(self, name, Source(getattr(self, name)))
            except ValueError:
                raise InvalidRecordError(f"calibration: {name} must be one of {[s.value for s in Source]}") from None

    @classmethod
    def of(cls, scale: Scale) -> Calibration:
        """The calibration of a page read at a scale."""
        return cls(
            SAMPLING_RATE_HZ,
            scale.px_per_mv,
            scale.px_per_s,
            scale.speed_mm_per_s,
            scale.gain_mm_per_mv,
            scale.speed_source,
            scale.gain_source,
        )


@dataclass(frozen=True)
class ModelUse:
    """A network that took part: its name, its version and the SHA-256 of its ONNX file (64 hex digits, or empty)."""

    name: str
    version: str
    sha256: str

    def __post_init__(self) -> None:
        """Check that the hash looks like one."""
        if self.sha256 and not _SHA256.fullmatch(self.sha256):
            raise InvalidRecordError(f"model {self.name}: sha256 must be 64 lower-case hex digits, not {self.sha256!r}")


@dataclass(frozen=True, eq=False)
class EcgRecord:
    """The validated result of one page. Arrays are copied and made read-only; records pickle.

    Attributes:
        name: stem of the files that this record is written to; no path separators.
        signals: (12, 5000) float64, mV, 500 Hz, leads in the order of ``LEADS``; NaN = not printed or not readable.
            A lead that is printed more than once is its longest print, with the others merged in.
        confidence: (12, 5000) float32 in [0, 1]; 0 wherever the signal is NaN.
        outcome: digitized (at least one finite sample) or refused (none, and at least one reason).
        reasons: why it was refused; remarks on a digitized page.
        source: name of the input file, None for an array or bytes.
        source_category: category of the source, four digits ("0005"), None where it was not told.
        layout: which lead was printed where and when; None on a refused page.
        calibration: scale of the digitization; None on a refused page.
        models: the networks that took part.
        timings_s: seconds per stage.
        heart_rate_bpm: beats per minute, None where it cannot be measured.
        edits: what people changed by hand, in order, each with its ``kind`` (``cardioscan.postprocess.editing``).
        diagnostics: whatever else is worth keeping. NumPy values become plain ones; NaN becomes None.

    Raises:
        InvalidRecordError: on construction, when these contradict each other.
    """

    name: str
    signals: NDArray[np.float64]
    confidence: NDArray[np.float32]
    outcome: Outcome = Outcome.DIGITIZED
    reasons: tuple[Reason, ...] = ()
    source: str | None = None
    source_category: str | None = None
    layout: Layout | None = None
    calibration: Calibration | None = None
    models: tuple[ModelUse, ...] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)
    heart_rate_bpm: float | None = None
    diagnostics: Mapping[str, object] = field(default_factory=dict)
    edits: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        """Check everything that can be checked, then freeze arrays and mappings."""
        _check_name(self.name)
        try:
            outcome = Outcome(self.outcome)
        except ValueError:
            raise InvalidRecordError(f"outcome must be one of {[o.value for o in Outcome]}") from None
        signals = _frozen_array(self.signals, np.float64, "signals")
        confidence = _frozen_array(self.confidence, np.float32, "confidence")
        missing = np.isnan(signals)
        _check_arrays(signals, confidence, missing)
        reasons = _members(self.reasons, Reason, "reasons")
        if outcome is Outcome.REFUSED:
            if not reasons:
                raise InvalidRecordError("a refused record needs at least one reason")
            if not missing.all():
                raise InvalidRecordError("a refused record must hold no finite sample")
        elif missing.all():
            raise InvalidRecordError("a digitized record needs at least one finite sample; refuse the page instead")
        if self.source_category is not None and not _CATEGORY.fullmatch(self.source_category):
            raise InvalidRecordError(f"source_category must be four digits, not {self.source_category!r}")
        if not isinstance(self.layout, (Layout, type(None))):
            raise InvalidRecordError(f"layout must be a Layout or None, not {type(self.layout).__name__}")
        rate = self.heart_rate_bpm
        if rate is not None and not (math.isfinite(rate) and rate > 0):
            raise InvalidRecordError(f"heart_rate_bpm must be positive or None, not {rate!r}")
        timings = {str(stage): float(seconds) for stage, seconds in self.timings_s.items()}
        if not all(math.isfinite(seconds) and seconds >= 0 for seconds in timings.values()):
            raise InvalidRecordError(f"timings_s must be finite and not negative: {timings}")
        checked: dict[str, Any] = {
            "outcome": outcome,
            "signals": signals,
            "confidence": confidence,
            "reasons": reasons,
            "models": _members(self.models, ModelUse, "models"),
            "heart_rate_bpm": None if rate is None else float(rate),
            "timings_s": MappingProxyType(timings),
            "diagnostics": MappingProxyType(_plain(self.diagnostics, "diagnostics")),
            "edits": tuple(_plain(list(self.edits), "edits")),
        }
        for key, value in checked.items():
            object.__setattr__(self, key, value)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the constructor's arguments, for mapping proxies cannot be pickled."""
        values = [getattr(self, item.name) for item in fields(self)]
        return type(self), tuple(dict(value) if isinstance(value, MappingProxyType) else value for value in values)

    @classmethod
    def refused(
        cls,
        name: str,
        reasons: Iterable[Reason],
        *,
        source: str | None = None,
        source_category: str | None = None,
        models: Sequence[ModelUse] = (),
        timings_s: Mapping[str, float] | None = None,
        diagnostics: Mapping[str, object] | None = None,
    ) -> EcgRecord:
        """The record of a page that could not be read: all NaN, with the reasons why."""
        return cls(
            name=name,
            signals=np.full(SHAPE, np.nan),
            confidence=np.zeros(SHAPE, np.float32),
            outcome=Outcome.REFUSED,
            reasons=tuple(reasons),
            source=source,
            source_category=source_category,
            models=tuple(models),
            timings_s=timings_s or {},
            diagnostics=diagnostics or {},
        )

    @property
    def sampling_rate_hz(self) -> int:
        """Samples per second of ``signals``: always 500."""
        return SAMPLING_RATE_HZ

    @property
    def time_s(self) -> NDArray[np.float64]:
        """(5000,) float64: time of each sample, s; sample 0 is at 0."""
        return np.arange(RECORD_SAMPLES) / SAMPLING_RATE_HZ

    def lead(self, name: str) -> NDArray[np.float64]:
        """(5000,) float64, mV, read-only: the signal of one lead. Raises KeyError for an unknown name."""
        if name not in LEAD_INDEX:
            raise KeyError(f"no lead {name!r}; the leads are {', '.join(LEADS)}")
        signal: NDArray[np.float64] = self.signals[LEAD_INDEX[name]]
        return signal

    def lead_confidence(self) -> dict[str, float]:
        """Mean confidence per lead over its finite samples; 0 for a lead without any."""
        # A missing sample's confidence is 0, so the sum over all samples is the sum over the finite ones.
        counts = np.isfinite(self.signals).sum(axis=1)
        means = self.confidence.sum(axis=1, dtype=np.float64) / np.maximum(counts, 1)
        return dict(zip(LEADS, means.tolist(), strict=True))

    def to_json_dict(self) -> dict[str, Any]:
        """Everything but the samples, as plain JSON values: the content of ``page.json``."""
        seconds = np.isfinite(self.signals).sum(axis=1) / SAMPLING_RATE_HZ
        return {
            "schema_version": JSON_SCHEMA_VERSION,
            "name": self.name,
            "outcome": self.outcome.value,
            "reasons": [asdict(reason) for reason in self.reasons],
            "source": self.source,
            "source_category": self.source_category,
            "sampling_rate_hz": SAMPLING_RATE_HZ,
            "samples": RECORD_SAMPLES,
            "lead_confidence": {lead: round(value, 4) for lead, value in self.lead_confidence().items()},
            "lead_seconds": dict(zip(LEADS, seconds.tolist(), strict=True)),
            "heart_rate_bpm": None if self.heart_rate_bpm is None else round(self.heart_rate_bpm, 1),
            "layout": None if self.layout is None else self.layout.to_json_dict(),
            "calibration": None if self.calibration is None else _plain(asdict(self.calibration), "calibration"),
            "models": [asdict(model) for model in self.models],
            "timings_s": {stage: round(value, 4) for stage, value in self.timings_s.items()},
            "edits": list(self.edits),
            "diagnostics": dict(self.diagnostics),
        }


@dataclass(frozen=True, eq=False)
class Digitization:
    """A record and how it came about.

    Attributes:
        record: the result.
        image: the page that was read, (H, W, 3) uint8 RGB; None if it could not be opened.
        page: what is printed where on the flat page; None before that is known.
        traces: by name of the printed trace (``Layout.trace_name``), (N, 2) float64 (x, y) px in ``image``, NaN in
            gaps.
        labels: (n, 3) float64: class id, x, y in ``image`` px of the lead names that the alignment rests on; None
            before the page is located.
        lattice: (44, 57, 2) float64 (x, y) px in ``image`` of the 5 mm nodes; None before the page is flattened.
        flatten: gives the flat page; None before the page is flattened. See ``rectified``.
        row_coverage: (4, 1700, 2200) uint8 as the waveform extractor answered; None before the traces are read.
        lead_features: (12, 9) float64, what the leads' confidence rests on (``cardioscan.postprocess.confidence``);
            None where refused.
        page_confidence: 0..1, of the place and the lattice: a factor of every confidence.
    """

    record: EcgRecord
    image: Image | None = None
    page: ReadPage | None = None
    traces: Mapping[str, Floats] = field(default_factory=dict)
    labels: Floats | None = None
    lattice: Floats | None = None
    flatten: Callable[[], Image] | None = None
    row_coverage: Image | None = None
    lead_features: Floats | None = None
    page_confidence: float = 1.0

    @cached_property
    def rectified(self) -> Image | None:
        """The flat page (1700, 2200, 3) uint8 RGB, sampled when it is first asked for; None before it is known.

        Signals are read from the coverage, so whoever wants them alone is spared this.
        """
        return None if self.flatten is None else self.flatten()


def finite_or_none(value: float) -> float | None:
    """``value``, or None if it is infinite or NaN, which JSON cannot express."""
    return value if math.isfinite(value) else None


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name.strip() or name in {".", ".."} or re.search(r"[/\\\x00]", name):
        raise InvalidRecordError(f"a record's name must be a plain file stem, not {name!r}")


def _frozen_array(values: object, dtype: type[np.floating[Any]], what: str) -> NDArray[Any]:
    if not isinstance(values, np.ndarray) or values.shape != SHAPE or values.dtype != np.dtype(dtype):
        found = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
        raise InvalidRecordError(f"{what} must be a {np.dtype(dtype)} array of shape {SHAPE}, not {found}")
    copy = np.array(values, dtype, order="C")
    copy.flags.writeable = False
    return copy


def _check_arrays(signals: NDArray[np.float64], confidence: NDArray[np.float32], missing: NDArray[np.bool_]) -> None:
    if np.isinf(signals).any():
        raise InvalidRecordError("signals must be finite or NaN, but hold an infinity")
    # A NaN fails both comparisons, so this catches it too.
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise InvalidRecordError("confidence must lie in [0, 1]")
    if confidence[missing].any():
        raise InvalidRecordError("confidence must be 0 where the signal is NaN")


def _members(values: Iterable[Any], kind: type, what: str) -> tuple[Any, ...]:
    members = tuple(values)
    for member in members:
        if not isinstance(member, kind):
            raise InvalidRecordError(f"{what} must hold {kind.__name__} values, not {type(member).__name__}")
    return members


def _plain(value: object, where: str) -> Any:
    """``value`` as JSON can hold it. Raises InvalidRecordError, naming the place, where that is impossible."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist(), where)
    if isinstance(value, (list, tuple)):
        return [_plain(item, where) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise InvalidRecordError(f"{where} holds a {type(value).__name__}, which JSON cannot hold")
