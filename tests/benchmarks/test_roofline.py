"""Operations and bytes of small graphs, counted by hand, and floors that follow from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the package onnx (extra 'export') is not installed")
pytest.importorskip("onnxscript", reason="the package onnxscript (extra 'export') is not installed")
from onnx import numpy_helper, parser  # noqa: E402

from benchmarks.cost import Cost, cost_of  # noqa: E402
from benchmarks.roofline import (  # noqa: E402
    GPUS,
    Machine,
    floor_rows,
    gpu_called,
    machine_rows,
    measured_s,
    this_machine,
)
from cardioscan.backends.specs import NetworkSpec, TensorSpec  # noqa: E402

SHAPES = {
    "w": (8, 3, 3, 3),
    "b": (8,),
    "depth": (3, 1, 5, 5),
    "up": (3, 4, 2, 2),
    "last": (8, 4),
    "bias": (4,),
    "gain": (1,),
}


def graph(inputs: str, outputs: str, body: str) -> Any:
    model = parser.parse_model(f'<ir_version: 9, opset_import: ["": 18]> made ({inputs}) => ({outputs}) {body}')
    used = {name for node in model.graph.node for name in node.input}
    for name in SHAPES.keys() & used:
        model.graph.initializer.append(numpy_helper.from_array(np.ones(SHAPES[name], np.float32), name))
    return model


PAGE = "float[batch, 3, 10, 12] x"
AREA = 10 * 12

# input, output, body; operations, weight bytes, fused and unfused bytes, kernels
COUNTS = {
    "convolution": (
        (PAGE, "float[batch, 8, 10, 12] y", "{ y = Conv <pads = [1, 1, 1, 1]> (x, w, b) }"),
        (2 * 8 * AREA * 27 + 8 * AREA, 4 * (216 + 8), 4 * (224 + 3 * AREA + 8 * AREA), None, 1),
    ),
    "with a stride": (
        (PAGE, "float[batch, 8, 4, 5] y", "{ y = Conv <strides = [2, 2]> (x, w) }"),
        (2 * 8 * 20 * 27, 4 * 216, 4 * (216 + 3 * AREA + 8 * 20), None, 1),
    ),
    "depthwise": (
        (PAGE, "float[batch, 3, 6, 8] y", "{ y = Conv <group = 3> (x, depth) }"),
        (2 * 3 * 48 * 25, 4 * 75, 4 * (75 + 3 * AREA + 3 * 48), None, 1),
    ),
    "transposed": (
        (PAGE, "float[batch, 4, 20, 24] y", "{ y = ConvTranspose <strides = [2, 2]> (x, up) }"),
        (2 * 3 * AREA * 16, 4 * 48, 4 * (48 + 3 * AREA + 4 * 4 * AREA), None, 1),
    ),
    "matrix product with bias": (
        ("float[batch, 8] x", "float[batch, 4] y", "{ y = Gemm (x, last, bias) }"),
        (2 * 8 * 4 + 4, 4 * 36, 4 * (36 + 8 + 4), None, 1),
    ),
    "matrix product over pages": (
        ("float[batch, 6, 8] x", "float[batch, 6, 4] y", "{ y = MatMul (x, last) }"),
        (2 * 6 * 4 * 8, 4 * 32, 4 * (32 + 48 + 24), None, 1),
    ),
    "activation in the convolution's kernel": (
        (PAGE, "float[batch, 8, 10, 12] y", "{ c = Conv <pads = [1, 1, 1, 1]> (x, w) y = Relu (c) }"),
        (2 * 8 * AREA * 27 + 8 * AREA, 864, 864 + 4 * 11 * AREA, 864 + 4 * 27 * AREA, 1),
    ),
    "pooling, mean and softmax": (
        (
            PAGE,
            "float[batch, 3] y",
            """<int64[2] axes = {2, 3}> {
                p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)
                m = ReduceMean <keepdims = 0> (p, axes)
                y = Softmax (m)
            }""",
        ),
        (90 * 4 + 90 + 15, 0, 4 * (360 + 90 + 90 + 3 + 3 + 3), None, 3),
    ),
    "moves are free when fused": (
        (
            PAGE,
            "float[batch, 8, 20, 24] y",
            """<float[4] s = {1.0, 1.0, 2.0, 2.0}> {
                r = Resize <mode = "nearest"> (x, , s)
                y = Conv <pads = [1, 1, 1, 1]> (r, w)
            }""",
        ),
        (2 * 8 * 480 * 27, 864 + 16, 880 + 4 * (360 + 8 * 480), 4 * (360 + 4 + 1440) + 4 * (1440 + 216 + 3840), 1),
    ),
    "bytes in, bytes out": (
        (
            "uint8[batch, 3, 10, 12] page",
            "uint8[batch, 8, 10, 12] y",
            """{
                x = Cast <to = 1> (page)
                n = Mul (x, gain)
                c = Conv <pads = [1, 1, 1, 1]> (n, w)
                s = Sigmoid (c)
                y = Cast <to = 2> (s)
            }""",
        ),
        (360 + 2 * 960 * 27 + 4 * 960, 4 * 217, 4 * 217 + 360 + 960, None, 1),
    ),
    "what two kernels read is written": (
        (
            PAGE,
            "float[batch, 3, 10, 12] y",
            """{
                a = Conv <group = 3, pads = [2, 2, 2, 2]> (x, depth)
                b1 = Relu (a)
                c = Conv <group = 3, pads = [2, 2, 2, 2]> (b1, depth)
                y = Add (c, b1)
            }""",
        ),
        # x and weights in; b1 out and in again once for the second kernel; y out.
        (2 * 2 * 360 * 25 + 2 * 360, 300, 300 + 4 * 4 * 360, None, 2),
    ),
    "a batch of a constant": (
        (
            "float[batch, 2, 2] x",
            "float[batch, 2, 2] y",
            """<float[1, 2, 2] map = {1.0, 2.0, 3.0, 4.0}> {
                size = Shape (x)
                maps = Expand (map, size)
                y = Add (x, maps)
            }""",
        ),
        (4, 16, None, 16 + 16 + 3 * 16, None),
    ),
}


@pytest.mark.parametrize("name", list(COUNTS))
def test_counts_are_those_made_by_hand(name: str) -> None:
    parts, (operations, weights, fused, unfused, kernels) = COUNTS[name]
    cost = cost_of(graph(*parts))
    assert cost.operations == operations == sum(cost.by_operator.values())
    assert cost.weight_bytes == weights
    for found, wanted in ((cost.fused_bytes, fused), (cost.unfused_bytes, unfused), (cost.kernels, kernels)):
        assert wanted is None or found == wanted
    assert cost.fused_bytes <= cost.unfused_bytes or cost.kernels == 0


def test_a_batch_costs_its_pictures_and_the_weights_once() -> None:
    model = graph(*COUNTS["convolution"][0])
    one, four = cost_of(model), cost_of(model, batch=4)
    assert isinstance(one, Cost) and four.operations == 4 * one.operations
    assert four.fused_bytes - four.weight_bytes == 4 * (one.fused_bytes - one.weight_bytes)


def test_an_operator_that_is_not_counted_is_named() -> None:
    with pytest.raises(ValueError, match="operations of Einsum are not counted yet"):
        cost_of(graph("float[batch, 4] x", "float[batch] y", '{ y = Einsum <equation = "bi->b"> (x) }'))


# 1 GFLOP/s and 1 kB/s in float32; no float16
SLOW = Machine("slow", {"float32": 1e9}, 1e3, "made up")


def cost(operations: float, fused_bytes: float) -> Cost:
    return Cost(int(operations), {}, 0, int(fused_bytes), 2 * int(fused_bytes), 1)


@pytest.mark.parametrize(
    ("operations", "read", "precision", "floor", "bound"),
    [
        (2e9, 1e3, "float32", 2.0, "arithmetic"),
        (1e9, 3e3, "float32", 3.0, "memory"),
        (1e9, 3e3, "float16", None, ""),
    ],
)
def test_the_floor_is_the_longer_time(
    operations: float, read: float, precision: str, floor: float | None, bound: str
) -> None:
    assert SLOW.floor_s(cost(operations, read), precision) == floor
    assert SLOW.bound(cost(operations, read), precision) == bound


def test_a_page_is_the_sum_of_its_networks() -> None:
    costs = {(name, kind): cost(2e9, 1e3) for kind in ("float32", "float16") for name in ("one", "two")}
    rows = floor_rows(costs, (*GPUS, SLOW))
    assert [(row["network"], row["precision"], row["slow"]) for row in rows] == [
        ("one", "float32", 2000.0),
        ("two", "float32", 2000.0),
        ("a page, each once", "float32", 4000.0),
        ("one", "float16", None),
        ("two", "float16", None),
        ("a page, each once", "float16", None),
    ]
    assert rows[2]["GFLOP"] == 4.0 and rows[2]["fused MB"] == 2e-3
    assert len({tuple(row) for row in rows}) == 1, "one table"


@pytest.mark.parametrize(
    ("name", "gpu"),
    [
        ("Tesla T4", "T4"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", None),
        ("NVIDIA A10", "A10"),
        ("NVIDIA A10G", None),
        ("NVIDIA A100-SXM4-80GB", None),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", None),
    ],
)
def test_gpus_are_known_by_the_drivers_name(name: str, gpu: str | None) -> None:
    found = gpu_called(name)
    assert (found.name if found else None) == gpu


def test_this_machine_is_measured_and_stands_beside_the_gpus() -> None:
    here = this_machine(repeats=1, side=256, copied=1 << 20)
    assert here.rates["float32"] > 0 and here.bandwidth > 0 and here.cpu_rate is not None and here.cpu_rate > 0
    rows = machine_rows((*GPUS, here))
    assert [row["machine"] for row in rows[:4]] == ["T4", "L4", "A10", "H100"]
    assert all(row["source"] and row["balance FLOP/byte"] > 0 for row in rows)
    assert rows[4]["float16 TFLOP/s"] is None and rows[0]["float16 TFLOP/s"] == pytest.approx(65)


def test_a_network_is_measured_with_tensors_bound(tmp_path: Path) -> None:
    onnx.save(graph(*COUNTS["bytes in, bytes out"][0]), tmp_path / "small.onnx")
    spec = NetworkSpec(
        "small", "", (TensorSpec("page", "uint8", (3, 10, 12)),), (TensorSpec("y", "uint8", (8, 10, 12)),), 1
    )
    wall, processor = measured_s(tmp_path / "small.onnx", spec, ["CPUExecutionProvider"], repeats=2)
    assert 0 < wall < 60 and 0 < processor < 60
