"""Eight-bit arithmetic for the networks in OpenVINO, made when a network is opened.

The released files stay as they are. What goes into a convolution is rounded to 256 levels between two limits, which
were measured on rendered pages (``cardioscan calibrate``); its weights are rounded to 7 bits, one scale for every
output channel; OpenVINO then computes such convolutions in integers (Jacob et al., "Quantization and Training of Neural
Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018). Seven bits and not eight, because processors
without VNNI add products in sixteen bits, which eight would overflow; so every processor rounds alike.

A head, a convolution after which none follows, stays as it is: its rounding would be seen in the answer as it is.

Nothing of CardioScan is imported here: a copy of this file stands beside the CPU networks of a Triton repository.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Limits = Mapping[str, tuple[float, float]]
"""Least and largest value that goes into a convolution, by the name of its weights."""

_ACTIVATION_LEVELS: Final = 256
_WEIGHT_LEVELS: Final = 255
_SPARE: Final = 2.0
"""Weights use half of the range of their levels: seven bits."""


def convolutions(model: Any) -> Iterator[tuple[str, Any, NDArray[np.float32]]]:
    """The convolutions of an ``openvino.Model`` after which others follow: name of the weights, operator, weights."""
    operators = model.get_ordered_ops()
    followed = _followed_by_convolutions(operators)
    for node in operators:
        if node.get_type_name() != "Convolution" or node.get_friendly_name() not in followed:
            continue
        weights = node.input_value(1).get_node()
        if weights.get_type_name() == "Convert":
            weights = weights.input_value(0).get_node()
        if weights.get_type_name() == "Constant":
            yield weights.get_friendly_name(), node, np.asarray(weights.get_data(), np.float32)


def quantise(model: Any, limits: Limits) -> int:
    """Round what goes into the convolutions of an ``openvino.Model``, in place.

    Args:
        model: as read from the released file.
        limits: see ``Limits``; a convolution without them stays as it is.

    Returns:
        The number of convolutions changed.
    """
    from openvino import opset13

    rounded: dict[tuple[str, int], Any] = {}
    changed = 0
    for name, node, weights in list(convolutions(model)):
        if name not in limits:
            continue
        source = node.input_value(0)
        key = source.get_node().get_friendly_name(), source.get_index()
        if key not in rounded:  # what several convolutions read is rounded once
            low, high = (opset13.constant(np.float32(limit)) for limit in _around_zero(*limits[name]))
            rounded[key] = opset13.fake_quantize(source, low, high, low, high, _ACTIVATION_LEVELS)
        largest = np.abs(weights).reshape(len(weights), -1).max(axis=1).reshape(-1, *[1] * (weights.ndim - 1))
        reach = (_SPARE * largest + 1e-12).astype(np.float32)
        low, high = opset13.constant(-reach), opset13.constant(reach)
        levels = opset13.fake_quantize(opset13.constant(weights), low, high, low, high, _WEIGHT_LEVELS)
        node.input(0).replace_source_output(rounded[key].output(0))
        node.input(1).replace_source_output(levels.output(0))
        changed += 1
    model.validate_nodes_and_infer_types()
    return changed


def measuring(model: Any) -> list[str]:
    """Let an ``openvino.Model`` also answer with the limits of what goes into its convolutions, in place.

    Returns:
        The names of the convolutions' weights. For each, the model has gained two scalar outputs, in this order behind
        those it had: the least and the largest value over the whole batch.
    """
    from openvino import opset13

    names, outputs = [], []
    for name, node, _ in list(convolutions(model)):
        source = node.input_value(0)
        axes = opset13.constant(np.arange(len(source.get_partial_shape())))
        names.append(name)
        outputs += [opset13.result(reduce(source, axes)) for reduce in (opset13.reduce_min, opset13.reduce_max)]
    model.add_results(outputs)
    return names


def _followed_by_convolutions(operators: Sequence[Any]) -> set[str]:
    """Names of the operators, given in the order of computation, whose answers reach a convolution."""
    found: set[str] = set()
    for node in reversed(operators):
        for value in node.outputs():
            readers = (target.get_node() for target in value.get_target_inputs())
            if any(
                reader.get_type_name() == "Convolution" or reader.get_friendly_name() in found for reader in readers
            ):
                found.add(node.get_friendly_name())
    return found


def _around_zero(low: float, high: float) -> tuple[float, float]:
    """Limits with a level for 0 itself (padding is 0): one-sided, or as far down as up, as signed bytes reach."""
    if low >= 0:
        return 0.0, max(high, 1e-6)
    most = max(-low, high)
    return -most * 128 / 127, most
