"""The model repository: ``config.pbtxt`` derived from a ``NetworkSpec``."""

from __future__ import annotations

from typing import Final

from cardioscan.specs import NetworkSpec, TensorSpec

_TYPES: Final = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32", "float16": "TYPE_FP16"}
QUEUE_TIMEOUT_US: Final = 20_000_000
QUEUE_SIZE: Final = 64


def _tensors(kind: str, tensors: tuple[TensorSpec, ...]) -> str:
    blocks = [
        f'  {{\n    name: "{tensor.name}"\n    data_type: {_TYPES[tensor.dtype]}\n'
        f"    dims: [ {', '.join(map(str, tensor.shape))} ]\n  }}"
        for tensor in tensors
    ]
    return f"{kind} [\n" + ",\n".join(blocks) + "\n]\n"


def config_pbtxt(spec: NetworkSpec) -> str:
    """Triton's model configuration of a network for the ONNX Runtime backend, as text.

    Batches are formed on the server without preferred sizes; the queue is bounded, rejects what has waited too long,
    and the served version is explicit.
    """
    return (
        f"# Written by `cardioscan export` from the NetworkSpec of {spec.name}. Do not edit.\n"
        f'name: "{spec.name}"\n'
        'backend: "onnxruntime"\n'
        f"max_batch_size: {spec.max_batch}\n"
        + _tensors("input", spec.inputs)
        + _tensors("output", spec.outputs)
        + "version_policy { specific { versions: [ "
        + str(spec.version)
        + " ] } }\n"
        "dynamic_batching {\n"
        "  max_queue_delay_microseconds: 2000\n"
        "  default_queue_policy {\n"
        "    timeout_action: REJECT\n"
        f"    default_timeout_microseconds: {QUEUE_TIMEOUT_US}\n"
        f"    max_queue_size: {QUEUE_SIZE}\n"
        "  }\n"
        "}\n"
    )
