"""Releases: the ONNX files, their configurations, and parity with PyTorch on rendered pages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="the package torch (extra 'train') is not installed")
pytest.importorskip("timm", reason="the package timm (extra 'train') is not installed")
onnx = pytest.importorskip("onnx", reason="the package onnx (extra 'export') is not installed")
pytest.importorskip("onnxscript", reason="the package onnxscript (extra 'export') is not installed")

from cardioscan.backends.inference import OnnxBackend  # noqa: E402
from cardioscan.backends.specs import SPECS, find_model_file  # noqa: E402
from cardioscan.errors import ModelError  # noqa: E402
from cardioscan.locate.views import letterbox  # noqa: E402
from cardioscan.networks.models import build_network  # noqa: E402
from cardioscan.synthesis.dataset import render_page  # noqa: E402
from cardioscan.synthesis.simulator import SimulatedSignals  # noqa: E402
from cardioscan.synthesis.views import source_thumbnail  # noqa: E402
from cardioscan.training.weights import load_released, save_checkpoint, save_pieces  # noqa: E402
from cardioscan_client.cli import main  # noqa: E402
from cardioscan_export.onnx_graph import FLOAT16_PREFIX  # noqa: E402
from cardioscan_export.release import export_network  # noqa: E402
from cardioscan_export.repository import config_pbtxt  # noqa: E402

# Largest and mean difference allowed between ONNX Runtime and PyTorch with the same float16-stored weights, in the unit
# of the output: uint8 counts, probability, px, squares. Offsets reach 7 px and the stages need them to 0.1 px.
TOLERANCE = {
    "label_probability": (3.0, 0.01),
    "point_probability": (3.0, 0.01),
    "row_coverage": (3.0, 0.01),
    "source_probability": (2e-3, 2e-4),
    "orientation_probability": (2e-3, 2e-4),
    "point_offset": (2e-2, 1e-3),
    "lattice_coordinate": (5e-3, 5e-4),
}


def rendered_input(name: str) -> np.ndarray:
    rendered = render_page(SimulatedSignals(2, seed=9).record(0), "clean", np.random.default_rng(2))
    if name == "waveform_extractor":
        image = rendered.image
    else:
        image, _ = letterbox(rendered.image)
        if name == "source_classifier":
            image = source_thumbnail(image)
    return np.ascontiguousarray(image.transpose(2, 0, 1))[None]


@pytest.mark.parametrize("name", list(SPECS))
def test_onnx_runtime_agrees_with_pytorch_on_a_rendered_page(name: str) -> None:
    network = build_network(name)
    load_released(name, network)
    image = rendered_input(name)
    with torch.inference_mode():
        expected = network.eval().serve(torch.from_numpy(image))
    expected = expected if isinstance(expected, tuple) else (expected,)
    answer = OnnxBackend(arithmetic="float32").infer(name, {SPECS[name].inputs[0].name: image})
    for tensor, reference in zip(SPECS[name].outputs, expected, strict=True):
        difference = np.abs(answer[tensor.name].astype(np.float64) - reference.numpy().astype(np.float64))
        largest, mean = TOLERANCE[tensor.name]
        assert difference.max() <= largest, tensor.name
        assert difference.mean() <= mean, tensor.name


@pytest.mark.parametrize("name", list(SPECS))
def test_released_graph_matches_its_spec_and_configuration(name: str) -> None:
    spec = SPECS[name]
    path = find_model_file(name)
    assert path is not None
    model = onnx.load(path)
    kinds = {"uint8": onnx.TensorProto.UINT8, "float32": onnx.TensorProto.FLOAT}
    for values, tensors in ((model.graph.input, spec.inputs), (model.graph.output, spec.outputs)):
        assert [value.name for value in values] == [tensor.name for tensor in tensors]
        for value, tensor in zip(values, tensors, strict=True):
            dims = value.type.tensor_type.shape.dim
            assert dims[0].dim_param, "the batch axis must be dynamic"
            assert tuple(dim.dim_value for dim in dims[1:]) == tensor.shape
            assert value.type.tensor_type.elem_type == kinds[tensor.dtype]
    weights = [item for item in model.graph.initializer if item.name.startswith(FLOAT16_PREFIX) and len(item.dims) > 1]
    assert weights and all(item.data_type == onnx.TensorProto.FLOAT16 for item in weights)
    assert (path.parent.parent / "config.pbtxt").read_text() == config_pbtxt(spec)
    text = model.SerializeToString()
    assert b".py" not in text, "no stack traces of the exporting machine"


@pytest.mark.parametrize("name", list(SPECS))
def test_configuration_states_the_tensors(name: str) -> None:
    spec = SPECS[name]
    config = config_pbtxt(spec)
    assert config.count("{") == config.count("}") and config.count("[") == config.count("]")
    for tensor in (*spec.inputs, *spec.outputs):
        assert f'name: "{tensor.name}"' in config
        assert f"dims: [ {', '.join(map(str, tensor.shape))} ]" in config
    assert "timeout_action: REJECT" in config and "versions: [ 1 ]" in config


def test_export_from_a_checkpoint_resumes_to_the_same_weights(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = build_network("label_detector")
    save_checkpoint(tmp_path / "last.pt", "label_detector", network, network, 7, {"labels_found": 0.5})
    manifest = tmp_path / "released.json"
    released = export_network("label_detector", tmp_path / "last.pt", tmp_path / "repository", manifest)
    assert released.bytes == released.path.stat().st_size and released.config.is_file()
    notes = json.loads(manifest.read_text())["label_detector"]
    assert notes["steps"] == 7 and notes["sha256"] == released.sha256
    again = build_network("label_detector")
    load_released("label_detector", again, released.path)
    for key, value in network.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.allclose(value, again.state_dict()[key], atol=1e-3, rtol=1e-3), key


def test_a_blend_lies_between_the_checkpoint_and_what_was_released(tmp_path: Path) -> None:
    name, repository, manifest = "label_detector", tmp_path / "repository", tmp_path / "released.json"
    states = []
    for seed in (3, 4):
        torch.manual_seed(seed)
        network = build_network(name)
        states.append(network.state_dict())
        save_checkpoint(tmp_path / f"{seed}.pt", name, network, network, seed, {})
    before = export_network(name, tmp_path / "3.pt", repository, manifest).sha256
    blended = export_network(name, tmp_path / "4.pt", repository, manifest, blend=0.25)
    notes = json.loads(manifest.read_text())[name]
    assert notes["blend"] == {"share": 0.25, "with": before} and notes["sha256"] == blended.sha256 != before
    again = build_network(name)
    load_released(name, again, blended.path)
    for key, value in again.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            expected = 0.75 * states[0][key] + 0.25 * states[1][key]
            assert torch.allclose(value, expected, atol=1e-3, rtol=1e-3), key


def test_there_must_be_something_to_blend_with(tmp_path: Path) -> None:
    network = build_network("label_detector")
    save_checkpoint(tmp_path / "last.pt", "label_detector", network, network, 7, {})
    arguments = ("label_detector", tmp_path / "last.pt", tmp_path / "repository", tmp_path / "released.json")
    with pytest.raises(ModelError, match="export without --blend"):
        export_network(*arguments, blend=0.5)
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        export_network(*arguments, blend=0.0)


def test_the_command_reads_a_folder_of_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_network("label_detector")
    save_pieces(tmp_path / "out", network.state_dict(), 9)
    package = tmp_path / "package"
    package.mkdir()
    monkeypatch.setattr("cardioscan.backends.specs.__file__", str(package / "specs.py"))  # where the manifest goes
    arguments = ["export", "label_detector", "--checkpoint", str(tmp_path / "out"), "-o", str(tmp_path / "repository")]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert json.loads((package / "released.json").read_text())["label_detector"]["steps"] == 9
    assert (tmp_path / "repository" / "label_detector" / "1" / "model.onnx").is_file()
