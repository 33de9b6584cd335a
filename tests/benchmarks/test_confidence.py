"""The logistic model of the confidence: fitted, and set against what was good."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.confidence import calibration_table, fit_logistic
from cardioscan.postprocess.confidence import FEATURES


def test_fitting_recovers_a_known_model() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(0, 1, (4000, len(FEATURES)))
    weights = np.linspace(-1.5, 1.5, len(FEATURES))
    good = rng.random(4000) < 1 / (1 + np.exp(-(features @ weights + 0.5)))
    model = fit_logistic(features, good, ridge=0.1)
    # Features are clipped at three deviations, which pulls a little.
    assert np.abs(np.array(model.weights) / np.array(model.scale) - weights).max() < 0.2
    chance = model(features)
    for row in calibration_table(chance, good, (0, 0.25, 0.5, 0.75, 0.9, 1)):
        assert row["good"] == pytest.approx(row["confidence"], abs=0.07)
