"""The command ``cardioscan web``, as a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from cardioscan_client.cli import main
from cardioscan_client.commands import web as command
from cardioscan_client.serve import ServerOptions, TritonServer


@contextlib.contextmanager
def running(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and the address that it tells."""
    started = [sys.executable, "-m", "cardioscan_client", "web", "--port", "0", *options]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        started, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("CardioScan: http://"), line + process.stdout.read()
            yield process, line.split()[1]
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_end(number: signal.Signals) -> None:
    with running("--token", "geheim") as (process, url):
        assert "<title>CardioScan</title>" in httpx.get(url).text
        assert httpx.get(f"{url}v1/about").status_code == 401
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0 and "Traceback" not in output


def test_a_server_of_the_networks_can_be_named(blank_repository: Any, any_ports: ServerOptions, photo: bytes) -> None:
    with TritonServer(blank_repository(), any_ports) as triton, running("--server", triton.grpc_address) as (_, url):
        answer = httpx.post(f"{url}v1/digitize", content=photo, timeout=120)
        assert answer.status_code == 200 and answer.json()["reasons"][0]["code"] == "no_labels_found"


def test_a_port_that_is_taken_ends_in_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(main, ["web", "--port", port])
    assert result.exit_code == 2 and f"port {port}" in result.output and "--port" in result.output


def test_missing_networks_and_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    result = CliRunner().invoke(main, ["web", "--models", str(tmp_path)])
    assert result.exit_code == 2 and "source_classifier" in result.output
    monkeypatch.setattr(command, "_NEEDED", {"a_package_that_nobody_has": "a-package-that-nobody-has"})
    result = CliRunner().invoke(main, ["web"])
    assert result.exit_code == 2 and "pip install 'cardioscan[web]'" in result.output
