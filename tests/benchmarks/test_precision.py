"""What stands in for float16 arithmetic rounds as float16 does, and differences are told in the right units."""

from __future__ import annotations

from typing import Any

import click
import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the package onnx (extra 'export') is not installed")
pytest.importorskip("onnxscript", reason="the package onnxscript (extra 'export') is not installed")
import onnxruntime  # noqa: E402
from onnx import TensorProto, numpy_helper, parser  # noqa: E402

from benchmarks.accuracy import Page  # noqa: E402
from benchmarks.half import rounded  # noqa: E402
from benchmarks.precision import UNITS, ComparingBackend, Distance, page_row, pages_of  # noqa: E402
from cardioscan.backends.inference import Tensors  # noqa: E402
from cardioscan.backends.specs import SPECS  # noqa: E402
from cardioscan.evaluate.evaluation import only_printed  # noqa: E402
from cardioscan.page.catalogue import find_layout  # noqa: E402
from cardioscan.synthesis.simulator import SimulatedSignals  # noqa: E402
from cardioscan_export.float16 import to_float16  # noqa: E402

SMALL = """
<ir_version: 9, opset_import: ["" : 18]>
small (float[batch, 4] x) => (float[batch, 4] y)
{
    a = MatMul (x, w)
    b = Relu (a)
    c = Mul (b, b)
    d = MatMul (c, w)
    e = Relu (d)
    y = Add (e, e)
}
"""


def small() -> Any:
    model = parser.parse_model(SMALL)
    weights = np.random.default_rng(3).normal(0, 1, (4, 4)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    return model


def run(model: Any, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def narrow(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float16).astype(np.float32)


def test_every_float16_value_is_rounded_and_nothing_else_is() -> None:
    x = np.random.default_rng(0).normal(0, 1, (64, 4)).astype(np.float32)
    model = small()
    w = narrow(numpy_helper.to_array(model.graph.initializer[0]))
    b = np.maximum(narrow(narrow(x) @ w), 0)
    expected = 2 * np.maximum(narrow(narrow(b * b) @ w), 0)
    half = to_float16(model)
    graph = rounded(half).graph
    assert {item.data_type for item in graph.initializer} == {TensorProto.FLOAT}
    found = run(rounded(half), x)
    # Sums are made in another order, so that a few values round the other way.
    assert (found == expected).mean() > 0.9
    np.testing.assert_allclose(found, expected, rtol=2e-3)
    assert np.abs(found - run(model, x)).max() > 1e-4, "float16 is seen"


class Answers:
    """A backend that always gives this array."""

    def __init__(self, *values: float) -> None:
        self.values = np.array([values], np.float32)

    def infer(self, model: str, inputs: Tensors) -> dict[str, np.ndarray]:
        return {"point_offset": self.values}

    def model_versions(self) -> dict[str, tuple[str, str]]:
        return {"grid_rectifier": ("1", "")}


def test_distances_of_all_calls_are_put_together() -> None:
    comparing = ComparingBackend(Answers(1.0, 2.0), Answers(1.0, 2.5))
    for _ in range(3):
        assert comparing.infer("grid_rectifier", {})["point_offset"].tolist() == [[1.0, 2.0]]
    (row,) = comparing.rows()
    assert (row["unit"], row["calls"], row["largest"], row["mean"], row["differing %"]) == ("px", 3, "0.5", "0.25", 50)
    assert comparing.model_versions() == {"grid_rectifier": ("1", "")}
    distance = Distance()
    distance.add(np.array([0, 255], np.uint8), np.array([255, 255], np.uint8))
    assert distance.largest == 255, "bytes do not wrap"


def test_every_tensor_has_a_unit() -> None:
    assert {tensor.name for spec in SPECS.values() for tensor in spec.outputs} == UNITS.keys()


def test_a_page_is_compared_in_decibels_and_microvolts() -> None:
    truth = only_printed(np.asarray(SimulatedSignals(2, seed=5).record(0), np.float64), find_layout("3x4+1"))
    noisy = truth + np.random.default_rng(0).normal(0, 0.02, truth.shape)
    less = noisy.copy()
    less[0, :100] = np.nan
    row = page_row(Page("clean-000", np.zeros((1, 1, 3), np.uint8), truth), noisy, less + 0.001)
    assert row["difference dB"] == pytest.approx(row["float16 dB"] - row["float32 dB"], abs=1e-3)
    assert row["samples differ µV, mean"] == pytest.approx(1) and row["largest µV"] == pytest.approx(1)
    assert row["read by one only"] == int(np.isfinite(truth[0, :100]).sum()) > 0
    refused = page_row(Page("x", np.zeros((1, 1, 3), np.uint8), truth), noisy, np.full_like(noisy, np.nan))
    assert refused["float16 dB"] is None and refused["largest µV"] is None and refused["difference dB"] is None


def test_an_unknown_set_is_named(tmp_path: Any) -> None:
    with pytest.raises(click.UsageError, match="no set 'oil_painting'; known are photos, clean"):
        next(pages_of("oil_painting", 1, tmp_path))
