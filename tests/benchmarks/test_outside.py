"""Networks that answer from memory give the same signals, and notice when they are asked something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.outside import ReplayingBackend, measure_outside
from cardioscan import DigitizerOptions
from cardioscan.backends.inference import Tensors


class Counting:
    """Answers every question with how many there have been."""

    def __init__(self) -> None:
        self.asked = 0

    def infer(self, model: str, inputs: Tensors) -> dict[str, Any]:
        self.asked += 1
        return {"count": np.array([self.asked])}

    def model_versions(self) -> dict[str, tuple[str, str]]:
        return {"counting": ("1", "")}


def test_the_same_questions_get_the_same_answers_from_memory() -> None:
    networks = Counting()
    backend = ReplayingBackend(networks)
    asked = ("label_detector", "label_detector", "grid_rectifier")
    first = [int(backend.infer(model, {})["count"][0]) for model in asked]
    for _ in range(2):
        backend.replay()
        assert [int(backend.infer(model, {})["count"][0]) for model in asked] == first == [1, 2, 3]
    assert networks.asked == 3
    assert backend.model_versions() == {"counting": ("1", "")}


@pytest.mark.parametrize("asked", [("grid_rectifier",), ("label_detector", "label_detector")])
def test_another_question_is_noticed(asked: tuple[str, ...]) -> None:
    backend = ReplayingBackend(Counting())
    backend.infer("label_detector", {})
    backend.replay()
    with pytest.raises(LookupError, match="was not about"):
        for model in asked:
            backend.infer(model, {})


def test_a_file_that_is_no_picture_is_measured_too(tmp_path: Path) -> None:
    path = tmp_path / "page.jpg"
    path.write_bytes(b"nothing")
    row = measure_outside(path, Counting(), DigitizerOptions(), 2)
    assert row["outcome"] == "refused"
    assert row["page"] == "page"
    assert 0 <= row["CPU s"] < 60 and 0 < row["s"] < 60
