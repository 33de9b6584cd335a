"""Float16 arithmetic on a processor that has none: a float32 graph that rounds where a GPU would.

ONNX Runtime's CPU provider runs a float16 graph in float32 and leaves the roundings between the operators out, so its
answers say nothing about a GPU's. Tensor cores multiply float16 values, sum them up in float32, and store the sum as
float16; that is what this graph computes, except that sums are made in another order.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cardioscan_export.float16 import MOVES
from cardioscan_export.folding import infer_shapes, value_types

EXACT: Final = MOVES | {"MaxPool", "Relu", "Resize"}
"""Operators that give float16 values where they are given some: nothing is rounded. Resize is so with ``nearest``."""


def rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    """The float16 variant of a network with the same roundings in float32; ``model`` is left as it is."""
    types = value_types(model.graph)
    half = {name for name, kind in types.items() if kind == TensorProto.FLOAT16}
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    for item in graph.initializer:
        if item.name in half:
            item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item).astype(np.float32), item.name))
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        narrow = [name for name in node.output if name in half]
        if node.op_type == "Cast":
            if narrow:
                copy = _cast(node.input[0], f"{narrow[0]}.half", TensorProto.FLOAT16)
                nodes += [copy, _cast(f"{narrow[0]}.half", narrow[0], TensorProto.FLOAT)]
                continue
        elif node.op_type not in EXACT:
            for place, name in enumerate(node.output):
                copy.output[place] = f"{name}.exact" if name in half else name
        nodes.append(copy)
        if copy.output != node.output:
            for name in narrow:
                nodes.append(_cast(f"{name}.exact", f"{name}.half", TensorProto.FLOAT16))
                nodes.append(_cast(f"{name}.half", name, TensorProto.FLOAT))
    del graph.node[:]
    graph.node.extend(nodes)
    return infer_shapes(result)


def _cast(source: str, target: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"{target}.cast", to=kind)
