"""Graphs for GPUs, made from the released files: folded, in float32 or in float16. They are never committed.

Each is written from the released ONNX file alone, needs no torch, and comes out the same, byte for byte, every time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import onnx

from cardioscan.backends.specs import SPECS, NetworkSpec, check_model_file, find_model_file
from cardioscan.errors import ModelError
from cardioscan_export.float16 import to_float16
from cardioscan_export.folding import fold
from cardioscan_export.lint import Finding, lint

_MAKERS: Final = {"float32": fold, "float16": to_float16}
_ELEMENTS: Final = {"uint8": onnx.TensorProto.UINT8, "float32": onnx.TensorProto.FLOAT}


def make_variant(source: str | Path, precision: str, spec: NetworkSpec | None = None) -> onnx.ModelProto:
    """Make the graph that a GPU is given.

    Args:
        source: a released ONNX file.
        precision: ``float32`` or ``float16``, of the arithmetic between the first and the last layer.
        spec: compare the tensors with this network's.

    Raises:
        ModelError: there is no such precision, the file cannot be read, a weight does not fit, or the tensors are not
            those of ``spec``.
    """
    if precision not in _MAKERS:
        raise ModelError(f"unknown precision '{precision}'; known are {', '.join(_MAKERS)}")
    variant = _MAKERS[precision](_load(source))
    if spec is not None:
        _check_tensors(variant, spec)
    return variant


def write_variant(source: str | Path, target: str | Path, precision: str, spec: NetworkSpec | None = None) -> Path:
    """Write a variant to a file, in one step, for a server may be reading it; see :func:`make_variant`."""
    content = make_variant(source, precision, spec).SerializeToString(deterministic=True)
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(content)
    os.replace(fresh, path)
    return path


def lint_released(
    names: Sequence[str] = tuple(SPECS), models: str | Path | None = None, verify: bool = True
) -> Iterator[tuple[str, str, int, list[Finding]]]:
    """Check what TensorRT would be given of the released networks.

    Args:
        names: the networks.
        models: where the released ONNX files lie; None looks in the usual places.
        verify: compare the files with the release; switch off for weights of your own.

    Yields:
        Network, precision, number of operators, and what was found.

    Raises:
        ModelError: a file is missing or damaged, or no variant can be made of it.
    """
    for name in names:
        source = find_model_file(name, models)
        assert source is not None  # find_model_file raises unless missing_ok
        if verify:
            check_model_file(name, source)
        for precision in _MAKERS:
            variant = make_variant(source, precision, SPECS[name])
            yield name, precision, len(variant.graph.node), lint(variant)


def lint_file(path: str | Path) -> tuple[int, list[Finding]]:
    """Check an ONNX file as it is: number of operators, and what was found; raises ``ModelError`` if it is none."""
    model = _load(path)
    return len(model.graph.node), lint(model)


def _load(path: str | Path) -> onnx.ModelProto:
    try:
        return onnx.load(path)
    except Exception as error:  # protobuf and onnx raise several classes of their own
        raise ModelError(f"{path} cannot be read as ONNX: {error}") from error


def _check_tensors(model: onnx.ModelProto, spec: NetworkSpec) -> None:
    for values, tensors in ((model.graph.input, spec.inputs), (model.graph.output, spec.outputs)):
        found = [_described(value) for value in values]
        wanted = [(tensor.name, _ELEMENTS[tensor.dtype], tensor.shape) for tensor in tensors]
        if found != wanted:
            raise ModelError(f"the graph of {spec.name} has the tensors {found}, not {wanted}")


def _described(value: onnx.ValueInfoProto) -> tuple[str, int, tuple[int, ...]]:
    tensor = value.type.tensor_type
    return value.name, tensor.elem_type, tuple(dim.dim_value for dim in tensor.shape.dim[1:])
