"""Loading and saving weights: checkpoints of a run, and the released ONNX files that training resumes from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import nn

from cardioscan.errors import ModelError

PIECE_BYTES: Final = 15 * 2**20
"""Size of one piece of float16 weights: machines that are lent for training return small files only."""


def save_checkpoint(
    path: Path, name: str, network: nn.Module, average: nn.Module, step: int, figures: dict[str, float]
) -> None:
    """Write a checkpoint atomically: live weights, averaged weights, step count and validation figures."""
    state = {
        "network": name,
        "weights": network.state_dict(),
        "ema": average.state_dict(),
        "step": step,
        "figures": figures,
    }
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def load_checkpoint(path: Path, network: nn.Module, averaged: bool = False) -> int:
    """Load a checkpoint into ``network`` and return its step count; raises ``ModelError`` if it does not fit."""
    if not path.is_file():
        raise ModelError(f"no checkpoint at {path}")
    state = torch.load(path, map_location="cpu", weights_only=True)
    try:
        network.load_state_dict(state["ema" if averaged else "weights"])
    except (KeyError, RuntimeError) as error:
        raise ModelError(f"{path} does not fit this network: {error}") from error
    return int(state["step"])


def load_released(name: str, network: nn.Module, path: Path | None = None, missing_ok: bool = False) -> int:
    """Load the initializers of a released ONNX file into ``network``; returns 0 (a released file counts no steps).

    Initializers carry their PyTorch names behind the prefix ``network.`` of the exported wrapper. Only
    ``num_batches_tracked`` of batch norms is not in the file.
    """
    import onnx
    from onnx import numpy_helper

    if path is None:
        from cardioscan.backends.specs import find_model_file

        path = find_model_file(name, missing_ok=missing_ok)
        if path is None:
            return 0
    tensors = {item.name: numpy_helper.to_array(item) for item in onnx.load(path).graph.initializer}
    state = network.state_dict()
    wanted = {key: tensors.get(f"network.{key}") for key in state if not key.endswith("num_batches_tracked")}
    missing = [key for key, value in wanted.items() if value is None or value.shape != tuple(state[key].shape)]
    if missing:
        raise ModelError(f"{path} does not fit this network: {len(missing)} tensors missing or of other shape, "
                         f"first {missing[0]}; train with --resume none to start anew")  # fmt: skip
    loaded = {key: torch.from_numpy(np.array(value, np.float32)) for key, value in wanted.items() if value is not None}
    network.load_state_dict(loaded, strict=False)
    return 0


def blend_weights(network: nn.Module, other: nn.Module, share: float) -> None:
    """Make ``network``'s weights and running statistics ``share`` of their own and the rest of ``other``'s, in place.

    Weights on the way from one good network to another that was trained on from it lie in one basin, and their mean is
    often better than either (Wortsman et al., "Model soups" and "Robust fine-tuning of zero-shot models", 2022).
    Counters stay.
    """
    with torch.no_grad():
        for mine, theirs in zip(network.state_dict().values(), other.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs.to(mine), 1 - share)


def save_pieces(folder: Path, weights: Mapping[str, torch.Tensor], step: int) -> list[Path]:
    """Write weights as ``piece-00.npz``, ``piece-01.npz``, ... of at most 15 MiB each.

    Matrices and kernels are stored as float16, vectors (norms, biases) as they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    groups: list[dict[str, np.ndarray]] = [{"step": np.array(step)}]
    used = 0
    for name, tensor in weights.items():
        array = tensor.detach().cpu().numpy()
        stored = array.astype(np.float16) if array.ndim > 1 else array
        if used + stored.nbytes > PIECE_BYTES:
            groups.append({})
            used = 0
        groups[-1][name] = stored
        used += stored.nbytes
    paths = []
    for index, group in enumerate(groups):
        paths.append(folder / f"piece-{index:02d}.npz")
        np.savez(paths[-1], **group)  # type: ignore[arg-type]
    return paths


def load_pieces(folder: Path, network: nn.Module) -> int:
    """Load what ``save_pieces`` wrote and return its step count; raises ``ModelError`` if it does not fit."""
    state: dict[str, torch.Tensor] = {}
    step = 0
    for path in sorted(folder.glob("piece-*.npz")):
        with np.load(path) as piece:
            for name in piece.files:
                if name == "step":
                    step = int(piece[name])
                    continue
                array = piece[name]
                state[name] = torch.from_numpy(array.astype(np.float32) if array.dtype == np.float16 else array)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"the pieces in {folder} do not fit this network: {error}") from error
    return step
