"""Pieces of Triton's ``config.pbtxt`` as text, and whether such a text still says what a spec says."""

from __future__ import annotations

import re
from typing import Final

from cardioscan.backends.specs import NetworkSpec, PipelineSpec, TensorSpec

TRITON_TYPES: Final = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32", "float16": "TYPE_FP16"}
"""NumPy dtypes by the names that ``config.pbtxt`` has for them."""
QUEUE_SIZE: Final = 64
CPU_QUEUE_SIZE: Final = 16
"""Pages that may wait for a network; more are rejected. A CPU needs seconds a page, so fewer may wait for it."""
QUEUE_TIMEOUT_US: Final = 20_000_000
CPU_QUEUE_TIMEOUT_US: Final = 60_000_000
"""How long a request may wait at most; a request can ask for less, and the client always does."""


def tensors(kind: str, specs: tuple[TensorSpec, ...]) -> str:
    """The block "input" or "output"."""
    blocks = [
        f'  {{\n    name: "{tensor.name}"\n    data_type: {TRITON_TYPES[tensor.dtype]}\n'
        f"    dims: [ {', '.join(map(str, tensor.shape))} ]\n  }}"
        for tensor in specs
    ]
    return f"{kind} [\n" + ",\n".join(blocks) + "\n]"


def queue(cpu: bool, delay_us: int) -> str:
    """Batches formed on the server without preferred sizes; a bounded queue that rejects what has waited too long.

    Args:
        cpu: for a CPU or a GPU.
        delay_us: how long a request waits for others to come, microseconds.
    """
    timeout_us, queue_size = (CPU_QUEUE_TIMEOUT_US, CPU_QUEUE_SIZE) if cpu else (QUEUE_TIMEOUT_US, QUEUE_SIZE)
    return (
        "dynamic_batching {\n"
        f"  max_queue_delay_microseconds: {delay_us}\n"
        "  default_queue_policy {\n"
        "    timeout_action: REJECT\n"
        f"    default_timeout_microseconds: {timeout_us}\n"
        "    allow_timeout_override: true\n"
        f"    max_queue_size: {queue_size}\n"
        "  }\n"
        "}"
    )


def parameter(key: str, value: str) -> str:
    """A parameter of the model, which clients see."""
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'


def contract_differences(spec: NetworkSpec | PipelineSpec, config: str, *, weights: bool = True) -> list[str]:
    """What a ``config.pbtxt`` written here says otherwise than the spec: "version", "input", "output", "weights".

    Args:
        spec: of the model.
        config: the text; spaces and comments do not count.
        weights: whether the hash of the weights counts.
    """
    wanted = {
        "version": f"versions: [ {spec.version} ]",
        "input": tensors("input", spec.inputs),
        "output": tensors("output", spec.outputs),
    }
    if weights and spec.sha256:
        wanted["weights"] = parameter("sha256", spec.sha256)
    plain = _squeezed(config)
    return [what for what, text in wanted.items() if _squeezed(text) not in plain]


def _squeezed(config: str) -> str:
    return re.sub(r"#[^\n]*|\s", "", config)
