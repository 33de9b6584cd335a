"""Measuring the limits that eight-bit arithmetic needs (``cardioscan.backends.quantization``)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cardioscan.backends import inference
from cardioscan.backends.inference import Tensors, check_tensors, openvino_core
from cardioscan.backends.quantization import measuring
from cardioscan.backends.specs import SPECS, check_model_file, find_model_file
from cardioscan.errors import MissingDependencyError, ModelError
from cardioscan.pipeline import Digitizer

NETWORKS: Final = ("label_detector", "grid_rectifier", "waveform_extractor")
"""The networks that are computed in eight bits. The source classifier takes a hundredth of a page's time."""

FILE: Final = Path(inference.__file__).with_name("int8.json")
"""Where the limits of the released networks stand."""


class MeasuringBackend:
    """Runs the released networks in float32 on OpenVINO and keeps the limits of what goes into their convolutions.

    Args:
        repository: a model repository; None looks in the usual places.

    Raises:
        MissingDependencyError: OpenVINO is not installed.
        ModelError: a network is missing or damaged.
    """

    def __init__(self, repository: str | Path | None = None) -> None:
        if find_spec("openvino") is None:
            raise MissingDependencyError("openvino", "openvino", "Measuring limits for int8")
        core = openvino_core()
        self._compiled: dict[str, Any] = {}
        self._names: dict[str, list[str]] = {}
        self._hashes: dict[str, str] = {}
        self._limits: dict[str, NDArray[np.float64]] = {}
        self._calls = dict.fromkeys(SPECS, 0)
        for name in SPECS:
            path = find_model_file(name, repository)
            assert path is not None  # find_model_file raises unless missing_ok
            self._hashes[name] = check_model_file(name, path)
            network = core.read_model(path)
            self._names[name] = measuring(network) if name in NETWORKS else []
            self._compiled[name] = core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def infer(self, model: str, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """The network's answer, as from any backend."""
        check_tensors(model, inputs)
        answers = [np.array(answer) for answer in self._compiled[model](dict(inputs)).values()]
        outputs = [tensor.name for tensor in SPECS[model].outputs]
        measured = np.array(answers[len(outputs) :], np.float64).reshape(-1, 2)
        known = self._limits.get(model, measured)
        self._limits[model] = np.stack(
            [np.minimum(known[:, 0], measured[:, 0]), np.maximum(known[:, 1], measured[:, 1])], axis=1
        )
        self._calls[model] += 1
        return dict(zip(outputs, answers, strict=False))

    def model_versions(self) -> dict[str, tuple[str, str]]:
        """Version and SHA-256 of each network."""
        return {name: (str(SPECS[name].version), digest) for name, digest in self._hashes.items()}

    def limits(self) -> dict[str, dict[str, Any]]:
        """By network: the hash of its file, the number of calls, and the limits by name of the weights.

        Raises:
            ModelError: a network of ``NETWORKS`` was never asked.
        """
        unasked = [name for name in NETWORKS if not self._calls[name]]
        if unasked:
            raise ModelError(f"no page came as far as {', '.join(unasked)}: give more or better pages")
        return {
            name: {
                "sha256": self._hashes[name],
                "calls": self._calls[name],
                "limits": {
                    weights: [float(f"{value:.5g}") for value in pair]
                    for weights, pair in zip(self._names[name], self._limits[name], strict=True)
                },
            }
            for name in NETWORKS
        }


def calibrate(
    pages: Iterable[NDArray[np.uint8]], repository: str | Path | None = None, output: str | Path = FILE
) -> dict[str, dict[str, Any]]:
    """Digitize pages and write the limits found on the way.

    Args:
        pages: pictures, (H, W, 3) uint8 RGB, of all kinds that are to be read; a refused one counts as far as it came.
        repository: see ``MeasuringBackend``.
        output: the JSON file to write.

    Returns:
        What was written: see ``MeasuringBackend.limits``.

    Raises:
        MissingDependencyError, ModelError: see there.
    """
    backend = MeasuringBackend(repository)
    digitizer = Digitizer(backend)
    for page in pages:
        digitizer.digitize(page)
    found = backend.limits()
    Path(output).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found
