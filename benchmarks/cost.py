"""What a network costs: operations and bytes of an ONNX graph, counted from its shapes.

Operations (FLOP): 2 for each multiply and add of a convolution or matrix product, 1 for each added bias; 1 for each
element that an element-wise operator makes, whatever it costs (4 for sigmoid and tanh, 5 for softmax, 2 for a batch
norm); 1 for each element that a pooling or reduction looks at. Moving values costs no operations.

Bytes are counted twice. *Unfused*: every operator reads its inputs from memory and writes its outputs there. *Fused*:
what is left when kernels are as large as they can be: element-wise operators belong to the kernel that makes their
input, moves (concatenating, resizing, slicing, casting) to the one that reads them, weights are read once, and a value
is written only if another kernel wants it. What stays in a cache from one kernel to the next is not considered.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Final

import onnx
from onnx import TensorProto, helper

from cardioscan_export.folding import infer_shapes, value_types

_SIZES: Final = {
    TensorProto.FLOAT: 4,
    TensorProto.FLOAT16: 2,
    TensorProto.BFLOAT16: 2,
    TensorProto.INT32: 4,
    TensorProto.INT64: 8,
    TensorProto.UINT8: 1,
    TensorProto.INT8: 1,
    TensorProto.BOOL: 1,
    TensorProto.DOUBLE: 8,
}
_PER_ELEMENT: Final = {
    **dict.fromkeys(("Abs", "Add", "Clip", "Div", "Exp", "Max", "Min", "Mul", "Neg", "Relu", "Sqrt", "Sub"), 1),
    **dict.fromkeys(("Erf", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Pow", "Where"), 1),
    "BatchNormalization": 2,
    "Sigmoid": 4,
    "Tanh": 4,
}
"""Element-wise operators: operations for each element of the output."""
_MOVES: Final = frozenset(
    {"Cast", "Concat", "DepthToSpace", "Expand", "Gather", "Pad", "Resize", "Slice", "SpaceToDepth", "Split"}
    | {"Tile", "Transpose"}
)
_VIEWS: Final = frozenset({"Constant", "Flatten", "Identity", "Reshape", "Shape", "Size", "Squeeze", "Unsqueeze"})
"""Operators that touch no values."""


@dataclass(frozen=True)
class Cost:
    """What one picture costs.

    Attributes:
        operations: FLOP.
        by_operator: the same for each kind of operator.
        weight_bytes: stored constants that are read.
        fused_bytes, unfused_bytes: bytes to and from memory, weights included; see the module.
        kernels: number of kernels that are left after fusing.
    """

    operations: int
    by_operator: dict[str, int]
    weight_bytes: int
    fused_bytes: int
    unfused_bytes: int
    kernels: int


def cost_of(model: onnx.ModelProto, batch: int = 1) -> Cost:
    """Count operations and bytes of a graph.

    Args:
        model: any graph whose shapes follow from its inputs; open axes are taken to be ``batch``.
        batch: pictures at once.

    Raises:
        ValueError: an operator is not known to the counter, or a shape does not follow.
    """
    graph = _with_batch(model, batch).graph
    sizes = _Sizes(graph)
    operations: Counter[str] = Counter()
    for node in graph.node:
        operations[node.op_type] += _operations(node, sizes)
    kernels, fused = _fused(graph, sizes)
    return Cost(
        operations=sum(operations.values()),
        by_operator={kind: count for kind, count in operations.most_common() if count},
        weight_bytes=sum(map(sizes.bytes, sizes.weights)),
        fused_bytes=fused,
        unfused_bytes=_unfused(graph, sizes),
        kernels=kernels,
    )


class _Sizes:
    """Shapes and bytes of the values of a graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.types = value_types(graph)
        self.shapes = {item.name: tuple(item.dims) for item in graph.initializer}
        for value in (*graph.input, *graph.output, *graph.value_info):
            dims = value.type.tensor_type.shape.dim
            if all(dim.HasField("dim_value") for dim in dims):
                self.shapes[value.name] = tuple(dim.dim_value for dim in dims)
        constants = {item.name for item in graph.initializer}
        read = {name for node in graph.node for name in node.input}
        self.weights = {name for name in constants & read if self.types[name] != TensorProto.INT64}
        self.shape_values = {name for name, kind in self.types.items() if kind == TensorProto.INT64}

    def shape(self, name: str) -> tuple[int, ...]:
        if name not in self.shapes:
            raise ValueError(f"the shape of '{name}' does not follow from the inputs")
        return self.shapes[name]

    def elements(self, name: str) -> int:
        return math.prod(self.shape(name))

    def bytes(self, name: str) -> int:
        return self.elements(name) * _SIZES[self.types[name]]


def _with_batch(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value"):
                dim.dim_value = batch
    for value in copy.graph.output:  # stated anew by the inference
        value.type.tensor_type.ClearField("shape")
    return infer_shapes(copy)


def _operations(node: onnx.NodeProto, sizes: _Sizes) -> int:
    kind, made = node.op_type, node.output[0]
    if kind in _VIEWS or made in sizes.shape_values:
        return 0
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if kind in ("Conv", "ConvTranspose"):
        # Each element of the output (transposed: of the input) meets one kernel per channel of its group.
        weights = sizes.shape(node.input[1])
        pivot = made if kind == "Conv" else node.input[0]
        return 2 * sizes.elements(pivot) * math.prod(weights[1:]) + _bias(node, sizes)
    if kind in ("Gemm", "MatMul"):
        left = sizes.shape(node.input[0])
        depth = left[0] if given.get("transA") else left[-1]
        return 2 * sizes.elements(made) * depth + (_bias(node, sizes) if kind == "Gemm" else 0)
    if kind in _PER_ELEMENT:
        return _PER_ELEMENT[kind] * sizes.elements(made)
    if kind == "Softmax":
        return 5 * sizes.elements(made)
    if kind in ("AveragePool", "MaxPool"):
        return sizes.elements(made) * math.prod(given["kernel_shape"])
    if kind.startswith(("Reduce", "Global")):
        return sizes.elements(node.input[0])
    if kind == "Resize" and given.get("mode", b"nearest") == b"linear":
        # Along each axis that changes, two products and a sum.
        changed = sum(a != b for a, b in zip(sizes.shape(node.input[0]), sizes.shape(made), strict=True))
        return 3 * changed * sizes.elements(made)
    if kind in _MOVES:
        return 0
    raise ValueError(f"operations of {kind} are not counted yet: add it to benchmarks/cost.py")


def _bias(node: onnx.NodeProto, sizes: _Sizes) -> int:
    return sizes.elements(node.output[0]) if len(node.input) > 2 and node.input[2] else 0


def _unfused(graph: onnx.GraphProto, sizes: _Sizes) -> int:
    total = 0
    for node in graph.node:
        if node.op_type not in _VIEWS and node.output[0] not in sizes.shape_values:
            read = {name for name in node.input if name and name not in sizes.shape_values}
            total += sum(map(sizes.bytes, (*read, *node.output)))
    return total


def _fused(graph: onnx.GraphProto, sizes: _Sizes) -> tuple[int, int]:
    """Number of kernels, and bytes that they read and write."""
    answers = {value.name for value in graph.output}
    inputs = {value.name for value in graph.input}
    maker: dict[str, int] = {}  # the kernel that makes a value
    reads: list[set[str]] = []  # what each kernel reads
    behind: dict[str, set[str]] = {name: {name} for name in (*inputs, *sizes.weights)}  # what reading a value reads
    for node in graph.node:
        if node.output[0] in sizes.shape_values:
            continue
        data = [name for name in node.input if name and name not in sizes.shape_values]
        sources = set().union(*(behind[name] for name in data))
        elementwise = node.op_type in _PER_ELEMENT
        if node.op_type in _MOVES | _VIEWS or (elementwise and sources <= inputs | sizes.weights):
            # Whoever reads this reads what is behind it; so it is with the normalisation of the picture.
            behind.update(dict.fromkeys(node.output, sources))
            continue
        makers = [maker[name] for name in sources if name in maker]
        place = max(makers) if elementwise else len(reads)
        if place == len(reads):
            reads.append(set())
        reads[place] |= {name for name in sources if maker.get(name) != place}
        for name in node.output:
            maker[name], behind[name] = place, {name}
    activations = [name for group in reads for name in group - sizes.weights]
    written = (set(activations) & maker.keys()) | answers
    return len(reads), sum(map(sizes.bytes, (*activations, *written, *sizes.weights)))
