"""Making a release: checkpoint in, ``model_repository/<model>/<version>/model.onnx`` and ``config.pbtxt`` out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch

from cardioscan.backends import specs
from cardioscan.errors import ModelError
from cardioscan.networks.models import build_network
from cardioscan.training.weights import blend_weights, load_checkpoint, load_pieces, load_released
from cardioscan_export.onnx_graph import OPSET, export_graph, store_weights_as_float16
from cardioscan_export.repository import config_pbtxt

MAX_FILE_BYTES = 100_000_000


@dataclass(frozen=True)
class ReleasedModel:
    """What was written: paths, hash and size of one network's release."""

    name: str
    path: Path
    config: Path
    sha256: str
    bytes: int


def export_network(
    name: str,
    checkpoint: str | Path,
    repository: str | Path,
    manifest: str | Path | None = None,
    blend: float = 1.0,
) -> ReleasedModel:
    """Export a checkpoint's averaged weights as a release.

    Args:
        name: one of the four networks.
        checkpoint: a ``last.pt`` written by training, or a folder of float16 pieces.
        repository: the model repository to write into.
        manifest: the ``released.json`` to update; None takes the one of the ``cardioscan`` package.
        blend: share of the checkpoint's weights, above 0 and at most 1; the rest are those of the file that is replaced
            (see ``cardioscan.training.weights.blend_weights``).

    Raises:
        ValueError: ``blend`` is out of its bounds.
        ModelError: the network is unknown, the checkpoint does not fit, there is nothing to blend with, or the file
            would exceed 100 MB.
    """
    if name not in specs.SPECS:
        raise ModelError(f"unknown network '{name}'; known are {', '.join(specs.SPECS)}")
    if not 0 < blend <= 1:
        raise ValueError(f"blend must be above 0 and at most 1, not {blend}")
    spec = specs.SPECS[name]
    path = Path(repository) / spec.file
    network = build_network(name)
    source = Path(checkpoint)
    figures: dict[str, float] = {}
    if source.is_dir():
        steps = load_pieces(source, network)
    else:
        steps = load_checkpoint(source, network, averaged=True)
        figures = torch.load(source, map_location="cpu", weights_only=True).get("figures", {})
    blended: dict[str, object] = {}
    if blend < 1:
        if not path.is_file():
            raise ModelError(f"there is no {path} to blend with: export without --blend")
        before = build_network(name)
        load_released(name, before, path)
        blend_weights(network, before, blend)
        # The figures are the checkpoint's own: nobody has measured the blend.
        blended = {"blend": {"share": blend, "with": specs.file_sha256(path)}}
    model = store_weights_as_float16(export_graph(network, spec))
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ModelError(f"{path} is {size / 1e6:.0f} MB; releases must stay under {MAX_FILE_BYTES / 1e6:.0f} MB")
    digest = specs.file_sha256(path)
    config = Path(repository) / name / "config.pbtxt"
    config.write_text(config_pbtxt(spec, sha256=digest), encoding="utf-8")
    notes = {
        "version": spec.version,
        "sha256": digest,
        "bytes": size,
        "opset": OPSET,
        "steps": steps,
        "validation": {key: round(float(value), 4) for key, value in figures.items()},
        **blended,
    }
    _update_manifest(Path(manifest) if manifest else Path(specs.__file__).with_name("released.json"), name, notes)
    return ReleasedModel(name, path, config, digest, size)


def _update_manifest(path: Path, name: str, notes: dict[str, object]) -> None:
    manifest = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    manifest[name] = notes
    path.write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    specs._manifest.cache_clear()
