"""``TritonBackend`` over a real server: the same answer as embedded, and typed errors for all that can go wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cardioscan.backends.inference import InferenceBackend, OnnxBackend
from cardioscan.backends.specs import SPECS, TensorSpec
from cardioscan.errors import (
    CardioscanError,
    DeadlineExceededError,
    MissingDependencyError,
    ModelContractError,
    ModelError,
    ServerOverloadedError,
    ServerUnavailableError,
)
from cardioscan.formats import read_signals
from cardioscan.pipeline import Digitizer, DigitizerOptions
from cardioscan_client.cli import main
from cardioscan_client.connection import TritonOptions, message_limit
from cardioscan_client.deadline import page_deadline
from cardioscan_client.page_runner import BatchOptions, PageJob, PageRunner
from cardioscan_client.serve import ServerOptions, TritonServer
from cardioscan_client.triton import ServedDigitizer, TritonBackend

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "page-photo.jpg"
NOBODY = "127.0.0.1:9"
WriteBlank = Callable[..., Path]


def thumbnail(n: int = 1) -> dict[str, np.ndarray]:
    shape = (n, *SPECS["source_classifier"].inputs[0].shape)
    return {"thumbnail": np.random.default_rng(n).integers(0, 256, shape, dtype=np.uint8)}


@pytest.fixture
def backend(server: TritonServer) -> Iterator[TritonBackend]:
    with TritonBackend(server.grpc_address) as connected:
        yield connected


@pytest.fixture
def blank_server(blank_repository: WriteBlank, any_ports: ServerOptions) -> Iterator[TritonServer]:
    """A server of blank models; its networks take as long as their file ``delay`` says."""
    with TritonServer(blank_repository(), any_ports) as running:
        yield running


def set_delay(server: TritonServer, seconds: float) -> None:
    for name in SPECS:
        (server.repository / name / "delay").write_text(str(seconds))


def digitize(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["digitize", *map(str, arguments)])
    assert "Traceback" not in result.output
    return result


# The same answer


def test_a_page_gives_the_same_signals_embedded_and_served(server: TritonServer, tmp_path: Path) -> None:
    embedded = Digitizer(options=DigitizerOptions(threads=1)).digitize(EXAMPLE)
    result = digitize(EXAMPLE, "--server", server.grpc_address, "--timeout", 600, "--format", "npz", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    served = read_signals(tmp_path / "page-photo.npz").signals
    np.testing.assert_array_equal(np.isnan(served), np.isnan(embedded.signals))
    np.testing.assert_allclose(served, embedded.signals, atol=1e-3, rtol=0)
    models = json.loads((tmp_path / "page-photo.json").read_text())["models"]
    assert {model["name"]: model["sha256"] for model in models} == {name: SPECS[name].sha256 for name in SPECS}


def test_a_batch_is_answered_page_by_page(backend: TritonBackend) -> None:
    inputs = thumbnail(2)
    served = backend.infer("source_classifier", inputs)["source_probability"]
    embedded = OnnxBackend(threads=1)
    for page in range(2):
        alone = embedded.infer("source_classifier", {"thumbnail": inputs["thumbnail"][page : page + 1]})
        np.testing.assert_allclose(served[page], alone["source_probability"][0], atol=1e-6)


def test_it_is_an_inference_backend_that_says_which_weights_answered(backend: TritonBackend) -> None:
    assert isinstance(backend, InferenceBackend)
    assert backend.model_versions() == {}
    backend.infer("source_classifier", thumbnail())
    assert backend.model_versions() == {"source_classifier": ("1", SPECS["source_classifier"].sha256)}


def test_wrong_inputs_are_named_before_they_are_sent(backend: TritonBackend) -> None:
    with pytest.raises(ModelError, match="must be uint8"):
        backend.infer("source_classifier", {"thumbnail": np.zeros((1, 3, 10, 10), np.uint8)})


def test_messages_may_be_as_large_as_the_largest_batch() -> None:
    assert message_limit() > 4 * 4 * 1700 * 2200


# Other models than this client was made for


def other_shape() -> dict[str, object]:
    spec = SPECS["grid_rectifier"]
    outputs = (dataclasses.replace(spec.outputs[0], shape=(144, 180)), *spec.outputs[1:])
    return {"specs": {"grid_rectifier": dataclasses.replace(spec, outputs=outputs)}}


def further_input() -> dict[str, object]:
    spec = SPECS["label_detector"]
    inputs = (*spec.inputs, TensorSpec("template", "uint8", (1,)))
    return {"specs": {"label_detector": dataclasses.replace(spec, inputs=inputs)}}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (other_shape(), r"'point_probability' is UINT8 \(batch, 144, 180\), not UINT8 \(batch, 288, 360\)"),
        (further_input(), "input 'template' is unknown"),
        ({"edits": {"versions: [ 1 ]": "versions: [ 2 ]"}}, "source_classifier.*version 1 is not found.*Wanted are"),
        ({"edits": {'key: "sha256" value { string_value: "': 'key: "sha256" value { string_value: "0'}}, "weights are"),
    ],
    ids=["output shape", "further input", "version", "weights"],
)
def test_other_models_are_refused_at_once(
    blank_repository: WriteBlank, any_ports: ServerOptions, changes: dict[str, object], sentence: str
) -> None:
    with TritonServer(blank_repository(**changes), any_ports) as running:
        with pytest.raises(ModelContractError, match=sentence):
            TritonBackend(running.grpc_address)


# Servers that do not answer, or not in time


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (TritonOptions(NOBODY), "no server answers .*Start one with 'cardioscan serve'"),
        (TritonOptions("no.such.host.invalid:8001"), "no server answers"),
        (TritonOptions("http://localhost:8001"), "write HOST:PORT"),
        (TritonOptions("localhost"), "write HOST:PORT"),
        (TritonOptions(NOBODY, ca_file="nowhere.pem"), "nowhere.pem does not exist"),
    ],
)
def test_a_server_that_is_not_there(triton: None, options: TritonOptions, sentence: str) -> None:
    with pytest.raises(ServerUnavailableError, match=sentence):
        TritonBackend(options)


def test_the_command_says_that_no_server_answers(triton: None, tmp_path: Path) -> None:
    result = digitize(EXAMPLE, "--server", NOBODY, "-o", tmp_path)
    assert result.exit_code == 2
    assert f"at {NOBODY}: no server answers" in result.output


def test_a_missing_client_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tritonclient.grpc", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'cardioscan\[client\]'"):
        TritonBackend(NOBODY)


def test_a_deadline_that_is_too_short(blank_server: TritonServer, tmp_path: Path) -> None:
    set_delay(blank_server, 1.0)
    backend = TritonBackend(blank_server.grpc_address)
    with page_deadline(0.3), pytest.raises(DeadlineExceededError, match="source_classifier.*not done within 0.3 s"):
        backend.infer("source_classifier", thumbnail())
    with page_deadline(0), pytest.raises(DeadlineExceededError):
        backend.infer("source_classifier", thumbnail())
    hasty = TritonOptions(blank_server.grpc_address, page_timeout_s=0.3)
    with pytest.raises(DeadlineExceededError, match="within 0.3 s"):
        ServedDigitizer(hasty).digitize(EXAMPLE)
    # In a batch it is the trouble of that page alone.
    result = PageRunner(BatchOptions(tmp_path, server=hasty)).run(PageJob(EXAMPLE, "page"))
    assert [reason.code for reason in result.reasons] == ["deadline_exceeded"]
    set_delay(blank_server, 0)
    assert backend.infer("source_classifier", thumbnail())["source_probability"].shape == (1, 12)


def test_an_overloaded_server_rejects_some_and_serves_the_others(
    blank_repository: WriteBlank, any_ports: ServerOptions
) -> None:
    repository = blank_repository(edits={"max_queue_size: 16": "max_queue_size: 1"}, delay_s=0.7)
    outcomes: list[object] = []
    with TritonServer(repository, any_ports) as running:
        backend = TritonBackend(running.grpc_address)

        def ask() -> None:
            try:
                outcomes.append(backend.infer("source_classifier", thumbnail())["source_probability"].shape)
            except CardioscanError as error:
                outcomes.append(type(error))

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        set_delay(running, 0)
        assert backend.infer("source_classifier", thumbnail()), "it goes on serving"
    assert len(outcomes) == 16
    assert set(outcomes) == {(1, 12), ServerOverloadedError}


def test_a_server_that_is_restarted_is_waited_for(blank_server: TritonServer) -> None:
    backend = TritonBackend(blank_server.grpc_address)
    assert blank_server.pid is not None
    again = TritonServer(blank_server.repository, blank_server.options)
    os.kill(blank_server.pid, signal.SIGKILL)
    blank_server.stop()
    starter = threading.Timer(0.5, again.start)
    starter.start()
    try:
        answer = backend.infer("source_classifier", thumbnail())
        assert answer["source_probability"].shape == (1, 12)
    finally:
        starter.join()
        again.stop()


def test_a_server_that_does_not_come_back_is_an_error(blank_server: TritonServer) -> None:
    backend = TritonBackend(TritonOptions(blank_server.grpc_address, reconnect_s=0.5))
    assert backend.ready()
    blank_server.stop()
    assert not backend.ready()
    with pytest.raises(ServerUnavailableError, match="no server answers"):
        backend.infer("source_classifier", thumbnail())


def test_a_network_that_has_died_is_told(blank_server: TritonServer) -> None:
    psutil = pytest.importorskip("psutil", reason="the package psutil (extra 'test') is not installed")
    backend = TritonBackend(blank_server.grpc_address)
    for child in psutil.Process(blank_server.pid).children(recursive=True):
        child.kill()
    with pytest.raises(ServerUnavailableError, match="Restart the server"):
        backend.infer("source_classifier", thumbnail())


# Encryption and tokens


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the program openssl to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    files = (folder / "server.pem", folder / "server.key")
    command = (
        f"{openssl} req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run([*command.split(), "-out", str(files[0]), "-keyout", str(files[1])], check=True, capture_output=True)
    return files


def test_encryption_and_token(
    blank_repository: WriteBlank, any_ports: ServerOptions, certificate: tuple[Path, Path]
) -> None:
    pem, key = certificate
    arguments = (
        "--grpc-use-ssl=true",
        f"--grpc-server-cert={pem}",
        f"--grpc-server-key={key}",
        "--grpc-restricted-protocol=inference,metadata,model-config:token=sesame",
    )
    with TritonServer(blank_repository(), dataclasses.replace(any_ports, arguments=arguments)) as running:
        address = running.grpc_address
        with TritonBackend(TritonOptions(address, ca_file=pem, token="sesame")) as backend:
            assert backend.infer("source_classifier", thumbnail())["source_probability"].shape == (1, 12)
        for token in (None, "open"):
            with pytest.raises(ServerUnavailableError, match="wants a password.*Give the token"):
                TritonBackend(TritonOptions(address, ca_file=pem, token=token))
        with pytest.raises(ServerUnavailableError, match="do not agree on encryption"):
            TritonBackend(TritonOptions(address, tls=True))
        with pytest.raises(ServerUnavailableError):
            TritonBackend(TritonOptions(address))
