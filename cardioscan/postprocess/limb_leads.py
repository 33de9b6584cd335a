"""What the limb leads must obey: Einthoven's and Goldberger's laws."""

from __future__ import annotations

from typing import Final

import numpy as np

from cardioscan.arrays import Floats, Points
from cardioscan.errors import InvalidRecordError
from cardioscan.page.leads import LEAD_INDEX, LEADS
from cardioscan.postprocess.prints import AGREEMENT_TOLERANCE_MV, MIN_OVERLAP

_LAWS: Final[tuple[dict[str, float], ...]] = (
    {"I": 1.0, "II": -1.0, "III": 1.0},  # Einthoven: II = I + III
    {"aVR": 1.0, "aVL": 1.0, "aVF": 1.0},  # Goldberger: the augmented leads cancel
)


def einthoven_redistribute(
    signals: Points,
    confidence: Points,
    tolerance_mv: float = AGREEMENT_TOLERANCE_MV,
) -> Floats:
    """Spread what the limb leads disagree by over them, where they already nearly agree.

    I - II + III = 0 and aVR + aVL + aVF = 0 hold at every instant. Where the three leads of a law are there together
    and the root mean square of their sum is within the tolerance, it is taken off them by weighted least squares
    (error variance taken as 1 / confidence, so the least certain lead moves most). Single instants at which the sum
    exceeds twice the tolerance are corrected less and less, and not at all from four times on: there one lead is
    plainly wrong, and spreading its fault would spoil the other two. A law that is broken as a whole changes nothing.

    Args:
        signals: (12, N) mV, NaN where not printed.
        confidence: (12, N) in [0, 1].
        tolerance_mv: see above.

    Returns:
        (12, N) float64, a new array; NaN stays NaN.

    Raises:
        InvalidRecordError: the shapes differ or are not (12, N).
    """
    result = np.array(signals, np.float64)
    weights = np.asarray(confidence, np.float64)
    if result.ndim != 2 or result.shape[0] != len(LEADS) or weights.shape != result.shape:
        raise InvalidRecordError(f"signals {result.shape} and confidence {weights.shape} must both be (12, N)")
    for law in _LAWS:
        rows = [LEAD_INDEX[lead] for lead in law]
        signs = np.array(list(law.values()))[:, None]
        together = np.flatnonzero(np.isfinite(result[rows]).all(axis=0))
        if together.size < MIN_OVERLAP:
            continue
        at = np.ix_(np.array(rows), together)
        excess = (signs * result[at]).sum(axis=0)
        if np.sqrt(np.mean(excess**2)) > tolerance_mv:
            continue
        variance = 1 / np.maximum(weights[at], 1e-3)
        share = signs * variance / variance.sum(axis=0)
        taper = np.clip(2 - np.abs(excess) / max(2 * tolerance_mv, 1e-12), 0, 1)
        result[at] -= share * excess * taper
    return result
