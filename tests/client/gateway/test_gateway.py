"""The gateway around its calls: health, reflection, metrics, log, token, TLS, and how it starts and stops."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from cardioscan.errors import CardioscanError, ServerStartError, ServerUnavailableError, ServingError
from cardioscan_client.cli import main
from cardioscan_client.gateway.client import DigitizerClient
from cardioscan_client.gateway.options import SERVICE
from cardioscan_client.gateway.probe import probe

ROOT = Path(__file__).resolve().parents[3]
Start = Callable[..., Any]
Until = Callable[[Callable[[], bool]], None]

# A gateway as the command runs it, whose pages wait until a file is there.
SERVE = """
import asyncio, pathlib, sys
from cardioscan.record import EcgRecord, Reason
from cardioscan_client.gateway.log import log_to_stderr
from cardioscan_client.gateway.options import GatewayOptions
from cardioscan_client.gateway.pages import PageAnswer
from cardioscan_client.gateway.server import Gateway, run_gateway
import time

gate, begun = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])


def work(image, page, call):
    begun.touch()
    while not gate.exists():
        call.check("the page")
        time.sleep(0.01)
    return PageAnswer(EcgRecord.refused("page", [Reason("no_labels_found", "waited")]), 1)


log_to_stderr()
gateway = Gateway(work, GatewayOptions(port=0, metrics_port=None, jobs=2, grace_s=float(sys.argv[3])))
ready = lambda started: print(started.port, flush=True)
sys.exit(0 if asyncio.run(run_gateway(gateway, ready)) else 1)
"""


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """The command sets up the log of its process, which is that of the tests here."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


class Child:
    """A gateway in a process of its own."""

    def __init__(self, folder: Path, grace_s: float) -> None:
        self.gate, self.begun = folder / "gate", folder / "begun"
        places = os.pathsep.join(str(ROOT / part) for part in (".", "client"))
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(self.gate), str(self.begun), str(grace_s)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": places},
        )
        assert self.process.stdout is not None
        self.address = f"127.0.0.1:{int(self.process.stdout.readline())}"

    def end(self) -> tuple[int, str]:
        """Exit status and log."""
        _, log = self.process.communicate(timeout=60)
        return self.process.returncode, log


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Callable[[float], Child]]:
    started: list[Child] = []

    def begin(grace_s: float) -> Child:
        started.append(Child(tmp_path, grace_s))
        return started[-1]

    yield begin
    for one in started:
        one.process.kill()
        one.process.communicate()


# Health, reflection, metrics, log


@pytest.mark.parametrize("service", ["", SERVICE])
def test_health(start: Start, gate: Any, service: str) -> None:
    with grpc.insecure_channel(start(gate).address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest(service="another.Service"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_health_follows_the_server_behind_the_gateway(start: Start, gate: Any, until: Until) -> None:
    behind = {"ready": True}
    running = start(gate, upstream=lambda: behind["ready"], upstream_every_s=0.02)
    with grpc.insecure_channel(running.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        def says(service: str) -> str:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
            return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

        until(lambda: running.value("cardioscan_upstream_ready") == 1)
        assert (says(""), says(SERVICE)) == ("SERVING", "SERVING")
        behind["ready"] = False
        until(lambda: says(SERVICE) == "NOT_SERVING")
        assert says("") == "SERVING" and running.value("cardioscan_upstream_ready") == 0
        behind["ready"] = True
        until(lambda: says(SERVICE) == "SERVING")
        running.stop()  # while it is watched


def test_reflection_knows_the_service(start: Start, gate: Any) -> None:
    with grpc.insecure_channel(start(gate).address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert {SERVICE, "grpc.health.v1.Health"} <= set(database.get_services())
        service = DescriptorPool(database).FindServiceByName(SERVICE)
        assert [method.name for method in service.methods] == ["Digitize", "DigitizeStream"]
        assert service.methods[0].output_type.fields_by_name["record"].message_type.name == "Record"


def test_metrics_for_prometheus(blank: Any, paper: bytes) -> None:
    with blank.client() as client:
        client.digitize(paper)
        with pytest.raises(CardioscanError):
            client.digitize(b"nothing")
    url = f"http://127.0.0.1:{blank.gateway.metrics_port}/metrics"
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url) as answer:
        text = answer.read().decode()
    for line in (
        'cardioscan_pages_total{outcome="refused",reason="no_labels_found"} 1.0',
        'cardioscan_pages_total{outcome="invalid",reason="not_an_image"} 1.0',
        'cardioscan_page_duration_seconds_count{outcome="refused"} 1.0',
        'cardioscan_stage_duration_seconds_count{stage="label_detector"} 1.0',
        "cardioscan_page_size_bytes_count 2.0",
        "cardioscan_pages_in_flight 0.0",
        "cardioscan_pages_waiting 0.0",
        "cardioscan_streams 0.0",
    ):
        assert line in text, line
    names = set(re.findall(r"^# TYPE (cardioscan_\w+) (?!gauge)", text, re.MULTILINE))
    assert all(name.endswith(("_total", "_seconds", "_bytes", "_created")) for name in names), names


def test_the_log_says_little_and_nothing_of_the_picture(child: Callable[[float], Child]) -> None:
    running = child(5)
    running.gate.touch()
    with DigitizerClient(running.address) as client:
        client.digitize(b"PATIENT NAME")
        list(client.digitize_stream([("PATIENT ID", b"PATIENT NAME")]))
    running.process.send_signal(signal.SIGTERM)
    status, log = running.end()
    assert status == 0 and "PATIENT" not in log
    lines = [json.loads(line) for line in log.splitlines()]
    pages = [line for line in lines if line["event"] == "page"]
    assert [line["call"] for line in pages] == ["unary", "stream"]
    for line in pages:
        assert (line["bytes"], line["outcome"], line["reason"]) == (12, "refused", "no_labels_found")
        assert line.keys() == {
            "time",
            "level",
            "logger",
            "event",
            "request",
            "call",
            "bytes",
            "outcome",
            "reason",
            "seconds",
        }


# Tokens and TLS


def test_a_token_is_asked_for(start: Start, gate: Any) -> None:
    gate.opened.set()
    running = start(gate, token="sesame")
    for token in (None, "open", "", "sesame "):
        with running.client(token=token) as client:
            for call in (lambda: client.digitize(b"x"), lambda: list(client.digitize_stream([("0", b"x")]))):
                with pytest.raises(ServerUnavailableError, match="UNAUTHENTICATED"):
                    call()
    assert not gate.seen and running.value("cardioscan_rejected_total", reason="unauthenticated") == 8
    assert probe(running.address) == "SERVING", "health needs no token"
    with running.client(token="sesame") as client:
        assert client.digitize(b"x").reasons and len(list(client.digitize_stream([("0", b"x")]))) == 1


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


def test_encrypted(start: Start, gate: Any, certificate: tuple[Path, Path]) -> None:
    gate.opened.set()
    pem, key = certificate
    running = start(gate, cert_file=pem, key_file=key, token="sesame")
    with running.client(ca_file=pem, token="sesame") as client:
        assert client.digitize(b"x").reasons
    assert probe(running.address, str(pem)) == "SERVING"
    elsewhere = f"localhost:{running.gateway.port}"
    assert probe(elsewhere, str(pem)).startswith("UNAVAILABLE")
    assert probe(elsewhere, str(pem), "127.0.0.1") == "SERVING"
    with running.client(token="sesame", timeout_s=5) as client, pytest.raises(ServingError):
        client.digitize(b"x")


def test_callers_with_a_certificate_only(start: Start, gate: Any, certificate: tuple[Path, Path]) -> None:
    gate.opened.set()
    pem, key = certificate
    running = start(gate, cert_file=pem, key_file=key, client_ca_file=pem)
    with running.client(ca_file=pem, timeout_s=5) as client, pytest.raises(ServerUnavailableError):
        client.digitize(b"x")
    with running.client(ca_file=pem, cert_file=pem, key_file=key) as client:
        assert client.digitize(b"x").reasons


@pytest.mark.parametrize(
    "given", [{"cert_file": "cert"}, {"key_file": "cert"}, {"cert_file": "none", "key_file": "none"}]
)
def test_half_a_pair_or_missing_files(start: Start, gate: Any, tmp_path: Path, given: dict[str, str]) -> None:
    (tmp_path / "cert").write_text("x")
    with pytest.raises(ServerStartError, match="needs both a certificate|cannot read"):
        start(gate, **{name: tmp_path / file for name, file in given.items()})


# Starting and stopping


@pytest.mark.parametrize("option", ["port", "metrics_port"])
def test_a_port_that_is_taken_is_named(start: Start, gate: Any, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServerStartError, match=f"{port}.*--{option.replace('_', '-')}"):
            start(gate, **{option: port})


def test_two_gateways_do_not_share_a_port(start: Start, gate: Any) -> None:
    with pytest.raises(ServerStartError):
        start(gate, port=start(gate).gateway.port)


def test_pages_under_way_are_finished_when_it_is_stopped(child: Callable[[float], Child], until: Until) -> None:
    running = child(60)
    answers: list[Any] = []
    with DigitizerClient(running.address) as client:
        threads = [
            threading.Thread(target=lambda: answers.append(client.digitize(b"x"))),
            threading.Thread(target=lambda: answers.extend(client.digitize_stream([("0", b"x")]))),
        ]
        for thread in threads:
            thread.start()
        until(running.begun.exists)
        running.process.send_signal(signal.SIGTERM)
        until(lambda: probe(running.address) == "NOT_SERVING")
        with pytest.raises(ServerUnavailableError, match="is being stopped"):
            client.digitize(b"too late")
        with pytest.raises(ServerUnavailableError, match="is being stopped"):
            list(client.digitize_stream([("1", b"too late")]))
        assert running.process.poll() is None and not answers
        running.gate.touch()
        for thread in threads:
            thread.join()
    status, log = running.end()
    assert (status, len(answers)) == (0, 2)
    assert json.loads(log.splitlines()[-1])["finished"] is True
    assert probe(running.address).startswith("UNAVAILABLE")


@pytest.mark.parametrize("how", ["the grace is over", "a second signal"])
def test_what_takes_too_long_is_given_up(child: Callable[[float], Child], until: Until, how: str) -> None:
    running = child(0.2 if how == "the grace is over" else 600)
    trouble: list[BaseException] = []

    def ask() -> None:
        with DigitizerClient(running.address) as client:
            try:
                client.digitize(b"x")
            except CardioscanError as error:
                trouble.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    until(running.begun.exists)
    running.process.send_signal(signal.SIGTERM)
    if how == "a second signal":
        until(lambda: probe(running.address) == "NOT_SERVING")
        running.process.send_signal(signal.SIGTERM)
    status, log = running.end()
    asking.join()
    assert status == 1 and len(trouble) == 1 and isinstance(trouble[0], ServingError)
    assert json.loads(log.splitlines()[-1])["finished"] is False, log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--server", "127.0.0.1:9"], "Start one with 'cardioscan serve'"),
        (["--server", "http://somewhere"], "is no address of a server"),
        (["--token-file", "nowhere"], "token file nowhere is missing"),
        (["--models", "."], "is missing"),
        (["--jobs", "0"], "--jobs"),
    ],
)
def test_a_wrong_call_is_told_in_a_sentence(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(main, ["gateway", "--port", "0", "--metrics-port", "-1", *arguments])
    assert result.exit_code == 2 and said in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_it_waits_for_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cardioscan_client.commands.gateway._POLL_S", 0.1)
    arguments = ["gateway", "--port", "0", "--server", "127.0.0.1:9", "--server-wait", "0.5"]
    done = CliRunner().invoke(main, arguments)
    waiting = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert done.exit_code == 2 and waiting[0]["event"] == "waiting for the server"


def test_a_missing_package_names_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = CliRunner().invoke(main, ["gateway"])
    assert result.exit_code == 2 and "pip install 'cardioscan[gateway]'" in result.output
