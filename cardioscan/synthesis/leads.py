"""The laws of Einthoven and Goldberger: twelve leads from the eight that are independent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def twelve_leads(eight: NDArray[np.floating]) -> NDArray[np.float32]:
    """The twelve standard leads from I, II, V1..V6.

    Args:
        eight: (8, N), mV. III, aVR, aVL and aVF follow from I and II (Einthoven, Goldberger).

    Returns:
        (12, N) float32, mV, in the order of ``LEADS``.
    """
    i, ii = eight[0], eight[1]
    limb = np.stack([i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2])
    return np.concatenate([limb, eight[2:]]).astype(np.float32)
