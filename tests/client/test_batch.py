"""A batch goes on whatever happens to one of its pages.

The digitizers here stand in for crashes and hangs only; what real ones make of pages is tested elsewhere.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cardioscan.errors import CardioscanError, FormatError, ModelError, RefusalCode
from cardioscan.options import PROFILES, DigitizerOptions
from cardioscan.record import EcgRecord, Outcome, Reason
from cardioscan_client.batch import check_formats, run_batch
from cardioscan_client.commands._shared import PROFILES as COMMAND_LINE_PROFILES
from cardioscan_client.page_runner import BatchOptions, PageResult, make_digitizer


class Script:
    """A digitizer that does what the name of the page says."""

    def digitize_with_details(self, source: Path, page: int = 0) -> Any:
        stem = source.stem
        if stem.startswith("die"):
            os._exit(9)
        if stem.startswith("raise"):
            raise ZeroDivisionError("a fault of the program")
        if stem.startswith("model"):
            raise ModelError("the network 'waveform_extractor' is missing")
        if stem.startswith("hang"):
            source.with_suffix(".started").touch()
            time.sleep(600)
        if stem.startswith("no"):
            record = EcgRecord.refused(stem, [Reason(RefusalCode.GRID_NOT_FOUND, "no grid")])
        else:
            peak = 40.0 if stem.startswith("huge") else 1.0
            record = EcgRecord(stem, np.full((12, 5000), peak), np.full((12, 5000), 0.5, np.float32))
        return Details(record, np.full((2500, 3000, 3), 255, np.uint8) if stem.startswith("image") else None)


@dataclasses.dataclass
class Details:
    record: EcgRecord
    image: Any
    traces: Any = dataclasses.field(default_factory=dict)
    labels: Any = None
    lattice: Any = None


def make_script(options: BatchOptions) -> Any:
    return Script()


def make_nothing(options: BatchOptions) -> Any:
    raise ImportError("no runtime")


@pytest.fixture
def pages(tmp_path: Path) -> Any:
    def make(*names: str) -> list[Path]:
        files = [tmp_path / f"{name}.png" for name in names]
        for file in files:
            Image.new("L", (300, 300), 255).save(file)
        return files

    return make


def digitize(files: list[Path], out: Path, jobs: int = 1, **options: Any) -> dict[str, PageResult]:
    out.mkdir(exist_ok=True)
    results = list(run_batch(files, BatchOptions(out, **options), jobs, make_script))
    assert len({result.name for result in results}) == len(results)
    return {result.name: result for result in results}


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_of_the_program_refuses_one_page(pages: Any, tmp_path: Path, jobs: int) -> None:
    results = digitize(pages("a", "raise", "b", "no"), tmp_path / "out", jobs)
    assert {name: result.outcome.value for name, result in results.items()} == {
        "a": "digitized",
        "raise": "refused",
        "b": "digitized",
        "no": "refused",
    }
    assert results["raise"].reasons[0].code == "internal_error"
    assert "ZeroDivisionError: a fault of the program" in results["raise"].reasons[0].detail
    written = json.loads((tmp_path / "out" / "raise.json").read_text())
    assert written["outcome"] == "refused"
    assert "digitize_with_details" in written["diagnostics"]["traceback"]
    assert results["a"].mean_confidence == pytest.approx(0.5)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.csv",
        "a.json",
        "b.csv",
        "b.json",
        "no.json",
        "raise.json",
    ]


def test_a_worker_that_dies_refuses_the_page_it_died_over(pages: Any, tmp_path: Path) -> None:
    names = ["a", "die1", "b", "c", "die2", "d"]
    results = digitize(pages(*names), tmp_path / "out", jobs=2)
    assert set(results) == set(names)
    for name, result in results.items():
        assert result.outcome is (Outcome.REFUSED if name.startswith("die") else Outcome.DIGITIZED), name
    assert results["die1"].reasons[0].code == "internal_error"
    assert json.loads((tmp_path / "out" / "die2.json").read_text())["reasons"][0]["code"] == "internal_error"


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_of_the_call_ends_the_batch(pages: Any, tmp_path: Path, jobs: int) -> None:
    with pytest.raises(CardioscanError, match="'waveform_extractor' is missing"):
        digitize(pages("a", "model", "b"), tmp_path / "out", jobs)


def test_a_digitizer_that_cannot_start_ends_the_batch(pages: Any, tmp_path: Path) -> None:
    with pytest.raises(CardioscanError, match="cannot be started: ImportError: no runtime"):
        list(run_batch(pages("a"), BatchOptions(tmp_path), 1, make_nothing))


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_page_of_a_document(tmp_path: Path, jobs: int) -> None:
    sheets = [Image.new("L", (300, 300), 255) for _ in range(3)]
    sheets[0].save(tmp_path / "scan.tif", save_all=True, append_images=sheets[1:])
    sheets[0].save(tmp_path / "alone.tif")
    results = digitize([tmp_path / "scan.tif", tmp_path / "alone.tif"], tmp_path / "out", jobs)
    assert sorted(results) == ["alone", "scan-p1", "scan-p2", "scan-p3"]
    assert [results[name].page for name in ("alone", "scan-p1", "scan-p2", "scan-p3")] == [0, 0, 1, 2]
    assert json.loads((tmp_path / "out" / "scan-p3.json").read_text())["name"] == "scan-p3"


def test_one_page_of_a_document(tmp_path: Path) -> None:
    sheets = [Image.new("L", (300, 300), 255) for _ in range(3)]
    sheets[0].save(tmp_path / "scan.tif", save_all=True, append_images=sheets[1:])
    assert list(digitize([tmp_path / "scan.tif"], tmp_path / "out", page=1)) == ["scan-p2"]
    (missing,) = digitize([tmp_path / "scan.tif"], tmp_path / "out", page=6).values()
    assert missing.reasons[0] == Reason("page_not_found", "scan.tif has no page 7; its last page is 3")


def test_same_names_do_not_overwrite_each_other(pages: Any, tmp_path: Path) -> None:
    first = pages("page")[0]
    (tmp_path / "b").mkdir()
    second = tmp_path / "b" / "page.png"
    second.write_bytes(first.read_bytes())
    assert sorted(digitize([first, second], tmp_path / "out")) == ["page", "page-2"]


def test_a_format_that_cannot_hold_a_page_costs_that_format_only(pages: Any, tmp_path: Path) -> None:
    pytest.importorskip("wfdb", reason="needs the package wfdb")
    results = digitize(pages("huge", "a"), tmp_path / "out", formats=("wfdb", "npz"))
    assert results["huge"].outcome is Outcome.DIGITIZED
    assert not results["huge"].complete and results["a"].complete
    assert "wfdb" in results["huge"].not_written[0].lower()
    names = {path.name for path in results["huge"].files}
    assert names == {"huge.csv", "huge.json", "huge.npz"}


def test_a_folder_that_cannot_be_written_to_refuses_the_page(pages: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.csv").mkdir()
    results = digitize(pages("a", "b"), tmp_path / "out")
    assert results["a"].reasons[0].code == "internal_error"
    assert results["b"].complete


def test_the_overlay_is_a_png_of_bounded_size(pages: Any, tmp_path: Path) -> None:
    results = digitize(pages("image", "a"), tmp_path / "out", overlay=True)
    assert results["image"].files[-1] == tmp_path / "out" / "image.overlay.png"
    with Image.open(tmp_path / "out" / "image.overlay.png") as overlay:
        assert overlay.size == (2400, 2000)
    assert not (tmp_path / "out" / "a.overlay.png").exists()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT raises ``KeyboardInterrupt``, also where a shell started the tests in the background and it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_the_workers(pages: Any, tmp_path: Path) -> None:
    files = pages("hang1", "hang2", "a")
    before = set(multiprocessing.active_children())

    def interrupt() -> None:
        while not all(file.with_suffix(".started").exists() for file in files[:2]):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        digitize(files, tmp_path / "out", jobs=2)
    assert set(multiprocessing.active_children()) <= before


def test_check_formats() -> None:
    assert check_formats([]) == ()
    assert check_formats(["npz", "CSV", "npz", "fhir"]) == ("npz", "fhir")
    with pytest.raises(FormatError, match="unknown format 'mp3'"):
        check_formats(["mp3"])


def test_the_command_line_knows_every_profile() -> None:
    assert tuple(PROFILES) == COMMAND_LINE_PROFILES
    chosen = make_digitizer(BatchOptions(Path("out"), profile="fast", pipeline={"einthoven": False})).options
    assert chosen == DigitizerOptions.of_profile("fast", einthoven=False, threads=1)
