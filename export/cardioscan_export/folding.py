"""The graph that TensorRT is given: a released graph without anything that is known before the picture is.

A released file keeps PyTorch's names, unfused batch norms and weights behind a Cast, so that training can resume from
it. ONNX Runtime folds all that when it loads the file; TensorRT's parser need not: there a convolution whose weights
come out of a Cast is one with weights that change.
"""

from __future__ import annotations

from typing import Final

import onnx
from onnx import TensorProto
from onnxscript import optimizer

from cardioscan.errors import ModelError

_ANY_SIZE: Final = 1 << 31
"""No limit on the constants that are folded: the coordinate maps of CoordConv have millions of elements."""


def fold(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold constants, batch norms and paddings of a graph with onnxscript; the answer is that of the graph given.

    Shapes of all values are stated, and only the batch axis is left open.

    Args:
        model: a released graph, or any other in float32; it is left as it is.

    Returns:
        A new model with the same inputs, outputs and opset.

    Raises:
        ModelError: the result is not a valid ONNX model.
    """
    folded: onnx.ModelProto = optimizer.optimize(model, input_size_limit=_ANY_SIZE, output_size_limit=_ANY_SIZE)
    _measure_shapes_behind_casts(folded.graph)
    _name_nodes(folded.graph)
    return infer_shapes(folded)


def infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """State type and shape of every value anew; raises ``ModelError`` where they contradict each other."""
    del model.graph.value_info[:]
    try:
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        onnx.checker.check_model(inferred)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        raise ModelError(f"the graph is not valid ONNX: {error}") from error
    return inferred


def value_types(graph: onnx.GraphProto) -> dict[str, int]:
    """Element type (``TensorProto.DataType``) of every named value of a graph whose shapes were inferred."""
    types = {item.name: item.data_type for item in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        types[value.name] = value.type.tensor_type.elem_type
    return types


def used_by(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """The nodes that read each value."""
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in filter(None, node.input):
            users.setdefault(name, []).append(node)
    return users


def _measure_shapes_behind_casts(graph: onnx.GraphProto) -> None:
    """Let Shape ask the Cast of a uint8 input instead: TensorRT takes uint8 at its borders only."""
    bytes_in = {value.name for value in graph.input if value.type.tensor_type.elem_type == TensorProto.UINT8}
    casts = {node.input[0]: node for node in graph.node if node.op_type == "Cast" and node.input[0] in bytes_in}
    for node in graph.node:
        if node.op_type == "Shape" and node.input[0] in casts:
            node.input[0] = casts[node.input[0]].output[0]
    first = [*casts.values()]
    rest = [node for node in graph.node if not any(node is cast for cast in first)]
    _replace_nodes(graph, [*first, *rest])


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Give every node a name, which TensorRT's messages then show."""
    for index, node in enumerate(graph.node):
        node.name = node.name or f"{node.op_type}_{index}"


def _replace_nodes(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    copies = [_copy(node) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy
