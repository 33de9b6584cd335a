"""Signals for the tests of postprocessing."""

from __future__ import annotations

import numpy as np

from cardioscan.evaluate.evaluation import only_printed
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.postprocess.smoothing import savitzky_golay
from cardioscan.synthesis.leads import twelve_leads


def printed(signals: np.ndarray) -> np.ndarray:
    """What the reference page shows of a record."""
    return only_printed(signals, REFERENCE_PAGE.layout)


def simulated(rng: np.random.Generator) -> np.ndarray:
    """(12, 5000) smooth noise that obeys the laws of the leads."""
    white = rng.normal(size=(8, 5000))
    return twelve_leads(savitzky_golay(white, 31, 2)).astype(np.float64)
