"""Records for the tests of the formats."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cardioscan.page.leads import LEAD_INDEX, SAMPLING_RATE_HZ
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.record import Calibration, EcgRecord, ModelUse, Reason


@pytest.fixture(scope="session")
def make_record() -> Callable[..., EcgRecord]:
    """``make(signals, **fields)``: a digitized record with confidence 0.75 where there is a sample."""

    def make(signals: np.ndarray, **fields: object) -> EcgRecord:
        confidence = np.where(np.isnan(signals), 0, 0.75).astype(np.float32)
        return EcgRecord(**{"name": "page", "signals": signals, "confidence": confidence, **fields})

    return make


@pytest.fixture(scope="session")
def page_signals() -> np.ndarray:
    """A standard page: 2.5 s a lead, II whole, aVF not read, a gap in I, extreme and tiny values of both signs."""
    rng = np.random.default_rng(7)
    signals = np.full((12, 5000), np.nan)
    for segment in REFERENCE_PAGE.segments:
        start = round(segment.cell.t_start * SAMPLING_RATE_HZ)
        length = 5000 if segment.row == 3 else 1250
        signals[LEAD_INDEX[segment.lead], start : start + length] = rng.normal(0, 1.5, length)
    signals[LEAD_INDEX["aVF"]] = np.nan
    signals[LEAD_INDEX["I"], 100:110] = np.nan
    signals[LEAD_INDEX["II"], :6] = [32.767, -32.767, 0.0, -0.0, -0.00004, 0.00004]
    return signals


@pytest.fixture(scope="session")
def page_record(make_record, page_signals) -> EcgRecord:
    """``page_signals`` with everything that a record can carry, named like a file that names its patient."""
    return make_record(
        page_signals,
        name="Jane_Doe_1950",
        source="Jane_Doe_1950.jpg",
        source_category="0005",
        layout=REFERENCE_PAGE.layout,
        calibration=Calibration(500, 78.74, 196.85, 25, 10),
        models=(ModelUse("label_detector", "1", "a" * 64), ModelUse("grid_rectifier", "2", "")),
        timings_s={"align": 0.25},
        heart_rate_bpm=71.5,
        diagnostics={"score": float("nan")},
    )


@pytest.fixture(scope="session")
def refused_record() -> EcgRecord:
    return EcgRecord.refused(
        "blank", [Reason("no_labels_found", "The picture shows no lead names.")], source="blank.jpg"
    )
