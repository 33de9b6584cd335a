"""``TritonServer`` and ``cardioscan serve``: how a real server starts and stops, and what it says when it cannot."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from cardioscan.backends.specs import SPECS
from cardioscan.errors import MissingDependencyError, ServerStartError
from cardioscan_client.cli import main
from cardioscan_client.serve import ServerOptions, TritonServer, find_triton

ROOT = Path(__file__).resolve().parents[2]
WriteBlank = Callable[..., Path]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def shared_memory() -> set[str]:
    return {path.name for path in Path("/dev/shm").glob("cardioscan_*")}


def until(condition: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()


def test_metrics_count_every_network(server: TritonServer) -> None:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(server.metrics_address) as answer:
        text = answer.read().decode()
    for name in SPECS:
        assert f'nv_inference_request_success{{model="{name}",version="1"}}' in text


def test_a_server_that_runs_is_not_started_twice(server: TritonServer) -> None:
    server.check()
    with pytest.raises(ServerStartError, match="runs already"):
        server.start()


@pytest.mark.parametrize("option", ["grpc_port", "http_port", "metrics_port"])
def test_a_port_that_is_taken_is_named(triton: None, tmp_path: Path, any_ports: ServerOptions, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServerStartError, match=f"port {port} of 127.0.0.1 is taken.*--{option.replace('_', '-')}"):
            TritonServer(tmp_path, dataclasses.replace(any_ports, **{option: port})).start()


def test_an_address_of_another_machine_is_an_error(triton: None, tmp_path: Path, any_ports: ServerOptions) -> None:
    with pytest.raises(ServerStartError, match="--host"):
        TritonServer(tmp_path, dataclasses.replace(any_ports, host="192.0.2.1")).start()


def test_a_missing_server_names_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cardioscan_client.serve.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="pip install --no-deps 'nvidia-pytriton"):
        find_triton()
    result = CliRunner().invoke(main, ["serve"])
    assert result.exit_code == 2 and "nvidia-pytriton" in result.output and "Traceback" not in result.output


def test_a_repository_that_does_not_load_shows_the_log(
    blank_repository: WriteBlank, any_ports: ServerOptions, tmp_path: Path
) -> None:
    repository = blank_repository()
    (repository / "grid_rectifier" / "1" / "model.py").write_text("raise RuntimeError('no weights today')\n")
    server = TritonServer(repository, any_ports)
    with pytest.raises(ServerStartError) as caught:
        server.start()
    assert "ended with status 1" in str(caught.value) and "no weights today" in str(caught.value)
    assert server.pid is None


def test_a_network_that_dies_is_noticed(blank_repository: WriteBlank, any_ports: ServerOptions) -> None:
    psutil = pytest.importorskip("psutil", reason="the package psutil (extra 'test') is not installed")
    with TritonServer(blank_repository(), any_ports) as server:
        assert server.pid is not None
        children = psutil.Process(server.pid).children(recursive=True)
        assert len(children) == len(SPECS)
        children[0].kill()

        def noticed() -> bool:
            try:
                server.check()
            except ServerStartError as error:
                return "the process of a network has died" in str(error)
            return False

        assert until(noticed)
    assert not any(alive(child.pid) for child in children)


def test_a_server_that_is_killed_is_noticed_and_leaves_nothing(
    blank_repository: WriteBlank, any_ports: ServerOptions
) -> None:
    before = shared_memory()
    with TritonServer(blank_repository(), any_ports) as server:
        assert server.pid is not None
        assert len(shared_memory() - before) >= len(SPECS)
        os.kill(server.pid, signal.SIGKILL)
        assert until(lambda: server.pid is None)
        with pytest.raises(ServerStartError, match="ended with status -9"):
            server.check()
    assert shared_memory() <= before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_told_to_stop(
    blank_repository: WriteBlank, tmp_path: Path, number: signal.Signals
) -> None:
    places = os.pathsep.join(str(ROOT / folder) for folder in (".", "client", "export"))
    ports = [f"--{name}-port=0" for name in ("grpc", "http", "metrics")]
    command = [sys.executable, "-m", "cardioscan_client", "serve", "--model-repository", str(blank_repository())]
    log = tmp_path / "triton.log"
    process = subprocess.Popen(
        [*command, *ports, "--log", str(log), "--", "--log-verbose=0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": places, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        assert lines[4] == "ready; stop with Ctrl-C\n"
        kind, address = lines[1].split()
        host, port = address.split(":")
        assert kind == "gRPC"
        socket.create_connection((host, int(port))).close()
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, output) == (0, "stopped\n")
    with pytest.raises(OSError):
        socket.create_connection((host, int(port))).close()
    assert "Started GRPCInferenceService" in log.read_text()
    assert not list(tmp_path.glob("cardioscan-*")), "temporary folders are removed"
