"""Graphs for GPUs: the released networks give the same answer folded, and nearly the same in float16."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the package onnx (extra 'export') is not installed")
pytest.importorskip("onnxscript", reason="the package onnxscript (extra 'export') is not installed")
import onnxruntime  # noqa: E402
from onnx import TensorProto, numpy_helper, parser  # noqa: E402

from cardioscan.backends.specs import SPECS, TensorSpec, find_model_file  # noqa: E402
from cardioscan.errors import ModelError  # noqa: E402
from cardioscan_export.float16 import to_float16  # noqa: E402
from cardioscan_export.folding import fold, value_types  # noqa: E402
from cardioscan_export.lint import lint  # noqa: E402
from cardioscan_export.variants import make_variant  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]

# Picture, normalisation, padding, two layers with a mean over the map between them, and a float32 end.
SMALL = """
<ir_version: 10, opset_import: ["" : 18]>
small (uint8[batch, 3, 8, 8] page) => (float[batch, 4] answer, float[batch, 4, 8, 8] map)
<float[1] scale = {0.0039}, int64[2] axes = {2, 3}, float[4] nominal = {20.03, 30.07, 40.11, 50.13}>
{
    pixels = Cast <to = 1> (page)
    bright = Mul (pixels, scale)
    layer = Conv <pads = [1, 1, 1, 1]> (bright, w, b)
    act = Relu (layer)
    map = Identity (act)
    mean = ReduceMean <keepdims = 0> (act, axes)
    out = MatMul (mean, v)
    answer = Add (out, nominal)
}
"""


def small(scale: float = 1.0) -> Any:
    model = parser.parse_model(SMALL)
    rng = np.random.default_rng(4)
    for name, shape in {"w": (4, 3, 3, 3), "b": (4,), "v": (4, 4)}.items():
        values = rng.normal(0, scale, shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    return model


def run(model: Any, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def model_file(name: str) -> Path:
    path = find_model_file(name)
    assert path is not None
    return path


def test_the_layers_are_float16_and_the_rest_is_not() -> None:
    graph = to_float16(small()).graph
    types = value_types(graph)
    kinds = {node.op_type: types[node.output[0]] for node in graph.node if node.op_type != "Cast"}
    half, single = TensorProto.FLOAT16, TensorProto.FLOAT
    assert kinds == {"Mul": single, "Conv": half, "Relu": half, "ReduceMean": single, "MatMul": half, "Add": single}
    assert {item.name: item.data_type for item in graph.initializer if "nominal" in item.name} == {"nominal": single}
    assert [types[value.name] for value in (*graph.input, *graph.output)] == [TensorProto.UINT8, single, single]


def test_a_small_graph_gives_nearly_the_same_answer() -> None:
    page = np.random.default_rng(1).integers(0, 256, (2, 3, 8, 8), dtype=np.uint8)
    exact, folded, half = (run(model, {"page": page}) for model in (small(), fold(small()), to_float16(small())))
    for name, value in exact.items():
        assert half[name].dtype == value.dtype == np.float32
        np.testing.assert_allclose(folded[name], value, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(half[name], value, rtol=5e-3, atol=5e-3)


def test_a_weight_that_does_not_fit_is_named() -> None:
    with pytest.raises(ModelError, match="'w' reaches .* does not fit float16"):
        to_float16(small(scale=1e5))


def test_what_is_no_valid_graph_is_a_model_error(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not an ONNX file, but long enough")
    with pytest.raises(ModelError, match=r"model\.onnx cannot be read as ONNX"):
        make_variant(tmp_path / "model.onnx", "float16")
    model = small()
    del model.graph.initializer[-1]
    with pytest.raises(ModelError, match="not valid ONNX"):
        fold(model)


def test_other_precisions_and_other_tensors_are_refused(tmp_path: Path) -> None:
    onnx.save(small(), tmp_path / "model.onnx")
    with pytest.raises(ModelError, match="unknown precision 'bfloat16'; known are float32, float16"):
        make_variant(tmp_path / "model.onnx", "bfloat16")
    with pytest.raises(ModelError, match="the graph of label_detector has the tensors"):
        make_variant(tmp_path / "model.onnx", "float16", SPECS["label_detector"])


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("name", list(SPECS))
def test_variants_keep_the_tensors_of_the_specs_and_are_clean(
    variant_file: Callable[[str, str], Path], name: str, precision: str
) -> None:
    model, spec = onnx.load(variant_file(name, precision)), SPECS[name]
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    for values, tensors in ((model.graph.input, spec.inputs), (model.graph.output, spec.outputs)):
        assert [value.name for value in values] == [tensor.name for tensor in tensors]
        assert all(value.type.tensor_type.shape.dim[0].dim_param == "batch" for value in values)
    weights = {item.data_type for item in model.graph.initializer if len(item.dims) > 1}
    assert weights - {TensorProto.FLOAT} == ({TensorProto.FLOAT16} if precision == "float16" else set())
    types = value_types(model.graph)
    layers = {types[node.output[0]] for node in model.graph.node if node.op_type in ("Conv", "Gemm")}
    assert layers == {TensorProto.FLOAT16 if precision == "float16" else TensorProto.FLOAT}
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert all(node.name for node in model.graph.node)
    assert lint(model) == []


def picture(tensor: TensorSpec) -> np.ndarray:
    """Smooth noise on white, which has edges at all scales."""
    rng = np.random.default_rng(8)
    coarse = rng.integers(60, 256, (1, tensor.shape[0], 12, 12), dtype=np.uint8)
    rows = np.linspace(0, 11.99, tensor.shape[1]).astype(int)
    columns = np.linspace(0, 11.99, tensor.shape[2]).astype(int)
    return np.ascontiguousarray(coarse[:, :, rows][:, :, :, columns])


@pytest.mark.parametrize("name", ["source_classifier", "grid_rectifier"])
def test_released_networks_answer_alike(variant_file: Callable[[str, str], Path], name: str) -> None:
    """ONNX Runtime on a CPU widens float16: this sees wrong graphs; how much is lost, benchmarks/precision.py says."""
    inputs = {SPECS[name].inputs[0].name: picture(SPECS[name].inputs[0])}
    exact = run(onnx.load(model_file(name)), inputs)
    for precision, tolerance in (("float32", 1e-4), ("float16", 0.05)):
        found = run(onnx.load(variant_file(name, precision)), inputs)
        for tensor, value in exact.items():
            assert found[tensor].dtype == value.dtype and found[tensor].shape == value.shape
            difference = np.abs(found[tensor].astype(np.float64) - value).max()
            assert difference <= (2 if value.dtype == np.uint8 else tolerance), (tensor, precision)


def test_the_same_file_gives_the_same_bytes_in_another_process(
    variant_file: Callable[[str, str], Path], tmp_path: Path
) -> None:
    source, here = model_file("label_detector"), variant_file("label_detector", "float16")
    code = (
        "import sys; from cardioscan_export.variants import write_variant\n"
        f"write_variant({str(source)!r}, {str(tmp_path / 'there.onnx')!r}, 'float16')\n"
        "assert 'torch' not in sys.modules"
    )
    paths = f"{ROOT}:{ROOT / 'export'}"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": paths, "PYTHONHASHSEED": "17"})
    assert here.read_bytes() == (tmp_path / "there.onnx").read_bytes()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["there.onnx"]
