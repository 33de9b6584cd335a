"""What in an ONNX graph would keep TensorRT 10 from building an engine of it that has one open axis, the batch.

Sources: the support matrix of onnx-tensorrt (https://github.com/onnx/onnx-tensorrt/blob/main/docs/operators.md) as it
stood for TensorRT 9.2 and for 10.15. An operator is taken to be supported where both name it, hence in the pinned
version between (``repository.TENSORRT_VERSION``). The checks read the graph; TensorRT itself needs a GPU and has the
last word.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import onnx
from onnx import TensorProto, helper, numpy_helper

from cardioscan.errors import ModelError
from cardioscan_export.folding import infer_shapes, used_by, value_types

OPSETS: Final = range(9, 20)
"""Opsets that TensorRT 9.2 and all later ones read."""

SUPPORTED: Final = frozenset(
    """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast CastLike Ceil Celu
    Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout
    Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gemm GlobalAveragePool
    GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Hardmax
    Identity InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
    LpNormalization LpPool MatMul Max MaxPool Mean MeanVarianceNormalization Min Mod Mul Neg Not OneHot Or PRelu Pad Pow
    QuantizeLinear RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
    ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence RoiAlign Round ScatterElements ScatterND
    Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum
    Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor
    """.split()
)
"""Operators that every TensorRT from 9.2 to 10.15 takes, without those that the rules below refuse by themselves."""

CONTROL_FLOW: Final = frozenset({"If", "Loop", "Scan", "SequenceMap"})
DATA_DEPENDENT: Final = frozenset({"Compress", "NonMaxSuppression", "NonZero", "Unique"})
"""Operators whose output has a size that is known only once the values are."""
TYPES: Final = frozenset(
    {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT32}
    | {TensorProto.INT64, TensorProto.BOOL}
)
"""Types inside a strongly typed network without quantization. TensorRT turns DOUBLE into FLOAT and clamps it."""

_SIZE_INPUTS: Final = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Unsqueeze": (1,),
}
"""Inputs that decide the size of the output."""
_CONSTANT_INPUTS: Final = {
    "Conv": {1: "weights", 2: "bias"},
    "ConvTranspose": {1: "weights", 2: "bias"},
    "Gemm": {1: "weights", 2: "bias"},
    "BatchNormalization": {1: "scale", 2: "bias", 3: "mean", 4: "variance"},
    "CumSum": {1: "axis"},
    **dict.fromkeys((name for name in SUPPORTED if name.startswith("Reduce")), {1: "axes"}),
}
_ATTRIBUTES: Final[dict[str, dict[str, tuple[Any, ...]]]] = {
    "Resize": {
        "mode": ("nearest", "linear"),
        "coordinate_transformation_mode": (
            *("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners"),
        ),
        "nearest_mode": ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"),
        "keep_aspect_ratio_policy": ("stretch",),
        "antialias": (0,),
        "exclude_outside": (0,),
    },
    "Pad": {"mode": ("constant", "reflect", "edge")},
    "BatchNormalization": {"training_mode": (0,)},
    "ScatterND": {"reduction": ("none",)},
    "TopK": {"sorted": (1,)},
}
"""Values that an attribute may have where it is given."""
_REFUSED_ATTRIBUTES: Final = {"Constant": ("sparse_value", "value_string", "value_strings"), "Resize": ("axes",)}
_MOST_AXES: Final = 8
_POOLS: Final = frozenset({"AveragePool", "LpPool", "MaxPool"})


@dataclass(frozen=True)
class Finding:
    """One fault of a graph.

    Attributes:
        rule: which rule found it: ``opset``, ``domain``, ``operator``, ``control-flow``, ``data-dependent``, ``type``,
            ``dynamic-axis``, ``axes``, ``constant-input``, ``attribute``, ``pooling`` or ``invalid``.
        place: node or value.
        message: what is wrong, for a person.
    """

    rule: str
    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.place}: {self.message}"


def lint(model: onnx.ModelProto) -> list[Finding]:
    """Check a graph as TensorRT would be given it; an empty list means that nothing was found.

    Args:
        model: any ONNX model; it is left as it is.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    foreign = [*_opset(copy), *_domains(copy)]
    if foreign:  # the rest cannot be read by rules that were written for these operators
        return foreign
    try:
        graph = infer_shapes(copy).graph
    except ModelError as error:
        return [*_operators(copy.graph), Finding("invalid", "graph", str(error).splitlines()[0])]
    facts = _Facts(graph)
    return [
        *_operators(graph),
        *_types(facts),
        *_axes(graph),
        *_sizes(facts),
        *_constant_inputs(facts),
        *(finding for node in graph.node for finding in (*_attributes(node), *_pooling(node, facts))),
    ]


class _Facts:
    """What several rules want to know about a graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.types = value_types(graph)
        self.users = used_by(graph)
        self.makers = {name: node for node in graph.node for name in node.output}
        self.constants = {item.name for item in graph.initializer}
        self.constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}

    @cached_property
    def sizes(self) -> set[str]:
        """Values that follow from shapes and constants alone, whatever the picture is."""
        known = set(self.constants)
        for node in self.graph.node:
            if node.op_type in ("Shape", "Size") or all(name in known for name in node.input if name):
                known.update(node.output)
        return known


def _opset(model: onnx.ModelProto) -> Iterator[Finding]:
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx") and entry.version not in OPSETS:
            yield Finding("opset", "model", f"opset {entry.version}, readable are {OPSETS.start} to {OPSETS.stop - 1}")


def _domains(model: onnx.ModelProto) -> Iterator[Finding]:
    for function in model.functions:
        yield Finding("domain", function.name, "a function of the model's own: export it inlined")
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            yield Finding("domain", _place(node), f"operator {node.op_type} of '{node.domain}' needs a plugin")


def _operators(graph: onnx.GraphProto) -> Iterator[Finding]:
    for node in graph.node:
        if node.op_type in CONTROL_FLOW:
            yield Finding("control-flow", _place(node), f"{node.op_type}: the graph must be straight")
        elif node.op_type in DATA_DEPENDENT:
            yield Finding(
                "data-dependent", _place(node), f"the size of what {node.op_type} gives depends on the picture"
            )
        elif node.op_type not in SUPPORTED:
            yield Finding("operator", _place(node), f"TensorRT does not take {node.op_type}")


def _types(facts: _Facts) -> Iterator[Finding]:
    inputs = {value.name for value in facts.graph.input}
    outputs = {value.name for value in facts.graph.output}
    for name, kind in facts.types.items():
        if kind == TensorProto.UINT8:
            users = facts.users.get(name, [])
            maker = facts.makers.get(name)
            into_cast = name in inputs and all(_is_cast(user, user.output[0], facts) for user in users)
            out_of_cast = name in outputs and not users and maker is not None and _is_cast(maker, maker.input[0], facts)
            if not (into_cast or out_of_cast):
                yield Finding("type", name, "UINT8 is taken at the borders only, beside a Cast to or from a float type")
        elif kind not in TYPES:
            yield Finding("type", name, f"TensorRT has no {TensorProto.DataType.Name(kind)} in such a network")
        elif kind == TensorProto.INT64 and name not in facts.sizes:
            yield Finding("type", name, "INT64 that is no size: use INT32 or a float type")


def _is_cast(node: onnx.NodeProto, other: str, facts: _Facts) -> bool:
    return node.op_type == "Cast" and facts.types.get(other) in (TensorProto.FLOAT, TensorProto.FLOAT16)


def _axes(graph: onnx.GraphProto) -> Iterator[Finding]:
    for value in (*graph.input, *graph.output, *graph.value_info):
        tensor = value.type.tensor_type
        if not tensor.HasField("shape"):
            yield Finding("dynamic-axis", value.name, "its rank is not known")
            continue
        if len(tensor.shape.dim) > _MOST_AXES:
            yield Finding("axes", value.name, f"{len(tensor.shape.dim)} axes; TensorRT has {_MOST_AXES}")
        open_axes = [axis for axis, dim in enumerate(tensor.shape.dim) if not dim.HasField("dim_value")]
        if any(axis > 0 for axis in open_axes):
            axes = ", ".join(str(axis) for axis in open_axes if axis > 0)
            yield Finding("dynamic-axis", value.name, f"axis {axes} is open; only the batch, axis 0, may be")


def _sizes(facts: _Facts) -> Iterator[Finding]:
    for node in facts.graph.node:
        for place in _SIZE_INPUTS.get(node.op_type, ()):
            name = node.input[place] if place < len(node.input) else ""
            if name and name not in facts.sizes:
                yield Finding(
                    "data-dependent", _place(node), f"the size of its output follows from the values '{name}'"
                )


def _constant_inputs(facts: _Facts) -> Iterator[Finding]:
    for node in facts.graph.node:
        for place, what in _CONSTANT_INPUTS.get(node.op_type, {}).items():
            name = node.input[place] if place < len(node.input) else ""
            if name and name not in facts.constants:
                yield Finding("constant-input", _place(node), f"{what} '{name}' must be stored, not computed: fold it")


def _attributes(node: onnx.NodeProto) -> Iterator[Finding]:
    given = {attribute.name: _plain(attribute) for attribute in node.attribute}
    for name, allowed in _ATTRIBUTES.get(node.op_type, {}).items():
        if name == "nearest_mode" and given.get("mode", "nearest") != "nearest":
            continue
        if name in given and given[name] not in allowed:
            choice = ", ".join(map(str, allowed))
            yield Finding("attribute", _place(node), f"{node.op_type} with {name} {given[name]}; taken are {choice}")
    for name in _REFUSED_ATTRIBUTES.get(node.op_type, ()):
        if name in given:
            yield Finding("attribute", _place(node), f"{node.op_type} with {name}")


def _pooling(node: onnx.NodeProto, facts: _Facts) -> Iterator[Finding]:
    if node.op_type not in _POOLS:
        return
    given = {attribute.name: _plain(attribute) for attribute in node.attribute}
    if len(given.get("kernel_shape", ())) not in (2, 3):
        yield Finding("pooling", _place(node), "only pooling over two or three axes is taken")
    if any(step != 1 for step in given.get("dilations", ())):
        yield Finding("pooling", _place(node), "dilations must be 1")
    if len(node.output) > 1 and node.output[1] in facts.users:
        yield Finding("pooling", _place(node), "the output of indices is not taken")


def _plain(attribute: onnx.AttributeProto) -> Any:
    """Value of an attribute; text as str, tensors as arrays."""
    value = helper.get_attribute_value(attribute)
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    return value.decode() if isinstance(value, bytes) else value


def _place(node: onnx.NodeProto) -> str:
    return node.name or f"{node.op_type} -> {', '.join(node.output)}"
