from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cardioscan.backends.inference import OnnxBackend
from cardioscan.backends.specs import SPECS
from cardioscan.errors import ModelError
from cardioscan_client.cli import main
from cardioscan_client.doctor import NOTE, OK, TROUBLE, engine, gpu, networks, packages, probe
from cardioscan_client.serve import TritonServer

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = [
    "numpy>=1.26",
    "scipy>=1.13",
    'fastapi>=0.115; extra == "web"',
    "uvicorn; extra == 'web'",
    'tritonclient[grpc]>=2.50; extra == "client"',
    'cardioscan[client,web]; extra == "all"',
    'pytest; extra == "test"',
]


@pytest.mark.parametrize(
    ("installed", "states", "words"),
    [
        ({"numpy", "scipy", "fastapi", "uvicorn", "tritonclient"}, {OK}, []),
        ({"numpy", "scipy", "fastapi"}, {OK, NOTE}, ["pip install 'cardioscan[web]'", "missing: uvicorn"]),
        ({"numpy"}, {TROUBLE, NOTE}, ["pip install scipy"]),
    ],
)
def test_missing_packages_are_named_with_what_brings_them(
    installed: set[str], states: set[str], words: list[str]
) -> None:
    found = list(packages(REQUIREMENTS, lambda name: "1.0" if name in installed else None))
    assert {finding.state for finding in found} == states
    assert [finding.subject for finding in found] == ["packages", "extra client", "extra web"]
    text = " ".join(finding.said + finding.advice for finding in found)
    assert all(word in text for word in words)


def test_the_released_networks_are_found_and_damaged_or_missing_ones_named(tmp_path: Path) -> None:
    assert all(finding.state == OK for finding in networks(None))
    damaged = tmp_path / SPECS["label_detector"].file
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"half of it")
    states = {finding.subject: finding for finding in networks(tmp_path)}
    assert {finding.state for finding in states.values()} == {TROUBLE}
    assert "SHA-256" in states["label_detector"].said and "is missing" in states["grid_rectifier"].said


@pytest.mark.parametrize(
    ("providers", "driver", "state"),
    [
        (["CPUExecutionProvider"], False, OK),
        (["CPUExecutionProvider"], True, NOTE),
        (["CUDAExecutionProvider", "CPUExecutionProvider"], True, OK),
    ],
)
def test_a_gpu_that_lies_idle_is_pointed_out(providers: list[str], driver: bool, state: str) -> None:
    assert gpu(providers, driver).state == state


class Answering:
    """A backend whose network answers with one number everywhere."""

    def __init__(self, value: float) -> None:
        self.value = value

    def infer(self, model: str, inputs: object) -> dict[str, np.ndarray]:
        if np.isinf(self.value):
            raise ModelError("it does not fit")
        return {"source_probability": np.full((1, 12), self.value, np.float32)}

    def model_versions(self) -> dict[str, tuple[str, str]]:
        return {}


@pytest.mark.parametrize(
    ("value", "state"), [(1 / 12, OK), (0.5, TROUBLE), (float("nan"), TROUBLE), (float("inf"), TROUBLE)]
)
def test_a_network_must_answer_with_probabilities(value: float, state: str) -> None:
    assert probe("runtime", lambda: Answering(value)).state == state


def test_the_real_runtime_answers() -> None:
    assert probe("runtime", lambda: OnnxBackend(threads=1)).state == OK


def test_the_command_prints_findings_and_its_status_says_whether_pages_can_be_digitized(tmp_path: Path) -> None:
    healthy = CliRunner().invoke(main, ["doctor", "--json"])
    findings = [json.loads(line) for line in healthy.output.splitlines()]
    assert healthy.exit_code == 0
    assert {"cardioscan", "packages", "runtime", *SPECS} <= {finding["subject"] for finding in findings}
    shutil.copytree(ROOT / "model_repository" / "label_detector", tmp_path / "label_detector")
    ill = CliRunner().invoke(main, ["doctor", "--models", str(tmp_path)])
    assert ill.exit_code == 1
    assert "trouble waveform_extractor" in ill.output and "-> " in ill.output


def test_a_served_network_answers(server: TritonServer) -> None:
    result = CliRunner().invoke(main, ["doctor", "--server", server.grpc_address, "--json"])
    findings = {finding["subject"]: finding for finding in map(json.loads, result.output.splitlines())}
    assert result.exit_code == 0 and server.grpc_address in findings["server"]["said"]


def test_a_server_that_is_not_there_is_trouble() -> None:
    pytest.importorskip("tritonclient.grpc")
    result = CliRunner().invoke(main, ["doctor", "--server", "127.0.0.1:9", "--timeout", "1", "--json"])
    findings = {finding["subject"]: finding for finding in map(json.loads, result.output.splitlines())}
    assert result.exit_code == 1 and findings["server"]["state"] == TROUBLE
    assert "127.0.0.1:9" in findings["server"]["said"]


@pytest.mark.parametrize(("chosen", "state"), [("openvino", OK), ("onnxruntime", NOTE)])
def test_a_slower_engine_than_need_be_is_pointed_out(chosen: str, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cardioscan_client.doctor.choose_engine", lambda: chosen)
    monkeypatch.setattr("cardioscan_client.doctor._providers", lambda: ["CPUExecutionProvider"])
    assert engine().state == state
    assert ("cardioscan[openvino]" in engine().advice) == (state == NOTE)
