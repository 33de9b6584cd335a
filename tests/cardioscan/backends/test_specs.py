"""Specs, the released files and their hashes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cardioscan.backends.inference import InferenceBackend, OnnxBackend, check_tensors
from cardioscan.backends.specs import SPECS, check_model_file, file_sha256, find_model_file, repository_candidates
from cardioscan.errors import ModelError


@pytest.mark.parametrize("name", list(SPECS))
def test_released_file_is_there_and_intact(name: str) -> None:
    path = find_model_file(name)
    assert path is not None and path.stat().st_size < 100_000_000
    assert check_model_file(name, path) == SPECS[name].sha256 == file_sha256(path)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / SPECS["label_detector"].file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a download")
    backend = OnnxBackend(tmp_path)
    page = np.zeros((1, *SPECS["label_detector"].inputs[0].shape), np.uint8)
    with pytest.raises(ModelError, match="SHA-256"):
        backend.infer("label_detector", {"page": page})
    with pytest.raises(ModelError, match="(ONNX Runtime|OpenVINO) cannot open"):
        OnnxBackend(tmp_path, verify=False).infer("label_detector", {"page": page})


def test_a_missing_repository_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARDIOSCAN_MODELS", str(tmp_path))
    assert repository_candidates() == [tmp_path]
    with pytest.raises(ModelError, match="CARDIOSCAN_MODELS"):
        find_model_file("grid_rectifier")
    assert find_model_file("grid_rectifier", missing_ok=True) is None


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        ("beat_detector", {}, "unknown model"),
        ("label_detector", {}, "'page' is missing"),
        ("label_detector", {"page": np.zeros((1, 3, 10, 10), np.uint8)}, "must be uint8"),
        ("label_detector", {"page": np.zeros((1, 3, 1152, 1440), np.float32)}, "must be uint8"),
    ],
)
def test_wrong_inputs_are_named(model: str, inputs: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        check_tensors(model, inputs)


def test_onnx_backend_is_an_inference_backend() -> None:
    assert isinstance(OnnxBackend(), InferenceBackend)
