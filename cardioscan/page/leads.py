"""The twelve leads, and the time axis of every record."""

from __future__ import annotations

from typing import Final

LEADS: Final = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The twelve leads in the order of every array, table and file that CardioScan writes."""

LEAD_INDEX: Final = {name: index for index, name in enumerate(LEADS)}
SAMPLING_RATE_HZ: Final = 500
RECORD_SECONDS: Final = 10.0
RECORD_SAMPLES: Final = 5000
