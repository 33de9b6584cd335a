"""``ecg_digitizer`` on the real server: one page gives one answer, by whatever way it is digitized."""

from __future__ import annotations

import io
import json
import shutil
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cardioscan.backends.specs import DIGITIZER, SPECS
from cardioscan.errors import CardioscanError, ModelContractError, ServerUnavailableError
from cardioscan.formats import read_signals
from cardioscan.pipeline import Digitizer, DigitizerOptions
from cardioscan.record import EcgRecord, Outcome
from cardioscan_client.connection import TritonOptions
from cardioscan_client.remote import RemoteDigitizer, digitize_remote
from cardioscan_client.serve import TritonServer
from cardioscan_client.triton import ServedDigitizer, TritonBackend

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "page-photo.jpg"
NODE = ROOT / "examples" / "node"
PATIENT = 600.0


class Relay:
    """Passes TCP connections on to a server and counts what goes through, both ways."""

    def __init__(self, address: str) -> None:
        host, port = address.split(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.n_bytes = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                with self._lock:
                    self.n_bytes += len(data)
                sink.sendall(data)
        except OSError:
            pass  # one of the two has gone
        finally:
            sink.close()


@dataclass(frozen=True)
class Answers:
    """What came of pages that were sent at once."""

    page: EcgRecord
    second_page_of_document: EcgRecord
    garbage: EcgRecord
    n_bytes: int


def document() -> bytes:
    """A PDF of an empty page and the example."""
    with Image.open(EXAMPLE) as photo:
        pages = [Image.new("RGB", (1100, 850), "white"), photo.convert("RGB")]
    buffer = io.BytesIO()
    pages[0].save(buffer, "PDF", save_all=True, append_images=pages[1:], resolution=200)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def remote(server: TritonServer) -> Iterator[RemoteDigitizer]:
    with RemoteDigitizer(TritonOptions(server.grpc_address, page_timeout_s=PATIENT)) as connected:
        yield connected


@pytest.fixture(scope="module")
def answers(server: TritonServer, remote: RemoteDigitizer) -> Iterator[Answers]:
    relay = Relay(server.grpc_address)
    try:
        with (
            RemoteDigitizer(TritonOptions(relay.address, page_timeout_s=PATIENT)) as counted,
            ThreadPoolExecutor(3) as pool,
        ):
            page = pool.submit(counted.digitize, EXAMPLE)
            second = pool.submit(remote.digitize, document(), 1)
            garbage = pool.submit(remote.digitize, b"no picture at all" * 100)
            yield Answers(page.result(), second.result(), garbage.result(), relay.n_bytes)
    finally:
        relay.close()


@pytest.fixture(scope="module")
def embedded() -> EcgRecord:
    return Digitizer(options=DigitizerOptions(threads=1)).digitize(EXAMPLE)


def assert_same(signals: np.ndarray, record: EcgRecord) -> None:
    np.testing.assert_array_equal(np.isnan(signals), np.isnan(record.signals))
    np.testing.assert_allclose(signals, record.signals, atol=1e-3, rtol=0)


# The same answer


def test_embedded_and_remote_give_the_same_record(answers: Answers, embedded: EcgRecord) -> None:
    assert_same(answers.page.signals, embedded)
    np.testing.assert_allclose(answers.page.confidence, embedded.confidence, atol=1e-6)
    ours, theirs = embedded.to_json_dict(), answers.page.to_json_dict()
    assert theirs.keys() == ours.keys()
    for key in ("timings_s", "diagnostics"):
        assert theirs[key].keys() == ours[key].keys()
    for key in ("outcome", "reasons", "source", "source_category", "lead_seconds", "calibration", "models"):
        assert theirs[key] == ours[key]
    assert theirs["heart_rate_bpm"] == pytest.approx(ours["heart_rate_bpm"], abs=0.1)


def test_networks_over_grpc_and_remote_give_the_same_signals(server: TritonServer, answers: Answers) -> None:
    options = TritonOptions(server.grpc_address, page_timeout_s=PATIENT, request_timeout_s=PATIENT)
    with TritonBackend(options) as backend:
        assert_same(ServedDigitizer(backend).digitize(EXAMPLE).signals, answers.page)


def test_pages_sent_at_once_do_not_meddle(answers: Answers) -> None:
    second = answers.second_page_of_document
    assert second.outcome is Outcome.DIGITIZED, second.reasons
    # The same picture, through the compression of the document: nearly the same signals.
    both = np.isfinite(second.signals) & np.isfinite(answers.page.signals)
    assert both.sum() > 0.9 * np.isfinite(answers.page.signals).sum()
    assert np.corrcoef(second.signals[both], answers.page.signals[both])[0, 1] > 0.9
    assert [reason.code for reason in answers.garbage.reasons] == ["not_an_image"]


def test_a_page_needs_few_bytes_on_the_wire(answers: Answers) -> None:
    assert EXAMPLE.stat().st_size < answers.n_bytes < 20e6


# Another language


@pytest.fixture(scope="module")
def node() -> str:
    program = shutil.which("node")
    if program is None:
        pytest.skip("the program node (Node.js 18 or newer) is not installed")
    if not (NODE / "node_modules" / "@grpc" / "grpc-js").is_dir():
        pytest.skip("the package @grpc/grpc-js is not installed: npm ci --ignore-scripts --prefix examples/node")
    return program


def run_node(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [program, str(NODE / "digitize.mjs"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENT, check=False)


def test_a_client_in_javascript_gives_the_same_signals(
    node: str, server: TritonServer, answers: Answers, tmp_path: Path
) -> None:
    csv = tmp_path / "page.csv"
    done = run_node(node, server.grpc_address, EXAMPLE, "--csv", csv, "--timeout", PATIENT)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcome"] == "digitized"
    assert_same(read_signals(csv).signals, answers.page)


def test_a_client_in_javascript_tells_refusals_from_errors(node: str, server: TritonServer, tmp_path: Path) -> None:
    file = tmp_path / "letter.txt"
    file.write_text("Dear Sir or Madam")
    refused = run_node(node, server.grpc_address, file)
    assert refused.returncode == 1, refused.stderr
    assert json.loads(refused.stdout)["reasons"][0]["code"] == "not_an_image"
    failed = run_node(node, "127.0.0.1:9", file)
    assert failed.returncode == 2 and failed.stderr.startswith("UNAVAILABLE: ")


# Pages that cannot be read, and requests that are wrong


@pytest.mark.parametrize(
    ("source", "page", "code"),
    [
        (b"", 0, "empty_file"),
        (EXAMPLE.read_bytes()[:5000], 0, "corrupt_image"),
        (document(), 0, "no_labels_found"),
        (document(), 2, "page_not_found"),
        (document(), -1, "page_not_found"),
        (Path("nowhere.jpg"), 0, "file_not_found"),
        (bytes(DIGITIZER.max_bytes + 1), 0, "image_too_large"),
    ],
    ids=["empty", "cut off", "blank page", "no such page", "negative page", "no such file", "too large"],
)
def test_refused_pages_are_answers(remote: RemoteDigitizer, source: Any, page: int, code: str) -> None:
    record = remote.digitize(source, page)
    assert record.outcome is Outcome.REFUSED and np.isnan(record.signals).all()
    assert [reason.code for reason in record.reasons] == [code]


def test_the_server_itself_refuses_what_is_too_large(server: TritonServer) -> None:
    with RemoteDigitizer(server.grpc_address) as hasty:
        hasty.max_bytes *= 2
        record = hasty.digitize(bytes(DIGITIZER.max_bytes + 1))
    assert [reason.code for reason in record.reasons] == ["image_too_large"]


def test_a_picture_of_too_many_pixels_costs_nothing(remote: RemoteDigitizer) -> None:
    side = int(DIGITIZER.max_pixels**0.5) + 1
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "PNG")
    record = remote.digitize(buffer.getvalue())
    assert [reason.code for reason in record.reasons] == ["image_too_large"]


def post(server: TritonServer, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    request = urllib.request.Request(f"{server.http_address}/v2/models/{DIGITIZER.name}/infer", body, headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_the_bytes_of_a_file_are_a_request_over_http(server: TritonServer) -> None:
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": "0"}
    status, body = post(server, b"no picture at all", headers)
    assert status == 200
    answer, _ = json.JSONDecoder().raw_decode(body.decode("latin-1"))
    assert {tensor["name"] for tensor in answer["outputs"]} == {tensor.name for tensor in DIGITIZER.outputs}
    assert b'"not_an_image"' in body


@pytest.mark.parametrize("page", ["two", True, 1.5])
def test_a_page_that_is_no_number_is_a_bad_request(server: TritonServer, page: object) -> None:
    request = {
        "parameters": {"page": page},
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [3], "data": [1, 2, 3]}],
    }
    status, body = post(server, json.dumps(request).encode(), {"Content-Type": "application/json"})
    assert status == 400 and b"bad_request: the parameter 'page' must be a whole number from 0" in body


@pytest.mark.parametrize("profile", ["slow", "", 1])
def test_a_profile_that_is_none_is_a_bad_request(server: TritonServer, profile: object) -> None:
    request = {
        "parameters": {"profile": profile},
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [3], "data": [1, 2, 3]}],
    }
    status, body = post(server, json.dumps(request).encode(), {"Content-Type": "application/json"})
    assert status == 400 and b"bad_request: the parameter 'profile' must be one of fast, balanced, accurate" in body


def test_a_client_knows_the_profiles(server: TritonServer) -> None:
    with pytest.raises(CardioscanError, match="unknown profile 'slow'; there are fast, balanced, accurate"):
        RemoteDigitizer(server.grpc_address, profile="slow")


def test_a_page_is_worth_what_its_request_says(server: TritonServer, answers: Answers) -> None:
    options = TritonOptions(server.grpc_address, page_timeout_s=PATIENT)
    served = digitize_remote(EXAMPLE, options, profile="fast")
    here = Digitizer(options=DigitizerOptions.of_profile("fast", threads=1)).digitize(EXAMPLE)
    np.testing.assert_allclose(served.signals, here.signals, atol=1e-3)
    assert np.nanmax(np.abs(served.signals - answers.page.signals)) > 1e-3  # which is balanced


def test_only_one_page_per_request(server: TritonServer) -> None:
    request = {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}]}
    status, body = post(server, json.dumps(request).encode(), {"Content-Type": "application/json"})
    assert status == 400 and b"unexpected shape for input 'image'" in body


# Other servers


def test_a_server_that_is_not_there(triton: None) -> None:
    with pytest.raises(ServerUnavailableError, match="Start one with 'cardioscan serve'"):
        digitize_remote(EXAMPLE, "127.0.0.1:9")


def test_a_model_of_another_release_is_refused(server: TritonServer, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = replace(DIGITIZER, outputs=(replace(DIGITIZER.outputs[0], shape=(12, 10000)), *DIGITIZER.outputs[1:]))
    monkeypatch.setattr("cardioscan_client.remote.DIGITIZER", newer)
    with pytest.raises(ModelContractError, match=r"'signals' is FP32 \(12, 5000\), not FP32 \(12, 10000\)"):
        RemoteDigitizer(server.grpc_address)
    monkeypatch.setattr("cardioscan_client.remote.DIGITIZER", replace(DIGITIZER, version=7))
    with pytest.raises(ModelContractError, match="does not serve ecg_digitizer version 7"):
        RemoteDigitizer(server.grpc_address)


def test_the_record_names_the_released_networks(answers: Answers) -> None:
    assert {model.name: model.sha256 for model in answers.page.models} == {name: SPECS[name].sha256 for name in SPECS}
