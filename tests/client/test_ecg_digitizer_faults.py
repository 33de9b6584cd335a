"""``ecg_digitizer`` before networks that are slow, full, dead or of another release: typed errors, no harm done."""

from __future__ import annotations

import dataclasses
import io
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cardioscan.backends.specs import DIGITIZER, SPECS
from cardioscan.errors import (
    DeadlineExceededError,
    ModelContractError,
    ServerOverloadedError,
    ServerStartError,
    ServerUnavailableError,
    ServingError,
)
from cardioscan_client.connection import TritonOptions
from cardioscan_client.faults import Cause, classify
from cardioscan_client.remote import RemoteDigitizer
from cardioscan_client.serve import ServerOptions, TritonServer
from cardioscan_export.repository import RepositoryOptions, write_digitizer

WriteBlank = Callable[..., Path]


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((640, 480), 40).save(buffer, "PNG")
    return buffer.getvalue()


PICTURE = picture()


def set_delay(repository: Path, seconds: float) -> None:
    for name in SPECS:
        (repository / name / "delay").write_text(str(seconds))


@contextmanager
def serving(
    repository: Path, ports: ServerOptions, digitizers: int = 1, edits: dict[str, str] | None = None
) -> Iterator[TritonServer]:
    """A server of blank networks, which find nothing on any page, behind the real ``ecg_digitizer``."""
    config = write_digitizer(repository, RepositoryOptions("cpu", threads=1, digitizers=digitizers)).folder
    text = (config / "config.pbtxt").read_text()
    for old, new in (edits or {}).items():
        assert old in text
        text = text.replace(old, new)
    (config / "config.pbtxt").write_text(text)
    with TritonServer(repository, ports) as running:
        yield running


def outcome(digitizer: RemoteDigitizer) -> str:
    """Reason of the refusal, or the class of the error."""
    try:
        return digitizer.digitize(PICTURE).reasons[0].code
    except ServingError as error:
        return type(error).__name__


def ask_at_once(digitizer: RemoteDigitizer, n_pages: int) -> Counter[str]:
    """What came of pages that were sent at once."""
    outcomes: list[str] = []
    threads = [threading.Thread(target=lambda: outcomes.append(outcome(digitizer))) for _ in range(n_pages)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Counter(outcomes)


def test_a_deadline_ends_the_page_and_nothing_else(blank_repository: WriteBlank, any_ports: ServerOptions) -> None:
    grpc = pytest.importorskip("tritonclient.grpc", reason="the package tritonclient (extra 'client') is not installed")
    with serving(blank_repository(delay_s=1), any_ports) as server:
        # The caller gives up, and the page is cancelled.
        with RemoteDigitizer(TritonOptions(server.grpc_address, page_timeout_s=0.3)) as hasty:
            with pytest.raises(DeadlineExceededError, match="not done within 0.3 s"):
                hasty.digitize(PICTURE)
        # The caller waits for longer than it said.
        image = np.frombuffer(PICTURE, np.uint8)
        tensor = grpc.InferInput("image", [len(image)], "UINT8")
        tensor.set_data_from_numpy(image)
        with (
            grpc.InferenceServerClient(server.grpc_address) as client,
            pytest.raises(grpc.InferenceServerException) as caught,
        ):
            client.infer(DIGITIZER.name, [tensor], timeout=1_500_000)
        assert "deadline_exceeded: " in str(caught.value) or "Request timeout expired" in str(caught.value)
        set_delay(server.repository, 0)
        with RemoteDigitizer(server.grpc_address) as digitizer:
            assert outcome(digitizer) == "no_labels_found"


def test_a_full_queue_rejects_some_and_serves_the_others(
    blank_repository: WriteBlank, any_ports: ServerOptions
) -> None:
    with serving(blank_repository(delay_s=0.1), any_ports, edits={"max_queue_size: 16": "max_queue_size: 1"}) as server:
        with RemoteDigitizer(server.grpc_address) as digitizer:
            outcomes = ask_at_once(digitizer, 12)
            assert sum(outcomes.values()) == 12
            assert set(outcomes) == {"no_labels_found", ServerOverloadedError.__name__}
            set_delay(server.repository, 0)
            assert outcome(digitizer) == "no_labels_found"


def test_a_full_queue_of_a_network_is_overload_too(
    blank_repository: WriteBlank, any_ports: ServerOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cardioscan_client.triton_client.MAX_RETRIES", 0)
    repository = blank_repository(edits={"max_queue_size: 16": "max_queue_size: 1"}, delay_s=0.2)
    with serving(repository, any_ports, digitizers=4) as server, RemoteDigitizer(server.grpc_address) as digitizer:
        outcomes = ask_at_once(digitizer, 4)
    assert outcomes[ServerOverloadedError.__name__] > 0 and outcomes["no_labels_found"] > 0
    assert sum(outcomes.values()) == outcomes[ServerOverloadedError.__name__] + outcomes["no_labels_found"]


def test_a_network_that_has_died_is_told(blank_repository: WriteBlank, any_ports: ServerOptions) -> None:
    psutil = pytest.importorskip("psutil", reason="the package psutil (extra 'test') is not installed")
    with serving(blank_repository(), any_ports) as server, RemoteDigitizer(server.grpc_address) as digitizer:
        for child in psutil.Process(server.pid).children(recursive=True):
            if any("source_classifier" in part for part in child.cmdline()):
                child.kill()
        with pytest.raises(ServerUnavailableError, match="Restart the server"):
            digitizer.digitize(PICTURE)
        assert [reason.code for reason in digitizer.digitize(b"").reasons] == ["empty_file"], "it goes on"


def test_networks_of_another_release_do_not_start(blank_repository: WriteBlank, any_ports: ServerOptions) -> None:
    spec = SPECS["grid_rectifier"]
    outputs = (dataclasses.replace(spec.outputs[0], shape=(144, 180)), *spec.outputs[1:])
    repository = blank_repository(specs={"grid_rectifier": dataclasses.replace(spec, outputs=outputs)})
    with pytest.raises(ServerStartError, match="grid_rectifier/config.pbtxt is not of the release.*: output"):
        with serving(repository, any_ports):
            pass


def test_an_answer_that_breaks_the_contract_is_an_error_of_that_page(
    blank_repository: WriteBlank, any_ports: ServerOptions
) -> None:
    repository = blank_repository()
    model = repository / "source_classifier" / "1" / "model.py"
    model.write_text(model.read_text().replace('*map(int, tensor["dims"])]', '*map(int, tensor["dims"]), 1]'))
    with serving(repository, any_ports) as server, RemoteDigitizer(server.grpc_address) as digitizer:
        with pytest.raises(ServingError, match="internal_error: source_classifier: output 'source_probability' is"):
            digitizer.digitize(PICTURE)
        assert [reason.code for reason in digitizer.digitize(b"").reasons] == ["empty_file"]


def test_a_server_without_the_pipeline_is_told(blank_repository: WriteBlank, any_ports: ServerOptions) -> None:
    with TritonServer(blank_repository(), any_ports) as server:
        with pytest.raises(ModelContractError, match=f"does not serve {DIGITIZER.name} version 1"):
            RemoteDigitizer(server.grpc_address)


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("server_overloaded: label_detector: Exceeds maximum queue size", Cause.OVERLOADED),
        ("server_overloaded: label_detector: Request timeout expired", Cause.OVERLOADED),
        ("deadline_exceeded: the page was not done within 5 s", Cause.DEADLINE),
        ("server_unavailable: label_detector: Model is not ready", Cause.NOT_READY),
        ("server_unavailable: Stub process 'label_detector_0_0' is not healthy.", Cause.BROKEN),
    ],
)
def test_the_words_of_the_pipeline_are_understood(message: str, cause: Cause) -> None:
    assert classify("StatusCode.UNAVAILABLE", message) is cause
