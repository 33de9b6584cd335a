"""Faults of a real server in the middle of a batch: no page is lost, none is answered twice, and errors say what to do.

The models are blank ones, which answer at once that there is nothing on the page: what counts here is the way there.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cardioscan.backends.specs import SPECS
from cardioscan.errors import ModelContractError, ServerUnavailableError
from cardioscan_client.batch import run_batch
from cardioscan_client.connection import TritonOptions
from cardioscan_client.page_runner import BatchOptions
from cardioscan_client.serve import ServerOptions, TritonServer
from cardioscan_client.triton import TritonBackend

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "page-photo.jpg"
WriteBlank = Callable[..., Path]


def thumbnail() -> dict[str, np.ndarray]:
    return {"thumbnail": np.zeros((1, 3, 456, 456), np.uint8)}


def set_delay(server: TritonServer, seconds: float) -> None:
    for name in SPECS:
        (server.repository / name / "delay").write_text(str(seconds))


def write_pages(folder: Path, n: int) -> list[Path]:
    folder.mkdir()
    files = [folder / f"{number:02}.png" for number in range(n)]
    for file in files:
        Image.new("L", (300, 300), 255).save(file)
    return files


def wait_for(condition: Callable[[], Any], what: str) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError(f"waited in vain for {what}")


def kill(server: TritonServer) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    server.stop()


@pytest.fixture
def blank_server(blank_repository: WriteBlank, any_ports: ServerOptions) -> Iterator[TritonServer]:
    with TritonServer(blank_repository(), any_ports) as running:
        yield running


# The server is killed and restarted


def test_a_restart_in_the_middle_of_50_pages(blank_server: TritonServer, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_pages(tmp_path / "pages", 50)
    command = [sys.executable, "-m", "cardioscan_client", "digitize", str(tmp_path / "pages"), "-o", str(out)]
    options = ["--server", blank_server.grpc_address, "--jobs", "2", "--json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    again = TritonServer(blank_server.repository, blank_server.options)
    batch = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        wait_for(lambda: len(list(out.glob("*.json"))) >= 10 or batch.poll() is not None, "ten pages")
        kill(blank_server)
        before = len(list(out.glob("*.json")))
        assert before < 50, "the server was not killed in the middle"
        again.start()
        lines = [json.loads(line) for line in batch.communicate(timeout=300)[0].splitlines()]
    finally:
        batch.kill()
        batch.wait()
        again.stop()
    names = [f"{number:02}" for number in range(50)]
    assert sorted(line["name"] for line in lines) == names, "each page is told once"
    assert batch.returncode == 1, "every page was refused, none for want of a server"
    written = {path.stem: json.loads(path.read_text()) for path in out.iterdir()}
    assert sorted(written) == names
    assert {record["reasons"][0]["code"] for record in written.values()} == {"no_labels_found"}


def test_a_server_that_stays_away_ends_the_batch_and_keeps_what_is_done(
    blank_server: TritonServer, tmp_path: Path
) -> None:
    files = write_pages(tmp_path / "pages", 4)
    (tmp_path / "out").mkdir()
    server = TritonOptions(blank_server.grpc_address, reconnect_s=0.5)
    results = run_batch(files, BatchOptions(tmp_path / "out", server=server))
    assert next(results).name == "00"
    kill(blank_server)
    with pytest.raises(ServerUnavailableError, match="no server answers"):
        next(results)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["00.json"]


def test_a_server_that_comes_back_as_another_release_ends_the_batch(blank_server: TritonServer, tmp_path: Path) -> None:
    files = write_pages(tmp_path / "pages", 4)
    (tmp_path / "out").mkdir()
    server = TritonOptions(blank_server.grpc_address)
    results = run_batch(files, BatchOptions(tmp_path / "out", server=server))
    next(results)
    kill(blank_server)
    (blank_server.repository / "grid_rectifier" / "1").rename(blank_server.repository / "grid_rectifier" / "2")
    config = blank_server.repository / "grid_rectifier" / "config.pbtxt"
    config.write_text(config.read_text().replace("versions: [ 1 ]", "versions: [ 2 ]"))
    with TritonServer(blank_server.repository, blank_server.options):
        with pytest.raises(ModelContractError, match="grid_rectifier.*version 1 is not found.*Wanted are"):
            list(results)


# Models that are not ready


def test_models_that_are_not_loaded(blank_repository: WriteBlank, any_ports: ServerOptions) -> None:
    import tritonclient.grpc

    loaded = (f"--load-model={name}" for name in SPECS)
    options = dataclasses.replace(any_ports, arguments=("--model-control-mode=explicit", *loaded))
    with TritonServer(blank_repository(), options) as running:
        operator = tritonclient.grpc.InferenceServerClient(running.grpc_address)
        with TritonBackend(running.grpc_address) as backend:
            assert backend.ready()
            operator.unload_model("source_classifier")
            wait_for(lambda: not operator.is_model_ready("source_classifier"), "the model to go")
            assert not backend.ready()
            hasty = TritonOptions(running.grpc_address, reconnect_s=0.3)
            with pytest.raises(ServerUnavailableError, match="not loaded its models.*Wait until"):
                TritonBackend(running.grpc_address)
            backend.options, patient = hasty, backend.options
            with pytest.raises(ServerUnavailableError, match="not loaded its models"):
                backend.infer("source_classifier", thumbnail())
            backend.options = patient
            loading = threading.Timer(1.0, operator.load_model, ("source_classifier",))
            loading.start()
            answer = backend.infer("source_classifier", thumbnail())
            loading.join()
            assert backend.ready()
            assert answer["source_probability"].shape == (1, 12)
        operator.close()


# A client that goes away


def test_a_client_that_goes_away_costs_the_others_nothing(blank_server: TritonServer) -> None:
    code = f"""
import threading
import numpy as np
from cardioscan_client.triton import TritonBackend

backend = TritonBackend({blank_server.grpc_address!r})
page = {{"thumbnail": np.zeros((1, 3, 456, 456), np.uint8)}}
for _ in range(12):
    threading.Thread(target=backend.infer, args=("source_classifier", page)).start()
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with TritonBackend(blank_server.grpc_address) as backend:

        def counted() -> Any:
            return backend._client.get_inference_statistics("source_classifier").model_stats[0].inference_stats

        set_delay(blank_server, 1.0)
        client = subprocess.Popen([sys.executable, "-c", code], env=environment)
        try:
            # The first ones are answered, so the others have arrived.
            wait_for(lambda: counted().success.count, "the first answer")
        finally:
            client.kill()
            client.wait()
        set_delay(blank_server, 0)
        assert backend.infer("source_classifier", thumbnail())["source_probability"].shape == (1, 12)
        assert counted().success.count < 12, "the requests of the dead client were not all computed"
        blank_server.check()


# A page that is none


def test_a_corrupt_image_among_good_ones(server: TritonServer, tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    pages.mkdir()
    content = EXAMPLE.read_bytes()
    for name, part in (("a", content), ("broken", content[: len(content) // 3]), ("c", content)):
        (pages / f"{name}.jpg").write_bytes(part)
    (tmp_path / "out").mkdir()
    options = BatchOptions(tmp_path / "out", server=TritonOptions(server.grpc_address, page_timeout_s=600))
    results = {result.name: result for result in run_batch(sorted(pages.iterdir()), options, jobs=2)}
    assert {name: result.outcome.value for name, result in results.items()} == {
        "a": "digitized",
        "broken": "refused",
        "c": "digitized",
    }
    assert results["broken"].reasons[0].code == "corrupt_image"
    assert (tmp_path / "out" / "a.csv").read_bytes() == (tmp_path / "out" / "c.csv").read_bytes()
