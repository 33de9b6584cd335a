"""Asking a network about one picture."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from cardioscan.arrays import Image
from cardioscan.backends.inference import InferenceBackend
from cardioscan.backends.specs import SPECS
from cardioscan.imaging.channels import planes


def ask(backend: InferenceBackend, model: str, image: Image) -> dict[str, NDArray[Any]]:
    """A network's answer to one picture, outputs by name with a batch axis of one.

    Args:
        backend: runs the networks.
        model: name of the network.
        image: (H, W, 3) uint8 of the size that its spec has.

    Raises:
        ModelError: the network is missing or damaged, or the picture has another size.
    """
    (tensor,) = SPECS[model].inputs
    return backend.infer(model, {tensor.name: planes(image)})
