"""Light smoothing of signals."""

from __future__ import annotations

import numpy as np
import scipy  # which imports scipy.signal, in 0.3 s, when it is first used: at the end of a page

from cardioscan.arrays import Floats, Points
from cardioscan.postprocess.runs import finite_runs


def savitzky_golay(signals: Points, window: int = 5, order: int = 3) -> Floats:
    """Light smoothing by local polynomials, each run of finite samples for itself.

    The method is that of Savitzky and Golay, Analytical Chemistry 1964.

    Args:
        signals: (..., N) mV; NaN stays NaN and spoils no neighbour.
        window: length in samples, odd. A run shorter than this is smoothed with the longest odd window that fits, and
            left as it is where none longer than ``order`` does.
        order: degree of the polynomial; polynomials up to this degree pass unchanged.

    Returns:
        (..., N) float64, a new array.

    Raises:
        ValueError: ``window`` is even or not longer than ``order``, or ``order`` is negative.
    """
    if window % 2 == 0 or window <= order or order < 0:
        raise ValueError(f"window must be odd and longer than order >= 0, not window {window}, order {order}")
    smoothed = np.array(signals, np.float64)
    for row in smoothed.reshape(-1, smoothed.shape[-1]):
        for start, stop in finite_runs(row):
            length = min(window, (stop - start - 1) // 2 * 2 + 1)
            if length > order:
                row[start:stop] = scipy.signal.savgol_filter(row[start:stop], length, order, mode="interp")
    return smoothed
