"""``cardioscan digitize -``: a page from standard input, which leaves no file behind however the run ends."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pty
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from cardioscan.errors import RefusalCode
from cardioscan.imaging.images import ImageLimits, count_pages
from cardioscan.record import EcgRecord, Outcome
from cardioscan_client.batch import run_batch
from cardioscan_client.cli import main
from cardioscan_client.page_runner import BatchOptions
from cardioscan_client.pool import default_jobs
from cardioscan_client.stdin import standard_input

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of temporary files; nothing may be left in it."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    assert list(folder.iterdir()) == []


def call(content: bytes, *arguments: object) -> Result:
    return CliRunner().invoke(main, ["digitize", *map(str, arguments)], input=content)


def start(*arguments: object, stdin: Any = subprocess.PIPE, **options: Any) -> subprocess.Popen[bytes]:
    places = os.pathsep.join(str(ROOT / folder) for folder in (".", "client", "export"))
    return subprocess.Popen(
        [sys.executable, "-m", "cardioscan_client", "digitize", *map(str, arguments)],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": places},
        **options,
    )


def tiff(n_pages: int) -> bytes:
    sheets = [Image.new("L", (300, 300), 250 - page) for page in range(n_pages)]
    buffer = io.BytesIO()
    sheets[0].save(buffer, "TIFF", save_all=True, append_images=sheets[1:])
    return buffer.getvalue()


@pytest.mark.parametrize(("content", "code"), [(b"", "empty_file"), (b"no picture", "not_an_image")])
def test_a_page_from_standard_input_is_called_stdin(temporary: Path, tmp_path: Path, content: bytes, code: str) -> None:
    result = call(content, "-", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert result.output.startswith(f"stdin: refused, {code}: stdin is ")
    assert str(temporary) not in result.output
    written = (tmp_path / "out" / "stdin.json").read_text()
    assert (json.loads(written)["source"], json.loads(written)["name"]) == ("stdin", "stdin")
    assert str(temporary) not in written


def test_beside_files_and_in_worker_processes(temporary: Path, tmp_path: Path) -> None:
    (tmp_path / "stdin.png").write_bytes(b"")
    with start(tmp_path / "stdin.png", "-", "--json", "--jobs", 2, "-o", tmp_path / "out") as process:
        output, errors = process.communicate(b"no picture")
    assert process.returncode == 1, errors
    lines = [json.loads(line) for line in output.splitlines()]
    assert {line["name"]: (line["source"], line["reasons"][0]["code"]) for line in lines} == {
        "stdin": (str(tmp_path / "stdin.png"), "empty_file"),
        "stdin-2": ("stdin", "not_an_image"),
    }
    assert b"stdin: another input has the same name, so its results are stdin-2.*" in errors


class EveryPage:
    def digitize_with_details(self, source: Path, page: int = 0) -> Any:
        with Image.open(source) as image:
            image.seek(page)
            shade = image.getpixel((0, 0))
        record = EcgRecord("any", np.full((12, 5000), shade / 100), np.full((12, 5000), 0.5, np.float32))
        return Details(record)


@dataclasses.dataclass
class Details:
    record: EcgRecord
    image: Any = None


def every_page(options: BatchOptions) -> Any:
    return EveryPage()


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_page_of_a_document(temporary: Path, tmp_path: Path, jobs: int) -> None:
    with standard_input(io.BytesIO(tiff(3))) as path:
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert default_jobs(True, [path]) > 1
        results = list(run_batch([path], BatchOptions(tmp_path), jobs, every_page))
    assert sorted(result.name for result in results) == ["stdin-p1", "stdin-p2", "stdin-p3"]
    assert all(result.outcome is Outcome.DIGITIZED for result in results)
    assert (tmp_path / "stdin-p3.csv").read_text().splitlines()[1].startswith("0.000,2.4800,")


def test_no_more_is_kept_than_shows_that_it_is_too_much(temporary: Path, tmp_path: Path) -> None:
    limits = ImageLimits(max_bytes=3_000_000)
    stream = io.BytesIO(bytes(9_000_000))
    with standard_input(stream, limits) as path:
        assert path.stat().st_size == stream.tell() == 3_000_001


def test_too_long_a_stream_is_refused(temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = ImageLimits(max_bytes=1000)
    monkeypatch.setattr("cardioscan_client.page_runner.count_pages", partial(count_pages, limits=limits))
    with standard_input(io.BytesIO(tiff(1)), limits) as path:
        (result,) = run_batch([path], BatchOptions(tmp_path), 1, every_page)
    assert result.reasons[0].code == RefusalCode.IMAGE_TOO_LARGE.value
    assert result.reasons[0].detail.startswith("stdin has more than")


def test_it_can_be_named_once(temporary: Path, tmp_path: Path) -> None:
    result = call(b"", "-", "-", "-o", tmp_path / "out")
    assert (result.exit_code, "can be read once only" in result.output) == (2, True)
    assert not (tmp_path / "out").exists()


def test_a_file_called_dash_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-").touch()
    result = call(b"no picture", "./-", "-o", "out")
    assert "empty_file" in result.output


def test_nobody_is_kept_waiting_at_a_terminal(temporary: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with start("-", "-o", tmp_path, stdin=theirs) as process:
        _, errors = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert (process.returncode, b"is a terminal" in errors) == (2, True)


def test_nobody_is_kept_waiting_where_it_is_closed(temporary: Path, tmp_path: Path) -> None:
    with start("-", "-o", tmp_path, stdin=None, preexec_fn=lambda: os.close(0)) as process:
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, b"is closed" in errors) == (2, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_nothing_behind(temporary: Path, tmp_path: Path, number: signal.Signals) -> None:
    # Tests that run under nohup ignore SIGHUP, and so would the process.
    with start("-", "-o", tmp_path / "out", preexec_fn=lambda: signal.signal(number, signal.SIG_DFL)) as process:
        assert process.stdin is not None
        process.stdin.write(bytes(3_000_000))  # more than a pipe holds: when this returns, it is being read
        process.stdin.flush()
        assert [path.name for path in temporary.glob("*/*")] == ["stdin"]
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else 128 + number)
    assert b"Traceback" not in errors


def test_signals_are_handled_no_longer_than_needed(temporary: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    with pytest.raises(ZeroDivisionError), standard_input(io.BytesIO(b"x")) as path:
        assert path.read_bytes() == b"x"
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before
