"""Building plans, with programs that stand in for trtexec and nvidia-smi: no GPU is here."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("onnx", reason="the package onnx (extra 'export') is not installed")
pytest.importorskip("onnxscript", reason="the package onnxscript (extra 'export') is not installed")

from cardioscan.backends.specs import SPECS  # noqa: E402
from cardioscan.errors import EngineError  # noqa: E402
from cardioscan_client.cli import main  # noqa: E402
from cardioscan_export.engines import Machine, build_plans, find_machine, for_machine, version_of  # noqa: E402
from cardioscan_export.repository import RepositoryOptions, WrittenModel  # noqa: E402

BANNER = "&&&& RUNNING TensorRT.trtexec [TensorRT v100900] [b34] # trtexec --help"
TRTEXEC = """#!{python}
import json, pathlib, sys
options = dict(item.partition("=")[::2] for item in sys.argv[1:])
print({banner!r})
if "--help" not in options:
    with open({calls!r}, "a") as file:
        print(json.dumps(options), file=file)
    if {fails}:
        print("[E] Error Code 4: no kernel")
        sys.exit({fails})
    assert pathlib.Path(options["--onnx"]).is_file()
    pathlib.Path(options["--saveEngine"]).write_bytes(b"plan")
    pathlib.Path(options["--timingCacheFile"]).write_bytes(b"timings")
"""
SMI = "#!/bin/sh\n[ -n '{gpu}' ] && echo '{gpu}' || echo 'No devices were found'\n"


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs, alone on the PATH; returns the file in which trtexec's calls are kept."""
    set_up(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return tmp_path / "calls"


def set_up(folder: Path, gpu: str = "8.9, NVIDIA L4", fails: int = 0, banner: str = BANNER) -> None:
    values = {"python": sys.executable, "calls": str(folder / "calls"), "fails": fails, "banner": banner}
    program(folder / "bin" / "trtexec", TRTEXEC.format(**values))
    program(folder / "bin" / "nvidia-smi", SMI.format(gpu=gpu))


def calls(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


@pytest.mark.parametrize(
    ("number", "version"), [(8601, "8.6.1"), (8500, "8.5"), (100900, "10.9"), (101501, "10.15.1"), (110000, "11.0")]
)
def test_versions_of_the_banner(number: int, version: str) -> None:
    assert version_of(number) == version


def test_one_command_builds_what_is_missing_for_this_gpu(machine: Path, tmp_path: Path, ready_variants: None) -> None:
    arguments = ["repository", "--flavour", "tensorrt", "--precision", "float16", "--build", "--digitizers", "0"]
    arguments += ["--engine-cache", str(tmp_path / "cache"), "-o", str(tmp_path / "served")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert [Path(call["--onnx"]).parts[-3] for call in calls(machine)] == list(SPECS)
    for name, spec in SPECS.items():
        (plan,) = (tmp_path / "served" / name / str(spec.version)).glob("*.plan")
        assert plan.name == f"model-float16-{spec.sha256[:8]}-cc8.9-trt10.9.plan" and plan.read_bytes() == b"plan"
        config = (tmp_path / "served" / name / "config.pbtxt").read_text()
        assert f'cc_model_filenames {{ key: "8.9" value: "{plan.name}" }}' in config
        assert (tmp_path / "cache" / f"{name}.timings").is_file()
        assert "$ trtexec --onnx=" in (tmp_path / "cache" / f"{name}.log").read_text()
    assert not list((tmp_path / "served").rglob("*.new"))
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert len(calls(machine)) == len(SPECS), "what is there is not built again"


def missing(folder: Path, plan: str) -> list[WrittenModel]:
    (folder / "model.float32.onnx").write_bytes(b"graph")
    return [WrittenModel("label_detector", 1, folder, (folder / plan,), folder / "model.float32.onnx")]


def test_a_failed_build_leaves_nothing_and_tells_what_was_said(machine: Path, tmp_path: Path) -> None:
    set_up(tmp_path, fails=3)
    here = find_machine()
    assert (here.tensorrt_version, here.compute_capability, here.gpu) == ("10.9", "8.9", "NVIDIA L4")
    written = missing(tmp_path, "model-float32-8a703f05-cc8.9-trt10.9.plan")
    with pytest.raises(EngineError, match=r"(?s)label_detector: trtexec ended with status 3 .*Error Code 4: no kernel"):
        build_plans(written, here, tmp_path / "cache")
    assert not list(tmp_path.glob("*.plan*"))


def test_a_plan_for_another_gpu_is_not_built(machine: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="build it on its own GPU"):
        build_plans(missing(tmp_path, "model-float32-8a703f05-cc7.5-trt10.9.plan"), find_machine(), tmp_path / "cache")
    assert calls(machine) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gpu": ""}, "nvidia-smi names no GPU: No devices were found"),
        ({"banner": "trtexec"}, "does not say which TensorRT it belongs to"),
    ],
)
def test_a_machine_that_does_not_say_what_it_is(
    machine: Path, tmp_path: Path, change: dict[str, str], message: str
) -> None:
    set_up(tmp_path, **change)
    with pytest.raises(EngineError, match=message):
        find_machine()


def test_a_machine_without_tensorrt_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("cardioscan_export.engines.TRTEXEC_PLACES", ())
    result = CliRunner().invoke(main, ["repository", "--flavour", "tensorrt", "--build", "-o", str(tmp_path / "out")])
    assert result.exit_code == 2 and "trtexec was not found on the PATH" in result.output
    assert not (tmp_path / "out").exists()
    program(tmp_path / "trtexec", "#!/bin/sh\necho 'TensorRT v100900'\n")
    with pytest.raises(EngineError, match="nvidia-smi cannot be run"):
        find_machine()


def test_build_is_for_the_gpu_found_here(tmp_path: Path) -> None:
    for arguments in (["--flavour", "cpu"], ["--flavour", "tensorrt", "--compute-capability", "9.0"]):
        result = CliRunner().invoke(main, ["repository", *arguments, "--build", "-o", str(tmp_path / "out")])
        assert result.exit_code == 2 and "--build is for the flavour tensorrt" in result.output
    options = for_machine(RepositoryOptions(precision="float16"), Machine("trtexec", "10.15.1", "7.5", "Tesla T4"))
    assert (options.flavour, options.precision) == ("tensorrt", "float16")
    assert (options.compute_capabilities, options.tensorrt_version) == (("7.5",), "10.15.1")
