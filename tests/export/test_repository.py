"""The model repository in its three flavours: every config.pbtxt parsed and held against its ONNX graph."""

from __future__ import annotations

import json
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

text_format = pytest.importorskip("google.protobuf.text_format", reason="the package protobuf is not installed")
model_config_pb2 = pytest.importorskip(
    "tritonclient.grpc.model_config_pb2", reason="the package tritonclient (extra 'client') is not installed"
)
onnx = pytest.importorskip("onnx", reason="the package onnx (extra 'export') is not installed")
pytest.importorskip("onnxscript", reason="the package onnxscript (extra 'export') is not installed")

from cardioscan.backends.inference import limits_of  # noqa: E402
from cardioscan.backends.specs import DIGITIZER, SPECS, file_sha256, find_model_file  # noqa: E402
from cardioscan.errors import ModelError  # noqa: E402
from cardioscan_client.cli import main  # noqa: E402
from cardioscan_export.pbtxt import contract_differences  # noqa: E402
from cardioscan_export.repository import (  # noqa: E402
    FLAVOURS,
    RepositoryOptions,
    config_pbtxt,
    digitizer_config_pbtxt,
    max_batch,
    plan_name,
    write_repository,
)

ONNX_TYPES = {onnx.TensorProto.UINT8: "TYPE_UINT8", onnx.TensorProto.FLOAT: "TYPE_FP32"}
BACKENDS = {"onnxruntime": "onnxruntime", "tensorrt": "tensorrt", "cpu": "python"}


def model_file(name: str) -> Path:
    path = find_model_file(name)
    assert path is not None
    return path


@cache
def graph_tensors(name: str) -> tuple[dict[str, tuple[str, list[int]]], ...]:
    """Inputs and outputs of the released ONNX graph: type and shape without the batch axis, by name."""
    graph = onnx.load(model_file(name)).graph
    return tuple(
        {
            value.name: (
                ONNX_TYPES[value.type.tensor_type.elem_type],
                [dim.dim_value for dim in value.type.tensor_type.shape.dim][1:],
            )
            for value in values
        }
        for values in (graph.input, graph.output)
    )


def parsed(text: str) -> Any:
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def type_name(value: int) -> str:
    return str(model_config_pb2.DataType.Name(value))


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("name", list(SPECS))
def test_configuration_matches_its_onnx_graph(name: str, flavour: str) -> None:
    config = parsed(config_pbtxt(SPECS[name], RepositoryOptions(flavour)))
    assert (config.name, config.backend) == (name, BACKENDS[flavour])
    assert list(config.version_policy.specific.versions) == [SPECS[name].version]
    for tensors, graph in zip((config.input, config.output), graph_tensors(name), strict=True):
        assert {tensor.name: (type_name(tensor.data_type), list(tensor.dims)) for tensor in tensors} == graph
    assert config.parameters["sha256"].string_value == file_sha256(model_file(name))


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("name", list(SPECS))
def test_queue_is_bounded_and_every_batch_is_warmed_up(name: str, flavour: str) -> None:
    config = parsed(config_pbtxt(SPECS[name], RepositoryOptions(flavour)))
    largest = config.max_batch_size
    assert largest == max_batch(SPECS[name], flavour) and 1 <= largest <= SPECS[name].max_batch
    assert not config.dynamic_batching.preferred_batch_size
    policy = config.dynamic_batching.default_queue_policy
    assert policy.timeout_action == model_config_pb2.ModelQueuePolicy.REJECT
    assert policy.max_queue_size > 0 and policy.default_timeout_microseconds > 0 and policy.allow_timeout_override
    assert sorted(warmup.batch_size for warmup in config.model_warmup) == sorted({1, largest})
    for warmup in config.model_warmup:
        inputs = {key: (type_name(item.data_type), list(item.dims)) for key, item in warmup.inputs.items()}
        assert inputs == graph_tensors(name)[0]
    (group,) = config.instance_group
    kinds = model_config_pb2.ModelInstanceGroup
    assert group.kind == (kinds.KIND_CPU if flavour == "cpu" else kinds.KIND_GPU) and group.count == 1


@pytest.mark.parametrize("name", list(SPECS))
def test_tensorrt_accelerator_covers_every_batch(name: str) -> None:
    config = parsed(config_pbtxt(SPECS[name]))
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    (tensor,) = SPECS[name].inputs
    size = "x".join(map(str, tensor.shape))
    profile = {kind: accelerator.parameters[f"trt_profile_{kind}_shapes"] for kind in ("min", "max")}
    assert profile == {
        "min": f"{tensor.name}:1x{size}",
        "max": f"{tensor.name}:{config.max_batch_size}x{size}",
    }
    assert Path(accelerator.parameters["trt_engine_cache_path"]).is_absolute(), "never inside the repository"


def test_plans_are_named_by_gpu_and_tensorrt() -> None:
    options = RepositoryOptions("tensorrt", "float16", compute_capabilities=("7.5", "9.0"), tensorrt_version="10.9")
    config = parsed(config_pbtxt(SPECS["label_detector"], options, sha256="0123456789abcdef"))
    assert dict(config.cc_model_filenames) == {
        "7.5": "model-float16-01234567-cc7.5-trt10.9.plan",
        "9.0": "model-float16-01234567-cc9.0-trt10.9.plan",
    }
    assert config.parameters["precision"].string_value == "float16"


@pytest.mark.parametrize("name", list(SPECS))
def test_the_checkout_holds_the_flavour_for_gpus(name: str) -> None:
    assert (model_file(name).parent.parent / "config.pbtxt").read_text() == config_pbtxt(SPECS[name])


@pytest.mark.parametrize("link", [False, True])
def test_cpu_flavour_stands_on_its_own(tmp_path: Path, link: bool) -> None:
    for _ in range(2):  # written again, nothing changes
        written = write_repository(tmp_path, RepositoryOptions("cpu", threads=3, link=link))
    assert [model.name for model in written] == [*SPECS, DIGITIZER.name]
    for model in written[:-1]:
        files = model.folder / str(model.version)
        assert {path.name for path in files.iterdir()} == {
            "model.onnx",
            "model.py",
            "quantization.py",
            "limits.json",
        }
        assert (files / "model.onnx").is_symlink() is link
        assert file_sha256(files / "model.onnx") == SPECS[model.name].sha256
        for script in ("model.py", "quantization.py"):
            code = (files / script).read_text().split('"""', 2)[2]
            assert "import cardioscan" not in code and "from cardioscan" not in code, "it needs no CardioScan"
        limits = json.loads((files / "limits.json").read_text())
        assert limits == {name: list(pair) for name, pair in limits_of(model.name, SPECS[model.name].sha256).items()}
        assert parsed((model.folder / "config.pbtxt").read_text()).parameters["arithmetic"].string_value == "auto"
        assert parsed((model.folder / "config.pbtxt").read_text()).parameters["threads"].string_value == "3"
        assert not model.missing


# The pipeline as a model


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_pipeline_is_configured_as_its_spec_says(flavour: str) -> None:
    config = parsed(digitizer_config_pbtxt(RepositoryOptions(flavour, threads=3, digitizers=5)))
    assert (config.name, config.backend, config.max_batch_size) == (DIGITIZER.name, "python", 0)
    assert list(config.version_policy.specific.versions) == [DIGITIZER.version]
    types = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}
    for tensors, specs in ((config.input, DIGITIZER.inputs), (config.output, DIGITIZER.outputs)):
        served = [(tensor.name, type_name(tensor.data_type), tuple(tensor.dims)) for tensor in tensors]
        assert served == [(spec.name, types[spec.dtype], spec.shape) for spec in specs]
    policy = config.dynamic_batching.default_queue_policy
    assert policy.timeout_action == model_config_pb2.ModelQueuePolicy.REJECT
    assert policy.max_queue_size > 0 and policy.default_timeout_microseconds > 0 and policy.allow_timeout_override
    assert not config.model_transaction_policy.decoupled
    (group,) = config.instance_group
    assert (group.kind, group.count) == (model_config_pb2.ModelInstanceGroup.KIND_CPU, 5)
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    assert parameters["threads"] == "3" and parameters["released_networks"] == "yes"
    assert int(parameters["max_bytes"]) == DIGITIZER.max_bytes


def test_the_checkout_holds_the_pipeline(tmp_path: Path) -> None:
    held = model_file("label_detector").parents[2] / DIGITIZER.name
    write_repository(tmp_path)
    files = [path for path in (tmp_path / DIGITIZER.name).rglob("*") if path.is_file()]
    assert len(files) == 2
    for path in files:
        assert (held / path.relative_to(tmp_path / DIGITIZER.name)).read_text() == path.read_text()


def test_the_pipeline_can_be_left_out(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main, ["repository", "--flavour", "cpu", "--link", "--digitizers", "0", "-o", str(tmp_path)]
    )
    assert result.exit_code == 0, result.output
    assert {path.name for path in tmp_path.iterdir()} == set(SPECS)


@pytest.mark.parametrize(
    ("old", "new", "differences"),
    [
        ("", "", []),
        ("input [", "input  [  # a remark\n", []),
        ("count: 1", "count: 4", []),
        ("versions: [ 1 ]", "versions: [ 2 ]", ["version"]),
        ('name: "page"', 'name: "image"', ["input"]),
        ("dims: [ 8 ]", "dims: [ 9 ]", ["output"]),
        ('key: "sha256" value { string_value: "', 'key: "sha256" value { string_value: "0', ["weights"]),
    ],
)
def test_differences_of_a_configuration_are_named(old: str, new: str, differences: list[str]) -> None:
    spec = SPECS["label_detector"]
    text = config_pbtxt(spec)
    assert old in text
    text = text.replace(old, new, 1) if "name" not in old else text.replace(old, new)
    assert contract_differences(spec, text) == differences
    assert contract_differences(spec, text, weights=False) == [item for item in differences if item != "weights"]


def test_missing_plans_are_told_with_what_builds_them(tmp_path: Path, ready_variants: None) -> None:
    arguments = ("repository", "--flavour", "tensorrt", "--compute-capability", "8.9", "--tensorrt-version", "10.9")
    arguments = (*arguments, "--precision", "float16", "-o", str(tmp_path / "served here"))
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    spec = SPECS["grid_rectifier"]
    folder = tmp_path / "served here" / spec.name / "1"
    plan, graph = folder / plan_name("8.9", "10.9", "float16", spec.sha256), folder / "model.float16.onnx"
    calls = [shlex.split(line) for line in result.output.splitlines() if line.startswith("trtexec ")]
    (call,) = (call for call in calls if f"--saveEngine={plan}" in call)
    assert f"--onnx={graph}" in call and "--maxShapes=page:8x3x1152x1440" in call and "--stronglyTyped" in call
    assert onnx.TensorProto.FLOAT16 in {item.data_type for item in onnx.load(graph).graph.initializer}
    for call in calls:
        Path(call[2].removeprefix("--saveEngine=")).write_bytes(b"built")
    again = CliRunner().invoke(main, arguments)
    assert "trtexec" not in again.output and plan.read_bytes() == b"built"


def test_onnx_runtime_is_given_float16_where_asked(tmp_path: Path, ready_variants: None) -> None:
    write_repository(tmp_path, RepositoryOptions(precision="float16"))
    for name in SPECS:
        served = onnx.load(tmp_path / SPECS[name].file).graph
        assert onnx.TensorProto.FLOAT16 in {item.data_type for item in served.initializer}
        config = parsed((tmp_path / name / "config.pbtxt").read_text())
        assert contract_differences(SPECS[name], (tmp_path / name / "config.pbtxt").read_text()) == []
        (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
        assert accelerator.parameters["precision_mode"] == "FP16"
        assert accelerator.parameters["trt_engine_cache_path"].endswith(f"{name}-float16")
        assert config.parameters["precision"].string_value == "float16"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (RepositoryOptions("cpu", "float16"), "a CPU has no faster float16"),
        (RepositoryOptions("tensorrt", "int8"), "unknown precision 'int8'; known are float32, float16"),
    ],
)
def test_precisions_that_are_not_served(options: RepositoryOptions, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        write_repository(tmp_path, options)


def test_the_released_files_are_not_overwritten_by_another_flavour(tmp_path: Path) -> None:
    write_repository(tmp_path)
    before = (tmp_path / "label_detector" / "config.pbtxt").read_text()
    with pytest.raises(ModelError, match="into another folder"):
        write_repository(tmp_path, RepositoryOptions("cpu"), models=tmp_path)
    assert (tmp_path / "label_detector" / "config.pbtxt").read_text() == before


def test_an_unknown_flavour_and_a_damaged_network_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="known are onnxruntime, tensorrt, cpu"):
        write_repository(tmp_path, RepositoryOptions("vanilla"))
    for name, spec in SPECS.items():
        path = tmp_path / "models" / spec.file
        path.parent.mkdir(parents=True)
        path.write_bytes(name.encode())
    with pytest.raises(ModelError, match="SHA-256"):
        write_repository(tmp_path / "out", RepositoryOptions("cpu"), models=tmp_path / "models")
