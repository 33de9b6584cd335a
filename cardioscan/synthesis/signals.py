"""Where the signals on rendered pages come from."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cardioscan.errors import SignalSourceError
from cardioscan.page import RECORD_SAMPLES


class SignalSource(Protocol):
    """A collection of 12-lead records, 10 s at 500 Hz."""

    def __len__(self) -> int:
        """Number of records."""
        ...

    def record(self, index: int) -> NDArray[np.float32]:
        """Record ``index``: (12, 5000) float32, mV, leads in the order of ``cardioscan.page.LEADS``."""
        ...


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


class PtbXlArchive:
    """Real records from an ``.npz`` archive of first differences (``diff_uv``: records x 8 leads x 5000, int16, µV).

    Leads are I, II, V1..V6; ``cumsum`` along time gives µV. Raises ``SignalSourceError`` when the file is missing or
    has another layout.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        if not path.is_file():
            raise SignalSourceError(f"no signal archive at {path}; give the path of an .npz with the array 'diff_uv'")
        with np.load(path) as archive:
            if "diff_uv" not in archive:
                raise SignalSourceError(f"{path} holds no array 'diff_uv'")
            self._diff = archive["diff_uv"]
        if self._diff.ndim != 3 or self._diff.shape[1:] != (8, RECORD_SAMPLES):
            raise SignalSourceError(f"{path}: 'diff_uv' must be (records, 8, {RECORD_SAMPLES}), not {self._diff.shape}")

    def __len__(self) -> int:
        return int(self._diff.shape[0])

    def record(self, index: int) -> NDArray[np.float32]:
        microvolts = np.cumsum(self._diff[index], axis=-1, dtype=np.int32)
        return twelve_leads(microvolts / 1000.0)
