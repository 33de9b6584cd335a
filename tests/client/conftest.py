"""Real Triton servers for the tests of the client."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from cardioscan.backends.specs import SPECS, NetworkSpec
from cardioscan_client.serve import ServerOptions, TritonServer
from cardioscan_export.repository import RepositoryOptions, config_pbtxt, write_repository

ANY_PORTS = ServerOptions(grpc_port=0, http_port=0, metrics_port=0, start_timeout_s=300, exit_timeout_s=5)

# Stands in for the networks where a test is about the way to a server and not about what it computes: the same names
# and tensors, loaded at once. It answers with zeros after the seconds that the file `delay` beside it states,
# which a test may change while a request waits.
BLANK_MODEL = """
import json
import pathlib
import time

import numpy as np
import triton_python_backend_utils as pb_utils

TYPES = {"TYPE_UINT8": np.uint8, "TYPE_FP32": np.float32}


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.inputs, self.outputs = config["input"], config["output"]
        self.delay = pathlib.Path(args["model_repository"]) / "delay"
        self.begun = pathlib.Path(args["model_repository"]) / "begun"
        self.count = 0

    def execute(self, requests):
        answers = []
        self.count += len(requests)
        self.begun.write_text(str(self.count))
        for request in requests:
            started = time.monotonic()
            while time.monotonic() - started < float(self.delay.read_text() or "inf"):
                time.sleep(0.02)
            given = np.from_dlpack(pb_utils.get_input_tensor_by_name(request, self.inputs[0]["name"]))
            made = [
                pb_utils.Tensor.from_dlpack(
                    tensor["name"], np.zeros([len(given), *map(int, tensor["dims"])], TYPES[tensor["data_type"]])
                )
                for tensor in self.outputs
            ]
            answers.append(pb_utils.InferenceResponse(output_tensors=made))
        return answers
"""

WriteBlank = Callable[..., Path]


@pytest.fixture(scope="session")
def triton() -> None:
    """Skips where the server or its client is not installed."""
    for module, package in (("pytriton", "nvidia-pytriton"), ("tritonclient", "tritonclient (extra 'client')")):
        if find_spec(module) is None:
            pytest.skip(f"the package {package} is not installed")


@pytest.fixture(scope="session")
def server(triton: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A server with the released networks, one thread each."""
    repository = tmp_path_factory.mktemp("served")
    write_repository(repository, RepositoryOptions("cpu", threads=1, link=True))
    with TritonServer(repository, ANY_PORTS) as running:
        yield running


@pytest.fixture
def blank_repository(triton: None, tmp_path: Path) -> WriteBlank:
    """Writes a repository of blank models: ``write(specs={name: spec}, edits={old: new}, delay_s=0)``."""

    def write(
        specs: dict[str, NetworkSpec] | None = None, edits: dict[str, str] | None = None, delay_s: float = 0
    ) -> Path:
        folder = tmp_path / "blank"
        for name, spec in {**SPECS, **(specs or {})}.items():
            # Without the ONNX file's hash check and the warm-up, both of which only the real networks need.
            head, _, tail = config_pbtxt(spec, RepositoryOptions("cpu")).partition("model_warmup")
            text = head + tail[tail.index("\n]\n") + 3 :]
            for old, new in (edits or {}).items():
                assert old in text
                text = text.replace(old, new)
            version = text.split("versions: [ ")[1].split(" ]")[0]
            (folder / name / version).mkdir(parents=True)
            (folder / name / version / "model.py").write_text(BLANK_MODEL)
            (folder / name / "config.pbtxt").write_text(text)
            (folder / name / "delay").write_text(str(delay_s))
        return folder

    return write


@pytest.fixture
def any_ports() -> ServerOptions:
    """Options of a server that takes free ports."""
    return dataclasses.replace(ANY_PORTS)
