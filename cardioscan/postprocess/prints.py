"""One signal from several prints of the same lead."""

from __future__ import annotations

from typing import Final

import numpy as np

from cardioscan.arrays import FloatMap, Floats, Points
from cardioscan.errors import InvalidRecordError

AGREEMENT_TOLERANCE_MV: Final = 0.1
"""Root mean square difference below which two readings of the same voltage count as agreeing."""
MIN_OVERLAP: Final = 50
"""Samples (0.1 s) that two readings must share before they are said to agree or disagree."""


def merge_prints(
    long: Points,
    long_clarity: Points,
    short: Points,
    short_clarity: Points,
    tolerance_mv: float = AGREEMENT_TOLERANCE_MV,
) -> tuple[Floats, FloatMap]:
    """One signal from two prints of the same lead, as lead II in its 2.5 s field and in the 10 s rhythm row.

    The short print is first moved onto the long one's zero line (median difference where both are there). If they
    then agree within the tolerance (root mean square) they are averaged by clarity, and the short print fills the
    holes of the other. If they disagree, one of them is wrong, nobody knows where, and the long one alone counts.
    With less than 0.1 s in common there is nothing to judge by: the short print fills in as it is.

    Args:
        long, short: (N,) mV on the same time axis; NaN where not printed or not readable.
        long_clarity, short_clarity: (N,) in [0, 1].
        tolerance_mv: see above.

    Returns:
        (N,) float64 mV, and (N,) float32 clarity: the higher of the two where both count, 0 where the signal is NaN.

    Raises:
        InvalidRecordError: the four arrays differ in shape.
    """
    a, b = np.array(long, np.float64), np.array(short, np.float64)
    clear_a, clear_b = np.asarray(long_clarity, np.float64), np.asarray(short_clarity, np.float64)
    if a.ndim != 1 or not a.shape == b.shape == clear_a.shape == clear_b.shape:
        raise InvalidRecordError("long, short and their clarities must be (N,) arrays of one length")
    has_a, has_b = np.isfinite(a), np.isfinite(b)
    clear_a, clear_b = np.where(has_a, clear_a, 0), np.where(has_b, clear_b, 0)
    both = has_a & has_b
    if both.sum() >= MIN_OVERLAP:
        difference = a[both] - b[both]
        b += np.median(difference)
        if np.sqrt(np.mean((a[both] - b[both]) ** 2)) > tolerance_mv:
            return a, clear_a.astype(np.float32)
        weight_a, weight_b = np.maximum(clear_a[both], 1e-3), np.maximum(clear_b[both], 1e-3)
        a[both] = (weight_a * a[both] + weight_b * b[both]) / (weight_a + weight_b)
    merged = np.where(has_a, a, b)
    return merged, np.maximum(clear_a, clear_b).astype(np.float32)
