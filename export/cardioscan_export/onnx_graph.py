"""PyTorch to ONNX: one graph per network, with normalisation and output reduction inside."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from cardioscan.backends.specs import NetworkSpec

OPSET: Final = 18
FLOAT16_PREFIX: Final = "network."


class ServedNetwork(nn.Module):
    """What is exported: ``network.serve``, so that initializers are called ``network.<PyTorch name>``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Run the served face of the network on uint8 images ``(B, 3, H, W)``."""
        outputs: Tensor | tuple[Tensor, ...] = self.network.serve(image)  # type: ignore[operator]
        return outputs


def export_graph(network: nn.Module, spec: NetworkSpec) -> onnx.ModelProto:
    """Trace a network in evaluation mode into an ONNX model with float32 weights.

    The batch axis is dynamic, the others are fixed. ``optimize=False`` keeps every PyTorch name on its initializer and
    leaves batch norms unfused, so that training can resume from the file.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    served = ServedNetwork(network).eval()
    (tensor,) = spec.inputs
    example = torch.zeros((2, *tensor.shape), dtype=torch.uint8)
    program = torch.onnx.export(
        served,
        (example,),
        dynamo=True,
        optimize=False,
        opset_version=OPSET,
        input_names=[tensor.name],
        output_names=[output.name for output in spec.outputs],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},),
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    _strip_traces(model)
    return model


def store_weights_as_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store weights (not biases, norms and constants) as float16 behind a Cast to float32.

    Halves the file; the runtimes fold the Cast when they load it and compute in float32. Tensors with fewer than two
    axes stay float32: they are small, and variances do not fit float16.
    """
    casts = []
    for item in model.graph.initializer:
        if not item.name.startswith(FLOAT16_PREFIX) or item.data_type != TensorProto.FLOAT or len(item.dims) < 2:
            continue
        name = item.name
        item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item).astype(np.float16), name))
        casts.append(helper.make_node("Cast", [name], [f"{name}.float32"], name=f"{name}.cast", to=TensorProto.FLOAT))
    renamed = {node.input[0]: node.output[0] for node in casts}
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name in renamed:
                node.input[index] = renamed[name]
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    # Shapes of intermediate values were inferred for the graph without casts.
    kept = [value for value in model.graph.value_info if value.name not in renamed]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)
    onnx.checker.check_model(model)
    return model


def _strip_traces(model: onnx.ModelProto) -> None:
    """Drop stack traces and paths of the exporting machine, which the exporter leaves as metadata."""
    for holder in _metadata_holders(model):
        del holder.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""


def _metadata_holders(model: onnx.ModelProto) -> Sequence[Any]:
    holders: list[Any] = [model, model.graph, *model.graph.node, *model.graph.initializer]
    holders += [*model.graph.value_info, *model.graph.input, *model.graph.output, *model.functions]
    return [holder for holder in holders if hasattr(holder, "metadata_props")]
