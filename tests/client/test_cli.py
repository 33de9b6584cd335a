"""The command line: what it prints, what it writes, how it ends."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import cardioscan
from cardioscan.backends.specs import SPECS, find_model_file
from cardioscan.formats import format_names, read_signals, write_record
from cardioscan.page.leads import LEADS
from cardioscan.record import EcgRecord
from cardioscan_client.cli import main

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "page-photo.jpg"


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert "Traceback" not in result.output
    return result


def program(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    places = os.pathsep.join(str(ROOT / folder) for folder in (".", "client", "export"))
    return subprocess.run(
        [sys.executable, "-m", "cardioscan_client", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": places, **environment},
    )


def jpeg(*size: int) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 50).save(buffer, "JPEG")
    return buffer.getvalue()


UNREADABLE = {
    "empty.png": (b"", "empty_file"),
    "text.png": (b"not a picture at all\n", "not_an_image"),
    "cut.jpg": (jpeg(800, 600)[:9000], "corrupt_image"),
    "tiny.jpg": (jpeg(1, 1), "image_too_small"),
    "broken.pdf": (b"%PDF-1.7\nno objects here", "corrupt_image"),
}


@pytest.fixture
def unreadable(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, (content, _) in UNREADABLE.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_page_is_refused_with_its_reason(unreadable: Path, tmp_path: Path, name: str) -> None:
    result = call("digitize", unreadable / name, "-o", tmp_path / "out")
    code = UNREADABLE[name][1]
    assert result.exit_code == 1
    assert f"{name}: refused, {code}: " in result.output
    assert "1 page: 0 digitized, 1 refused" in result.output
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"{Path(name).stem}.json"]
    written = json.loads((tmp_path / "out" / f"{Path(name).stem}.json").read_text())
    assert (written["outcome"], written["source"], written["reasons"][0]["code"]) == ("refused", name, code)


@pytest.mark.parametrize(
    ("path", "code"), [("missing.png", "file_not_found"), (".", "not_an_image"), ("*.png", "file_not_found")]
)
def test_an_input_that_is_not_there_is_named(tmp_path: Path, path: str, code: str) -> None:
    (tmp_path / "in").mkdir()
    result = call("digitize", tmp_path / "in" / path, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert f"refused, {code}: " in result.output


@pytest.mark.parametrize("jobs", [1, 2])
def test_json_lines_of_a_folder(unreadable: Path, tmp_path: Path, jobs: int) -> None:
    done = program("digitize", unreadable, "--json", "--jobs", jobs, "-o", tmp_path / "out")
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    found = {Path(line["source"]).name: line["reasons"][0]["code"] for line in lines}
    assert found == {name: code for name, (_, code) in UNREADABLE.items()}
    assert all(line["outcome"] == "refused" and line["page"] == 1 for line in lines)
    assert "5 pages: 0 digitized, 5 refused" in done.stderr


def test_two_inputs_of_one_name_are_both_kept_and_told(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "page.png").touch()
    result = call("digitize", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "out")
    assert "b/page.png: another input has the same name, so its results are page-2.*" in result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["page-2.json", "page.json"]


def test_a_name_that_is_no_unicode(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")).touch()
    except OSError:
        pytest.skip("needs a file system that takes any bytes as a name")
    done = program("digitize", tmp_path, "-o", tmp_path / "out", PYTHONUTF8="1")
    assert (done.returncode, "empty_file" in done.stdout) == (1, True)
    assert json.loads((tmp_path / "out" / "?.json").read_text())["source"] == "?.png"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["digitize"], "Missing argument 'INPUTS...'"),
        (["digitize", "page.png"], "Missing option '-o'"),
        (["digitize", "page.png", "-o", "out", "--format", "csv,mp3"], "unknown format 'mp3'; known formats: csv,"),
        (["digitize", "page.png", "-o", "out", "--page", "0"], "0 is not in the range"),
        (["digitize", "page.png", "-o", "out", "--jobs", "0"], "0 is not in the range"),
        (["digitize", "page.png", "-o", "out", "--models", "nowhere"], "'nowhere' does not exist"),
        (["digitise", "page.png"], "No such command 'digitise'"),
        (["evaluate", "nowhere", "."], "'nowhere' does not exist"),
        (["evaluate", ".", "."], "no truth in ."),
        (["synthesize", "-o", "pages", "--recipe", "fax"], "fax"),
        (["synthesize", "-o", "pages", "--signals", "nowhere.npz"], "nowhere.npz"),
        (["train", "labels"], "'labels' is not one of"),
        (["train", "label_detector", "--device", "tpu"], "'tpu' is not one of"),
        (["export", "--checkpoint", "."], "no checkpoint NETWORK"),
        (["export", "all", "--checkpoint", "last.pt"], "a checkpoint belongs to one network"),
    ],
)
def test_a_wrong_call_is_one_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("last.pt").touch()
    result = call(*arguments)
    assert result.exit_code == 2
    assert sentence in result.output


def test_an_output_that_is_a_file_is_a_wrong_call(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert call("digitize", "page.png", "-o", tmp_path / "file" / "out").exit_code == 2
    assert call("digitize", "page.png", "-o", tmp_path / "file").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "extra"), [(["train", "label_detector"], "train"), (["export", "all", "--checkpoint", "."], "export")]
)
def test_a_missing_package_names_its_extra(
    arguments: list[str], extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("label_detector").mkdir()
    Path("label_detector", "last.pt").touch()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = call(*arguments)
    assert result.exit_code == 2
    assert f"pip install 'cardioscan[{extra}]'" in result.output


def test_an_interrupt_ends_with_130(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("cardioscan_client.batch.run_batch", interrupted)
    result = call("digitize", "page.png", "-o", tmp_path)
    assert result.exit_code == 130
    assert "interrupted" in result.output


def test_version_and_help() -> None:
    assert call("--version").output == f"cardioscan, version {cardioscan.__version__}\n"
    assert call().exit_code == 2
    overview = call("--help").output
    for command in main.commands:
        assert command in overview
        text = call(command, "--help").output
        assert f"cardioscan {command}" in text, "examples are missing"
    digitize = call("digitize", "--help").output
    assert [name for name in format_names() if name not in digitize] == []


def test_evaluate(tmp_path: Path) -> None:
    time = np.arange(5000) / 500
    truth = np.stack([np.sin(2 * np.pi * (1 + lead / 10) * time) for lead in range(12)])
    (tmp_path / "out").mkdir()
    for name, signals in {"good": truth, "shifted": np.roll(truth, 20, axis=1)}.items():
        write_record(EcgRecord(name, signals, np.ones((12, 5000), np.float32)), tmp_path / "out")
    np.savez(tmp_path / "truth.npz", signals=np.stack([truth] * 3), names=["good", "shifted", "gone"])
    options = ("evaluate", tmp_path / "out", tmp_path / "truth.npz", "--printed", "all")
    result = json.loads(call(*options, "--json").stdout)
    assert {page["truth"]: page["digitized"] for page in result["pages"]} == {
        "good": True,
        "shifted": True,
        "gone": False,
    }
    assert result["set"]["n_pages"] == 3
    text = call(*options).output
    for expected in ("good", "missing", "25.84", "median", "10th percentile", "33.3 %", "Pearson r", "RMSE", *LEADS):
        assert expected in text


def test_synthesize(tmp_path: Path) -> None:
    result = call("synthesize", "-n", 1, "--recipe", "clean", "-o", tmp_path / "pages")
    assert result.exit_code == 0, result.output
    (picture,) = (Path(line) for line in result.output.splitlines())
    with Image.open(picture) as image:
        assert min(image.size) >= 300


# From here on the released networks are needed.


@pytest.fixture(scope="session")
def networks() -> None:
    missing = [name for name in SPECS if find_model_file(name, missing_ok=True) is None]
    if missing:
        pytest.skip(f"needs the released networks {', '.join(missing)} in model_repository")


def test_a_folder_without_networks_is_a_wrong_call(tmp_path: Path) -> None:
    Image.new("RGB", (1100, 850), "white").save(tmp_path / "white.png")
    (tmp_path / "models").mkdir()
    result = call("digitize", tmp_path / "white.png", "--models", tmp_path / "models", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "is missing: no file" in result.output


@pytest.mark.usefixtures("networks")
def test_a_page_without_an_ecg_does_not_harm_the_next(tmp_path: Path) -> None:
    """A white page, a broken one and the example, by the real networks in two processes."""
    Image.new("RGB", (1100, 850), "white").save(tmp_path / "white.png")
    (tmp_path / "text.png").write_text("no picture")
    out = tmp_path / "out"
    inputs = (tmp_path / "white.png", tmp_path / "text.png", EXAMPLE)
    done = program("digitize", *inputs, "--overlay", "--format", "npz", "--jobs", 2, "--json", "-o", out)
    assert done.returncode == 1, done.stderr
    outcomes = {line["name"]: line["outcome"] for line in map(json.loads, done.stdout.splitlines())}
    assert outcomes == {"white": "refused", "text": "refused", "page-photo": "digitized"}
    names = {path.name for path in out.iterdir() if path.name.startswith("page-photo")}
    assert names == {"page-photo.csv", "page-photo.json", "page-photo.npz", "page-photo.overlay.png"}
    header, *rows = (out / "page-photo.csv").read_text().splitlines()
    assert header == "time_s," + ",".join(LEADS)
    assert len(rows) == 5000
    signals = read_signals(out / "page-photo.csv").signals
    assert np.isfinite(signals[LEADS.index("II")]).mean() > 0.9
    assert np.nanmax(np.abs(signals)) < 10
