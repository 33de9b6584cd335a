"""Names for the kinds of arrays that run through the core."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FloatMap = NDArray[np.float32]
"""A plane of measurements, (h, w) unless said otherwise; float32 halves the memory that has to be moved."""
Points = NDArray[np.floating[Any]]
"""Anything (..., 2) or (rows, columns, d) that only has to be real."""
Image = NDArray[np.uint8]
"""Pixels, (H, W, 3) RGB or (H, W) unless said otherwise."""
Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]
