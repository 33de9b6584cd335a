"""Running the networks: the ``InferenceBackend`` protocol and the in-process ONNX Runtime one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[Any]]


class InferenceBackend(Protocol):
    """Whatever can run the four networks. The pipeline never asks which one it is."""

    def infer(self, model: str, inputs: Tensors) -> dict[str, NDArray[np.generic]]:
        """Run ``model`` on ``inputs`` (arrays by tensor name, batch axis first) and return its outputs by name."""
        ...
