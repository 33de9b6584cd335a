"""Heart rate, intervals and ST levels of a set of digitized pages against their truth, as rows of a table."""

from __future__ import annotations

from collections.abc import Sequence

from cardioscan.evaluate.clinical import ClinicalComparison, ClinicalSummary
from cardioscan.record import finite_or_none

# Name, unit and the factor that takes the measure to that unit: two decimals must be enough.
MEASURES = {
    "heart_rate_bpm": ("heart rate", "1/min", 1),
    "pr_ms": ("PR", "ms", 1),
    "qrs_ms": ("QRS", "ms", 1),
    "qt_ms": ("QT", "ms", 1),
    "qtc_bazett_ms": ("QTc Bazett", "ms", 1),
    "qtc_fridericia_ms": ("QTc Fridericia", "ms", 1),
    "st_mv": ("ST at J+60 ms", "µV", 1000),
}


def clinical_rows(name: str, comparisons: Sequence[ClinicalComparison]) -> list[dict[str, object]]:
    """A line per measure: values compared, values that the truth has, mean absolute error and bias.

    The line of the heart rate also has the share of digitized pages within 1 per minute, in per cent.
    """
    summary = ClinicalSummary.from_comparisons(comparisons)
    rows: list[dict[str, object]] = []
    for key, (label, unit, factor) in MEASURES.items():
        measure = summary.measures[key]
        within = 100 * summary.heart_rate_within_1 if key == "heart_rate_bpm" else float("nan")
        rows.append(
            {
                "set": name,
                "measure": label,
                "unit": unit,
                "n": measure.n,
                "of": measure.n_true,
                "mean abs. error": finite_or_none(factor * measure.mean_absolute_error),
                "bias": finite_or_none(factor * measure.bias),
                "within 1/min %": finite_or_none(within),
            }
        )
    return rows
