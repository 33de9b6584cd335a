"""Clinical measures of an ECG (heart rate, PR, QRS, QT, ST levels).

Needs the extra ``clinical`` (neurokit2). Digitized and true signals are measured in the same way, so that differences
come from digitizing and not from the definition. docs/clinical.md describes the method and its accuracy.

"Not measured" is NaN everywhere: no lead II, too few beats, no steady P or T wave, or an implausible value
(``PLAUSIBLE``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cardioscan.errors import InvalidRecordError
from cardioscan.page.leads import LEAD_INDEX, LEADS, SAMPLING_RATE_HZ
from cardioscan.postprocess.delineation import Delineation, delineate
from cardioscan.record import finite_or_none

MEASURES: Final = ("heart_rate_bpm", "pr_ms", "qrs_ms", "qt_ms", "qtc_bazett_ms", "qtc_fridericia_ms", "st_mv")
"""Names of the measures, in the order of every table. ``st_mv`` has a value per lead, the others one per page."""

PLAUSIBLE: Final = {"pr_ms": (80.0, 320.0), "qrs_ms": (40.0, 240.0), "qt_ms": (200.0, 700.0), "st_mv": (-2.0, 2.0)}
"""Lowest and highest plausible value; outside, a measure counts as not measured. Heart rate: 20 to 300."""

_MS_PER_SAMPLE: Final = 1000 / SAMPLING_RATE_HZ
_ST_AFTER_J_SAMPLES: Final = 30  # 60 ms
_ST_HALF_WINDOW_SAMPLES: Final = 2  # averaged on either side of J + 60 ms
_ISOELECTRIC_SAMPLES: Final = (-10, -1)  # from QRS onset, half-open: the end of the PR segment


@dataclass(frozen=True)
class ClinicalMeasures:
    """Measures of one ECG, NaN where not measured.

    Attributes:
        heart_rate_bpm: beats per minute on lead II, from the mean R-R interval, extra beats included.
        pr_ms: P onset to QRS onset, ms.
        qrs_ms: QRS onset to J point, ms.
        qt_ms: QRS onset to T end, ms.
        st_mv: level at J + 60 ms minus the level before QRS, mV, for all twelve leads by name.
        n_beats: beats of lead II that the intervals were measured on.
    """

    heart_rate_bpm: float = math.nan
    pr_ms: float = math.nan
    qrs_ms: float = math.nan
    qt_ms: float = math.nan
    st_mv: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(LEADS, math.nan))
    n_beats: int = 0

    @property
    def qtc_bazett_ms(self) -> float:
        """QT at 60 beats per minute after Bazett (1920), ms: QT over the square root of R-R in s."""
        return self.qt_ms / (60 / self.heart_rate_bpm) ** (1 / 2)

    @property
    def qtc_fridericia_ms(self) -> float:
        """QT at 60 beats per minute after Fridericia (1920), ms: QT over the cube root of R-R in s."""
        return self.qt_ms / (60 / self.heart_rate_bpm) ** (1 / 3)

    def values(self, name: str) -> NDArray[np.float64]:
        """Values of one of ``MEASURES``: (12,) for ``st_mv`` in the order of ``LEADS``, (1,) for the others."""
        value = getattr(self, name)
        return np.array([value[lead] for lead in LEADS] if isinstance(value, Mapping) else [value], np.float64)

    def to_json_dict(self) -> dict[str, Any]:
        """All measures as plain JSON values, None where not measured."""
        values: dict[str, Any] = {name: finite_or_none(self.values(name)[0]) for name in MEASURES if name != "st_mv"}
        st_mv = {lead: finite_or_none(value) for lead, value in self.st_mv.items()}
        return {**values, "st_mv": st_mv, "n_beats": self.n_beats}


def measure_clinical(signals: NDArray[np.floating]) -> ClinicalMeasures:
    """Measure heart rate, intervals and ST levels.

    Beats and intervals are measured on lead II; with less than 5 s of it, nothing is measured. The ST level of a lead
    is the median over the beats whose levels before QRS and after J were both read in that lead; lead II gives their
    times. One beat is enough, because a column of 2.5 s shows no more of a slow heart.

    Args:
        signals: (12, N) mV at 500 Hz in the order of ``LEADS``; NaN where not printed or not read.

    Raises:
        InvalidRecordError: another shape.
        MissingDependencyError: neurokit2 is not installed.
    """
    values = np.asarray(signals, np.float64)
    if values.ndim != 2 or values.shape[0] != len(LEADS):
        raise InvalidRecordError(f"signals must be ({len(LEADS)}, N), not {values.shape}")
    found = delineate(values[LEAD_INDEX["II"]])
    levels = _st_levels(values, found)
    return ClinicalMeasures(
        heart_rate_bpm=found.heart_rate_bpm,
        pr_ms=_nan_if_implausible("pr_ms", (found.qrs_onset - found.p_onset) * _MS_PER_SAMPLE),
        qrs_ms=_nan_if_implausible("qrs_ms", (found.j_point - found.qrs_onset) * _MS_PER_SAMPLE),
        qt_ms=_nan_if_implausible("qt_ms", (found.t_end - found.qrs_onset) * _MS_PER_SAMPLE),
        st_mv={lead: _nan_if_implausible("st_mv", level) for lead, level in zip(LEADS, levels.tolist(), strict=True)},
        n_beats=int(found.r_peaks.size),
    )


def _nan_if_implausible(name: str, value: float) -> float:
    low, high = PLAUSIBLE[name]
    return value if low <= value <= high else math.nan


def _st_levels(signals: NDArray[np.float64], found: Delineation) -> NDArray[np.float64]:
    """(12,) mV, NaN where no beat shows both levels."""
    levels = np.full(len(signals), np.nan)
    if not found.r_peaks.size:
        return levels
    onsets = found.r_peaks + round(found.qrs_onset)
    after = found.r_peaks + round(found.j_point) + _ST_AFTER_J_SAMPLES
    inside = (onsets + _ISOELECTRIC_SAMPLES[0] >= 0) & (after + _ST_HALF_WINDOW_SAMPLES < signals.shape[1])
    onsets, after = onsets[inside], after[inside]
    # A NaN makes the mean NaN: that beat is left out.
    baseline = signals[:, onsets[:, None] + np.arange(*_ISOELECTRIC_SAMPLES)].mean(axis=-1)
    st = (
        signals[:, after[:, None] + np.arange(-_ST_HALF_WINDOW_SAMPLES, _ST_HALF_WINDOW_SAMPLES + 1)].mean(axis=-1)
        - baseline
    )
    shown = np.isfinite(st).any(axis=1)
    levels[shown] = np.nanmedian(st[shown], axis=1)
    return levels
