"""``cardioscan completion``: the script, and what Tab makes of it in a real shell."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from cardioscan_client.cli import main

ROOT = Path(__file__).resolve().parents[2]
BASH = shutil.which("bash")
PROMPT = "ready> "


def script(shell: str) -> str:
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_script_asks_the_program(shell: str) -> None:
    text = script(shell)
    assert f"_CARDIOSCAN_COMPLETE={shell}_complete" in text
    if shell == "zsh":
        assert text.startswith("#compdef cardioscan\n")  # zsh takes it as a file on its fpath by this line


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_understands_its_script(shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    checked = subprocess.run([program, "-n"], input=script(shell), capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_an_unknown_shell_is_a_wrong_call() -> None:
    result = CliRunner().invoke(main, ["completion", "tcsh"])
    assert (result.exit_code, "'tcsh' is not one of 'bash', 'zsh', 'fish'" in result.output) == (2, True)


class Terminal:
    """An interactive bash: keys go in, what stands on the screen comes out."""

    def __init__(self, folder: Path) -> None:
        assert BASH is not None
        places = os.pathsep.join(str(ROOT / part) for part in (".", "client", "export"))
        environment = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": places,
            "PS1": PROMPT,
            "TERM": "dumb",
            "HOME": str(folder),
        }
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 40, 400, 0, 0))  # nothing scrolls out of sight
        self._process = subprocess.Popen(
            [BASH, "--norc", "--noprofile", "-i"],
            stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)

    def press(self, keys: str, until: str, seconds: float = 60) -> str:
        os.write(self._ours, keys.encode())
        seen, end = "", time.monotonic() + seconds
        while until not in seen and time.monotonic() < end:
            if select.select([self._ours], [], [], 0.1)[0]:
                seen += os.read(self._ours, 4096).decode()
        assert until in seen, seen
        return seen

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    if BASH is None:
        pytest.skip("bash is not installed")
    program = tmp_path / "bin" / "cardioscan"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cardioscan_client "$@"\n')
    program.chmod(0o755)
    (tmp_path / "page-photo.jpg").touch()
    running = Terminal(tmp_path)
    yield running
    running.close()


def test_tab_in_bash(terminal: Terminal) -> None:
    terminal.press("", until=PROMPT)
    terminal.press('eval "$(cardioscan completion bash)"; echo so""urced\n', until="sourced\r\n")
    terminal.press("cardioscan dig\t", until="cardioscan digitize ")
    terminal.press("pag\t", until="page-photo.jpg ")
    terminal.press("--profile bal\t", until="--profile balanced ")
    terminal.press("--overl\t", until="--overlay ")
    terminal.press("--tls-ca pag\t", until="--tls-ca page-photo.jpg ")
