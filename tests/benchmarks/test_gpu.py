"""The GPU benchmark, on the CPU: what it would say of a card depends on the same code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from benchmarks import gpu  # noqa: E402

CPU = torch.device("cpu")
ROW = gpu.Row("label_detector", "eager", 1, 10.0, 100.0, 5.0, 0.5, 0.0, True, 16.0)


@pytest.mark.parametrize(
    ("gflop", "megabytes", "expected"),
    [(100.0, 1.0, 0.1), (1.0, 500.0, 0.5), (0.0, 0.0, 0.0)],
)
def test_the_floor_is_the_longer_of_two_times(gflop: float, megabytes: float, expected: float) -> None:
    assert gpu.Ceiling(operations=1e12, bandwidth=1e9).floor_s(gflop, megabytes) == pytest.approx(expected)


def test_a_device_is_measured() -> None:
    ceiling = gpu.ceiling_of(CPU, side=128, copied=2**20)
    assert ceiling.operations > 1e8 and ceiling.bandwidth > 1e8


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([0.0, 1.0, 2.0, 4.0], 0.0),
        ([0.4, 1.4, 2.4, 4.4], 0.1),
        ([float("nan"), 1.0, 2.0, 4.0], float("inf")),
    ],
)
def test_differences_are_shares_of_the_range(found: list[float], expected: float) -> None:
    wanted = (torch.tensor([0.0, 1.0, 2.0, 4.0]), torch.zeros(3))
    assert gpu.difference((torch.tensor(found), torch.zeros(3)), wanted) == pytest.approx(expected, rel=1e-5)


def test_the_fastest_wrong_engine_is_not_the_best() -> None:
    rows = [ROW, replace(ROW, engine="compiled", ms=1.0, right=False), replace(ROW, batch=4, ms=8.0)]
    assert gpu.best_of(rows) == [rows[2]]
    assert "WRONG" in gpu.shown(rows[1]) and "WRONG" not in gpu.shown(rows[0])


@pytest.mark.parametrize(
    ("floor_ms", "share", "device", "expected"),
    [(0.4, 0.5, "cuda", 0.8), (0.4, 0.5, "cpu", None), (None, 0.5, "cuda", None), (0.4, None, "cuda", None)],
)
def test_only_a_gpu_says_what_another_would_take(
    floor_ms: float | None, share: float | None, device: str, expected: float | None
) -> None:
    assert gpu.projected_ms(floor_ms, share, torch.device(device)) == expected


def test_an_engine_of_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match="eager, compiled"):
        gpu.engine_of(torch.nn.Identity(), torch.zeros(1), "tensorrt")


def test_a_network_is_measured_against_costs_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    costs = tmp_path / "roofline.json"
    row = {"network": "source_classifier", "precision": "float32", "GFLOP": 1.5, "fused MB": 150.0, "T4": 0.4}
    page = {**row, "network": "a page, each once"}
    costs.write_text(json.dumps({"rows": [row, {**row, "precision": "float16", "GFLOP": 99.0}, page]}))
    assert set(gpu.costs_from(costs, "float32")) == {"source_classifier"}
    out = tmp_path / "gpu.json"
    call = ["--costs", str(costs), "--networks", "source_classifier", "--engines", "eager", "--batches", "1,2"]
    assert gpu.main([*call, "--device", "cpu", "--json", str(out)]) == 0
    content = json.loads(out.read_text())
    assert [entry["batch"] for entry in content["rows"]] == [1, 2]
    for entry in content["rows"]:
        assert entry["right"] and entry["differs"] < 1e-3
        floor = max(1.5e9 / content["ceiling"]["operations"], 150e6 / content["ceiling"]["bandwidth"])
        assert entry["floor_ms"] == pytest.approx(1000 * floor)
        assert entry["t4_ms_projected"] is None
    assert "Fastest right answers" in capsys.readouterr().out
