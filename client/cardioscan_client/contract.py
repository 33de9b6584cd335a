"""Whether the models of a server are those of the specs: names, versions, tensors, weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from cardioscan.backends.specs import NetworkSpec, PipelineSpec, TensorSpec
from cardioscan.errors import ModelContractError

TRITON_TYPES: Final = {"uint8": "UINT8", "float16": "FP16", "float32": "FP32"}
"""NumPy dtypes by the names that the KServe v2 protocol has for them."""


def check_contract(spec: NetworkSpec | PipelineSpec, metadata: Any, config: Any, address: str) -> str:
    """Compare what a server says of a model with its spec.

    Args:
        spec: what this client was made for.
        metadata: ``ModelMetadataResponse`` of the model.
        config: ``ModelConfig`` of the model.
        address: of the server, for the message.

    Returns:
        SHA-256 of the ONNX file that is served, as the configuration states it; empty where it does not.

    Raises:
        ModelContractError: a tensor or the weights differ; the message names every difference.
    """
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    differences = [
        *_differences("input", spec.inputs, metadata.inputs, batched=spec.max_batch > 0),
        *_differences("output", spec.outputs, metadata.outputs, batched=spec.max_batch > 0),
    ]
    served = parameters.get("sha256", "")
    if served and spec.sha256 and served != spec.sha256:
        differences.append(f"its weights are {served[:12]}..., not the released {spec.sha256[:12]}...")
    if differences:
        raise ModelContractError(
            f"the model {spec.name} (version {spec.version}) at {address} is not the one that this client was made "
            f"for: {'; '.join(differences)}. Client and server must be of the same release"
        )
    return served


def _differences(kind: str, wanted: tuple[TensorSpec, ...], found: Iterable[Any], *, batched: bool) -> list[str]:
    served = {tensor.name: (str(tensor.datatype), tuple(tensor.shape)) for tensor in found}
    batch, free = ((-1,), "batch") if batched else ((), "any length")
    expected = {tensor.name: (TRITON_TYPES[tensor.dtype], (*batch, *tensor.shape)) for tensor in wanted}
    sentences = [
        f"{kind} '{name}' is {_description(served[name], free)}, not {_description(expected[name], free)}"
        if name in served
        else f"{kind} '{name}' is missing"
        for name in expected
        if served.get(name) != expected[name]
    ]
    # Further outputs do no harm; a further input would have to be filled.
    unknown = sorted(served.keys() - expected.keys()) if kind == "input" else []
    return sentences + [f"{kind} '{name}' is unknown" for name in unknown]


def _description(tensor: tuple[str, tuple[int, ...]], free: str) -> str:
    datatype, shape = tensor
    return f"{datatype} ({', '.join(free if size == -1 else str(size) for size in shape)})"
