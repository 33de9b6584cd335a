"""Errors of the clinical measures (heart rate, PR, QRS, QT, ST levels) on digitized pages.

Digitized and true signals are measured in the same way (``cardioscan.postprocess.clinical``), so that differences come
from digitizing and not from the definition. docs/clinical.md describes the method and its accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cardioscan.page.leads import LEADS
from cardioscan.postprocess.clinical import MEASURES, ClinicalMeasures, measure_clinical
from cardioscan.record import finite_or_none

HEART_RATE_TOLERANCE_BPM: Final = 1.0
"""Largest error of a heart rate that counts as right."""


@dataclass(frozen=True)
class ClinicalComparison:
    """Measures of a digitized page beside those of its truth; ``predicted`` is None for a refused page."""

    predicted: ClinicalMeasures | None
    truth: ClinicalMeasures

    def errors(self, name: str) -> NDArray[np.float64]:
        """Digitized minus true value of one of ``MEASURES``: (12,) for ``st_mv``, (1,) else; NaN without both."""
        true = self.truth.values(name)
        return np.full(true.shape, np.nan) if self.predicted is None else self.predicted.values(name) - true

    def to_json_dict(self) -> dict[str, Any]:
        """Both sides as plain JSON values."""
        predicted = None if self.predicted is None else self.predicted.to_json_dict()
        return {"predicted": predicted, "truth": self.truth.to_json_dict()}


def compare_clinical(
    predicted: NDArray[np.floating] | None, truth: NDArray[np.floating] | ClinicalMeasures
) -> ClinicalComparison:
    """Measure a digitized page and its truth.

    Args:
        predicted: (12, N) mV at 500 Hz, NaN where not read; None, or all NaN, for a refused page.
        truth: (12, N) mV at 500 Hz, NaN where not printed; or its measures, where several pages show one ECG.

    Raises:
        InvalidRecordError: another shape.
        MissingDependencyError: neurokit2 is not installed.
    """
    refused = predicted is None or not np.isfinite(predicted).any()
    return ClinicalComparison(
        predicted=None if predicted is None or refused else measure_clinical(predicted),
        truth=truth if isinstance(truth, ClinicalMeasures) else measure_clinical(truth),
    )


@dataclass(frozen=True)
class MeasureSummary:
    """One measure over a set of pages.

    Attributes:
        n: values measured on both sides (pages; for ST, leads of pages).
        n_true: values measured in the truth of digitized pages; ``n_true - n`` were lost in digitizing.
        mean_absolute_error: over the n values, in the measure's unit; NaN where n is 0.
        bias: mean of digitized minus true, in the measure's unit; NaN where n is 0.
    """

    n: int
    n_true: int
    mean_absolute_error: float
    bias: float


@dataclass(frozen=True)
class ClinicalSummary:
    """A set of pages.

    Attributes:
        n_digitized: digitized pages; refused pages are not counted in any attribute.
        measures: by name, in the order of ``MEASURES``.
        st_leads: ST levels lead by lead.
        heart_rate_within_1: share of the digitized pages, of those whose truth has a heart rate, with an error of at
            most 1 per minute. A rate that was not measured counts as an error. NaN where there is no such page.
    """

    n_digitized: int
    measures: Mapping[str, MeasureSummary]
    st_leads: Mapping[str, MeasureSummary]
    heart_rate_within_1: float

    @classmethod
    def from_comparisons(cls, comparisons: Sequence[ClinicalComparison]) -> ClinicalSummary:
        """Summarize pages."""
        pages = [page for page in comparisons if page.predicted is not None]
        errors = {name: np.array([page.errors(name) for page in pages]) for name in MEASURES}
        truths = {name: np.array([page.truth.values(name) for page in pages]) for name in MEASURES}
        rates = np.isfinite(truths["heart_rate_bpm"])
        # NaN compares as False: a rate that was not measured is an error.
        within = np.abs(errors["heart_rate_bpm"][rates]) <= HEART_RATE_TOLERANCE_BPM
        st_errors, st_truths = (of["st_mv"].reshape(-1, len(LEADS)) for of in (errors, truths))
        return cls(
            n_digitized=len(pages),
            measures={name: _summarize(errors[name], truths[name]) for name in MEASURES},
            st_leads={lead: _summarize(st_errors[:, k], st_truths[:, k]) for k, lead in enumerate(LEADS)},
            heart_rate_within_1=float(within.mean()) if within.size else math.nan,
        )

    def to_json_dict(self) -> dict[str, Any]:
        """Plain JSON values; NaN becomes None."""

        def plain(part: Mapping[str, MeasureSummary]) -> dict[str, Any]:
            return {name: {k: finite_or_none(v) for k, v in vars(row).items()} for name, row in part.items()}

        return {
            "n_digitized": self.n_digitized,
            "measures": plain(self.measures),
            "st_leads": plain(self.st_leads),
            "heart_rate_within_1": finite_or_none(self.heart_rate_within_1),
        }


def _summarize(errors: NDArray[np.float64], truths: NDArray[np.float64]) -> MeasureSummary:
    known = errors[np.isfinite(errors)]
    return MeasureSummary(
        n=int(known.size),
        n_true=int(np.isfinite(truths).sum()),
        mean_absolute_error=float(np.abs(known).mean()) if known.size else math.nan,
        bias=float(known.mean()) if known.size else math.nan,
    )
