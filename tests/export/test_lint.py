"""Graphs that TensorRT would not take: one fault each is found and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

onnx = pytest.importorskip("onnx", reason="the package onnx (extra 'export') is not installed")
pytest.importorskip("onnxscript", reason="the package onnxscript (extra 'export') is not installed")
from onnx import numpy_helper, parser  # noqa: E402

from cardioscan.backends.specs import find_model_file  # noqa: E402
from cardioscan_client.cli import main  # noqa: E402
from cardioscan_export.lint import CONTROL_FLOW, DATA_DEPENDENT, SUPPORTED, lint  # noqa: E402

PAGE = "float[batch, 3, 8, 8] x"
WEIGHTS = {"w": np.ones((3, 3, 3, 3), np.float32), "b": np.ones(3, np.float32)}

CLEAN = {
    "layers": (
        "uint8[batch, 3, 8, 8] page",
        "uint8[batch, 3, 16, 16] y",
        """
        <float[4] scales = {1.0, 1.0, 2.0, 2.0}, float full = {255.0}>
        {
            x = Cast <to = 1> (page)
            c = Conv <pads = [1, 1, 1, 1]> (x, w, b)
            r = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">
                (c, , scales)
            s = Sigmoid (r)
            m = Mul (s, full)
            y = Cast <to = 2> (m)
        }
        """,
    ),
    "batch of a constant map": (
        PAGE,
        "float[batch, 4, 8, 8] y",
        """
        <float[1, 1, 8, 8] map = {MAP}, int64[1] one = {1}, int64[1] eight = {8}>
        {
            batch = Shape <start = 0, end = 1> (x)
            size = Concat <axis = 0> (batch, one, eight, eight)
            maps = Expand (map, size)
            y = Concat <axis = 1> (x, maps)
        }
        """.replace("MAP", ", ".join(["0.5"] * 64)),
    ),
}

# rules, part of a message, input, output and body
FAULTS = {
    "operator": (
        ("operator", "does not take BitwiseNot"),
        "int32[batch, 4] x",
        "int32[batch, 4] y",
        "{ y = BitwiseNot (x) }",
    ),
    "newer than the oldest 10": (("operator", "Mish"), PAGE, "float[batch, 3, 8, 8] y", "{ y = Mish (x) }"),
    "nonzero": (
        ("data-dependent dynamic-axis type", "depends on the picture"),
        "float[batch, 4] x",
        "float[2, found] y",
        "{ n = NonZero (x) y = Cast <to = 1> (n) }",
    ),
    "size from values": (
        ("data-dependent type", "follows from the values 'size'"),
        "float[batch, 4] x, int64[2] size",
        "float[batch, 4] y",
        "{ y = Reshape (x, size) }",
    ),
    "if": (
        ("control-flow", "If"),
        "float[batch, 4] x",
        "float[batch, 4] y",
        """<bool c = {1}> {
            y = If (c) <then_branch = a () => (float[batch, 4] p) { p = Relu (x) },
                        else_branch = b () => (float[batch, 4] q) { q = Abs (x) }>
        }""",
    ),
    "double": (
        ("type", "no DOUBLE"),
        PAGE,
        "double[batch, 3, 8, 8] y",
        "{ y = Cast <to = 11> (x) }",
    ),
    "int64 values": (
        ("type", "INT64 that is no size"),
        "float[batch, 4] x",
        "float[batch, 4] y",
        "{ i = Cast <to = 7> (x) n = Neg (i) y = Cast <to = 1> (n) }",
    ),
    "uint8 moved before its cast": (
        ("type", "UINT8 is taken at the borders only"),
        "uint8[batch, 4, 2] page",
        "float[batch, 2, 4] y",
        "{ t = Transpose <perm = [0, 2, 1]> (page) y = Cast <to = 1> (t) }",
    ),
    "uint8 moved behind its cast": (
        ("type", "UINT8 is taken at the borders only"),
        "float[batch, 4] x",
        "uint8[batch, 2] y",
        "<int64[1] lo = {0}, int64[1] hi = {2}, int64[1] ax = {1}> { i = Cast <to = 2> (x) y = Slice (i, lo, hi, ax) }",
    ),
    "uint8 measured": (
        ("type", "UINT8 is taken at the borders only"),
        "uint8[batch, 4] page",
        "float[batch, 4] y",
        "<float one = {1.0}> { s = Shape (page) x = Cast <to = 1> (page) e = Expand (one, s) y = Mul (x, e) }",
    ),
    "uint8 to a whole number": (
        ("type", "beside a Cast to or from a float type"),
        "uint8[batch, 4] page",
        "float[batch, 4] y",
        "{ i = Cast <to = 6> (page) y = Cast <to = 1> (i) }",
    ),
    "nine axes": (
        ("axes", "9 axes; TensorRT has 8"),
        "float[batch, 1, 1, 1, 1, 1, 1, 1, 4] x",
        "float[batch, 1, 1, 1, 1, 1, 1, 1, 4] y",
        "{ y = Relu (x) }",
    ),
    "open width": (
        ("dynamic-axis", "axis 3 is open"),
        "float[batch, 3, 8, width] x",
        "float[batch, 3, 8, width] y",
        "{ y = Relu (x) }",
    ),
    "cubic": (
        ("attribute", "Resize with mode cubic; taken are nearest, linear"),
        PAGE,
        "float[batch, 3, 16, 16] y",
        '<float[4] s = {1.0, 1.0, 2.0, 2.0}> { y = Resize <mode = "cubic"> (x, , s) }',
    ),
    "coordinates of resize": (
        ("attribute", "coordinate_transformation_mode half_pixel_symmetric"),
        PAGE,
        "float[batch, 3, 16, 16] y",
        """<float[4] s = {1.0, 1.0, 2.0, 2.0}> {
            y = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel_symmetric"> (x, , s)
        }""",
    ),
    "antialias": (
        ("attribute", "antialias 1; taken are 0"),
        PAGE,
        "float[batch, 3, 4, 4] y",
        '<float[4] s = {1.0, 1.0, 0.5, 0.5}> { y = Resize <mode = "linear", antialias = 1> (x, , s) }',
    ),
    "wrapped padding": (
        ("attribute", "Pad with mode wrap; taken are constant, reflect, edge"),
        PAGE,
        "float[batch, 3, 8, 10] y",
        '<int64[8] p = {0, 0, 0, 1, 0, 0, 0, 1}> { y = Pad <mode = "wrap"> (x, p) }',
    ),
    "one axis of pooling": (
        ("pooling", "two or three axes"),
        "float[batch, 3, 8] x",
        "float[batch, 3, 4] y",
        "{ y = MaxPool <kernel_shape = [2], strides = [2]> (x) }",
    ),
    "dilated pooling": (
        ("pooling", "dilations must be 1"),
        PAGE,
        "float[batch, 3, 6, 6] y",
        "{ y = MaxPool <kernel_shape = [2, 2], dilations = [2, 2]> (x) }",
    ),
    "computed weights": (
        ("constant-input", "weights 'v' must be stored"),
        PAGE,
        "float[batch, 3, 6, 6] y",
        "{ v = Abs (w) y = Conv (x, v) }",
    ),
    "training": (
        ("attribute", "BatchNormalization with training_mode 1"),
        PAGE,
        "float[batch, 3, 8, 8] y",
        "{ y, m, v = BatchNormalization <training_mode = 1> (x, b, b, b, b) }",
    ),
    "operator of others": (
        ("domain", "operator Gelu of 'com.microsoft' needs a plugin"),
        PAGE,
        "float[batch, 3, 8, 8] y",
        "{ y = com.microsoft.Gelu (x) }",
    ),
    "contradicting shapes": (
        ("invalid", "not valid ONNX"),
        PAGE,
        "float[batch, 3, 8, 8] y",
        "<int64[2] s = {5, 7}> { y = Reshape (x, s) }",
    ),
}


def graph(inputs: str, outputs: str, body: str, opset: int = 19) -> Any:
    text = f'<ir_version: 9, opset_import: ["": {opset}, "com.microsoft": 1]>\nmade ({inputs}) => ({outputs}) {body}'
    model = parser.parse_model(text)
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(numpy_helper.from_array(v, name) for name, v in WEIGHTS.items() if name in used)
    return model


@pytest.mark.parametrize("name", list(CLEAN))
def test_what_tensorrt_takes_is_clean(name: str) -> None:
    assert lint(graph(*CLEAN[name], opset=18)) == []


@pytest.mark.parametrize("name", list(FAULTS))
def test_each_fault_is_found_and_nothing_else(name: str) -> None:
    (rules, message), *parts = FAULTS[name]
    model = graph(*parts)
    before = model.SerializeToString()
    findings = lint(model)
    assert {finding.rule for finding in findings} == set(rules.split())
    assert any(message in str(finding) for finding in findings), findings
    assert model.SerializeToString() == before


@pytest.mark.parametrize("opset", [8, 20, 22])
def test_opsets_that_not_every_10_reads(opset: int) -> None:
    (finding,) = lint(graph(PAGE, "float[batch, 3, 8, 8] y", "{ y = Relu (x) }", opset))
    assert str(finding) == f"opset: model: opset {opset}, readable are 9 to 19"


def test_the_table_names_operators_of_onnx_once() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    assert known >= SUPPORTED | CONTROL_FLOW | DATA_DEPENDENT
    assert not SUPPORTED & (CONTROL_FLOW | DATA_DEPENDENT)


def test_the_command_tells_what_it_found(tmp_path: Path) -> None:
    onnx.save(graph(*CLEAN["layers"], opset=18), tmp_path / "good.onnx")
    onnx.save(graph(*FAULTS["cubic"][1:]), tmp_path / "bad.onnx")
    good = CliRunner().invoke(main, ["lint-models", str(tmp_path / "good.onnx")])
    assert (good.exit_code, good.output) == (0, f"{tmp_path / 'good.onnx'}: 6 operators, no findings\n")
    both = CliRunner().invoke(main, ["lint-models", str(tmp_path / "good.onnx"), str(tmp_path / "bad.onnx")])
    assert both.exit_code == 1 and "bad.onnx: 1 operators, 1 finding\n  attribute: Resize -> y:" in both.output
    (tmp_path / "bad.onnx").write_bytes(b"no ONNX at all, whatever its name")
    assert CliRunner().invoke(main, ["lint-models", str(tmp_path / "bad.onnx")]).exit_code == 2


def test_a_released_file_itself_is_not_for_tensorrt() -> None:
    """Weights behind a Cast: why repositories for TensorRT are given the folded graph."""
    path = find_model_file("label_detector")
    assert path is not None
    assert {finding.rule for finding in lint(onnx.load(path))} >= {"constant-input"}
