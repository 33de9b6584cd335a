from __future__ import annotations

import numpy as np

from cardioscan.postprocess.runs import finite_runs


def test_finite_runs() -> None:
    assert list(finite_runs(np.array([np.nan, 1, 2, np.nan, np.inf, 3]))) == [(1, 3), (5, 6)]
    assert list(finite_runs(np.full(3, np.nan))) == [] and list(finite_runs(np.zeros(2))) == [(0, 2)]
