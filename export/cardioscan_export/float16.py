"""The float16 variant of a network: a graph whose types say which arithmetic is meant, for TensorRT's strong typing.

What lies between the first and the last layer with weights (convolutions, matrix products) is computed in float16. In
float32 stay: the normalisation of the picture; means over whole maps, whose sums leave float16's range; and what makes
the answer out of the last layer (softmax, sigmoid, offsets, lattice coordinates, which need more than 11 bits). Names,
shapes and types of the network's own tensors stay as the ``NetworkSpec`` has them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cardioscan.errors import ModelError
from cardioscan_export.folding import fold, infer_shapes, used_by, value_types

LAYERS: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators with weights: from the first to the last of them the arithmetic is float16."""
ALWAYS_FLOAT32: Final = frozenset(
    {"BatchNormalization", "GlobalAveragePool", "LayerNormalization", "ReduceMean", "ReduceSum", "Softmax"}
)
"""Sums over many elements and norms, wherever they stand."""
MOVES: Final = frozenset(
    {"Concat", "DepthToSpace", "Expand", "Gather", "Identity", "Pad", "Reshape", "Slice", "SpaceToDepth", "Split"}
    | {"Squeeze", "Transpose", "Unsqueeze"}
)
"""Operators that only move values: they take the type of their neighbours, for half the bytes."""
_FLOAT32_INPUTS: Final = {"Resize": (1, 2)}
"""Inputs that ONNX wants in float32 whatever the operator computes in: region and scales of Resize."""
_LARGEST: Final = float(np.finfo(np.float16).max)


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Make the float16 variant of a released graph.

    Args:
        model: a released graph; it is left as it is.

    Returns:
        A new, folded model; the same model always gives the same bytes.

    Raises:
        ModelError: a weight does not fit float16, or the graph has functions or branches.
    """
    folded = fold(model)
    if folded.functions or any(_has_graph(node) for node in folded.graph.node):
        raise ModelError("the graph has functions or branches, whose types are not followed: export it without them")
    types = value_types(folded.graph)
    floats = {name for name, kind in types.items() if kind == TensorProto.FLOAT}
    _Converter(folded.graph, floats, half_nodes(folded.graph, floats)).run()
    return infer_shapes(folded)


def half_nodes(graph: onnx.GraphProto, floats: set[str]) -> list[bool]:
    """Which nodes of a folded graph compute in float16; ``floats`` are the names of its float32 values."""
    half = [
        behind and before and node.op_type not in ALWAYS_FLOAT32 and floats.issuperset(node.output)
        for node, behind, before in zip(graph.node, _behind_layers(graph), _before_layers(graph), strict=True)
    ]
    users = used_by(graph)
    index = {id(node): position for position, node in enumerate(graph.node)}
    made_by = {name: position for position, node in enumerate(graph.node) for name in node.output}
    answers = {value.name for value in graph.output}

    def only_read_in_half(node: onnx.NodeProto) -> bool:
        readers = [half[index[id(user)]] for name in node.output for user in users.get(name, [])]
        return bool(readers) and all(readers) and not answers.intersection(node.output)

    def only_made_in_half(node: onnx.NodeProto) -> bool:
        sources = [half[made_by[name]] for name in node.input if name in made_by and name in floats]
        return bool(sources) and all(sources)

    moves = [i for i, node in enumerate(graph.node) if node.op_type in MOVES and floats.issuperset(node.output)]
    for position in reversed(moves):
        half[position] = half[position] or only_read_in_half(graph.node[position])
    for position in moves:
        half[position] = half[position] or only_made_in_half(graph.node[position])
    return half


def _behind_layers(graph: onnx.GraphProto) -> list[bool]:
    """For each node: is it a layer, or does its input come out of one?"""
    reached: set[str] = set()
    found = []
    for node in graph.node:
        found.append(node.op_type in LAYERS or not reached.isdisjoint(node.input))
        if found[-1]:
            reached.update(node.output)
    return found


def _before_layers(graph: onnx.GraphProto) -> list[bool]:
    """For each node: is it a layer, or does its output go into one?"""
    wanted: set[str] = set()
    found = []
    for node in reversed(graph.node):
        found.append(node.op_type in LAYERS or not wanted.isdisjoint(node.output))
        if found[-1]:
            wanted.update(filter(None, node.input))
    return found[::-1]


def _has_graph(node: onnx.NodeProto) -> bool:
    kinds = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    return any(attribute.type in kinds for attribute in node.attribute)


class _Converter:
    """Rewrites a graph in place: casts where float16 and float32 meet, and float16 copies of constants."""

    def __init__(self, graph: onnx.GraphProto, floats: set[str], half: list[bool]) -> None:
        self.graph, self.floats, self.half = graph, floats, half
        self.constants = {item.name: item for item in graph.initializer}
        self.halves = {name for node, is_half in zip(graph.node, half, strict=True) if is_half for name in node.output}
        self.cast: dict[tuple[str, int], str] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.copies: list[TensorProto] = []

    def run(self) -> None:
        """Rewrite the graph."""
        answers = {value.name for value in self.graph.output}
        for node, half in zip(self.graph.node, self.half, strict=True):
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            for place, name in enumerate(node.input):
                if name in self.floats:
                    in_half = half and place not in _FLOAT32_INPUTS.get(node.op_type, ())
                    copy.input[place] = self._read(name, in_half)
            if half:
                for place, name in enumerate(node.output):
                    copy.output[place] = _in_half(name)
            self.nodes.append(copy)
            for name in filter(answers.__contains__, node.output if half else ()):
                self._add_cast(_in_half(name), name, TensorProto.FLOAT)
        read = {name for node in self.nodes for name in node.input}
        kept = [item for item in (*self.graph.initializer, *self.copies) if item.name in read]
        del self.graph.node[:], self.graph.initializer[:]
        self.graph.node.extend(self.nodes)
        self.graph.initializer.extend(kept)

    def _read(self, name: str, in_half: bool) -> str:
        """Name under which a float value can be read in the type wanted; makes what is missing."""
        if name in self.constants:
            return self._constant(name) if in_half else name
        if in_half == (name in self.halves):
            return _in_half(name) if in_half else name
        wanted = TensorProto.FLOAT16 if in_half else TensorProto.FLOAT
        key = (name, wanted)
        if key not in self.cast:
            self.cast[key] = f"{name}.to_{'float16' if in_half else 'float32'}"
            self._add_cast(name if in_half else _in_half(name), self.cast[key], wanted)
        return self.cast[key]

    def _constant(self, name: str) -> str:
        key = (name, TensorProto.FLOAT16)
        if key not in self.cast:
            values = numpy_helper.to_array(self.constants[name])
            largest = float(np.abs(values).max(initial=0))
            if not largest <= _LARGEST:
                raise ModelError(f"the constant '{name}' reaches {largest:.6g}, which does not fit float16")
            self.cast[key] = _in_half(name)
            self.copies.append(numpy_helper.from_array(values.astype(np.float16), self.cast[key]))
        return self.cast[key]

    def _add_cast(self, source: str, target: str, kind: int) -> None:
        self.nodes.append(helper.make_node("Cast", [source], [target], name=f"{target}.cast", to=kind))


def _in_half(name: str) -> str:
    return f"{name}.float16"
