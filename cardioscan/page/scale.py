"""Paper speed and gain, and how they are known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from cardioscan.errors import InvalidRecordError
from cardioscan.page.leads import SAMPLING_RATE_HZ
from cardioscan.page.sheet import PX_PER_MM


class Source(str, Enum):
    """How something about a page is known."""

    MEASURED = "measured"
    """On the page: from the calibration pulse."""
    READ = "read"
    """From printed text, like "25 mm/s"."""
    GIVEN = "given"
    """By the caller."""
    ASSUMED = "assumed"
    """What is usual, since the page does not show it."""


@dataclass(frozen=True)
class Scale:
    """The scale of a page.

    Attributes:
        speed_mm_per_s, gain_mm_per_mv: paper speed and gain.
        speed_source, gain_source: how each is known.

    Raises:
        InvalidRecordError: speed or gain is not a positive finite number.
    """

    speed_mm_per_s: float
    gain_mm_per_mv: float
    speed_source: Source = Source.ASSUMED
    gain_source: Source = Source.ASSUMED

    def __post_init__(self) -> None:
        """Check speed and gain."""
        for name in ("speed_mm_per_s", "gain_mm_per_mv"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InvalidRecordError(f"scale: {name} must be positive, not {value!r}")

    @property
    def px_per_mv(self) -> float:
        """Pixels of the reference frame per millivolt (78.74 at 10 mm/mV)."""
        return PX_PER_MM * self.gain_mm_per_mv

    @property
    def px_per_s(self) -> float:
        """Pixels of the reference frame per second (196.85 at 25 mm/s)."""
        return PX_PER_MM * self.speed_mm_per_s

    @property
    def px_per_sample(self) -> float:
        """Pixels of the reference frame per sample at 500 Hz (0.394 at 25 mm/s)."""
        return self.px_per_s / SAMPLING_RATE_HZ
