from __future__ import annotations

import numpy as np
import pytest

from benchmarks.sources import CODES, confusion_rows, summary
from cardioscan.synthesis.recipes import RECIPES


def sure_of(code: str, certainty: float = 0.9) -> np.ndarray:
    """(12,) probabilities with ``certainty`` on one category and the rest spread evenly."""
    probability = np.full(len(CODES), (1 - certainty) / (len(CODES) - 1))
    probability[CODES.index(code)] = certainty
    return probability


def test_a_row_counts_the_likeliest_categories_and_who_is_told() -> None:
    told = {"photographs": [sure_of("0005"), sure_of("0005", 0.4), sure_of("0009")]}
    (row,) = confusion_rows(told)
    assert row["pages"] == 3 and row["0005"] == 2 and row["0009"] == 1 and row["0001"] == 0
    assert row["told"] == pytest.approx(2 / 3)
    assert "0002" not in row  # never published


def test_the_summary_of_a_classifier_that_confuses_two_kinds() -> None:
    told = {name: [sure_of(recipe.category)] * 2 for name, recipe in RECIPES.items()}
    assert summary(told)["accuracy"] == 1.0
    assert summary(told)["cross-entropy"] == pytest.approx(-np.log(0.9))
    told["bw_scan"] = [sure_of("0003", 0.4), sure_of("0004")]
    mixed = summary(told)
    assert mixed["accuracy"] == pytest.approx(17 / 18)
    assert mixed["told"] == pytest.approx(17 / 18) and mixed["accuracy of those told"] == 1.0
