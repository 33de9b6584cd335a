"""The benchmark of how cost grows measures what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("psutil", reason="the package psutil (extra 'test') is not installed")

from benchmarks.scaling import CARDIOSCAN, copies, run_watched, scaled


@pytest.mark.parametrize(("count", "blank"), [(1, 0), (10, 0), (10, 9), (100, 90)])
def test_a_folder_holds_pages_and_blank_sheets_of_different_names(tmp_path: Path, count: int, blank: int) -> None:
    folder = copies(tmp_path / "pages", count, blank)
    files = sorted(folder.iterdir())
    assert len(files) == count and len({file.resolve() for file in files}) == count
    sheets = [file.suffix == ".png" for file in files]
    assert sum(sheets) == blank
    assert sum(sheets[: count // 2]) == pytest.approx(blank / 2, abs=1)  # spread evenly


@pytest.mark.parametrize("megapixels", [0.5, 8.0])
def test_a_page_has_the_megapixels_asked_for(tmp_path: Path, megapixels: float) -> None:
    width, height = scaled(megapixels, tmp_path / "page.jpg")
    assert width * height == pytest.approx(megapixels * 1e6, rel=0.01)
    with Image.open(tmp_path / "page.jpg") as page:
        assert page.size == (width, height)


def test_a_command_is_watched_while_it_runs() -> None:
    if not CARDIOSCAN.is_file():
        pytest.skip("the command cardioscan is not installed beside this Python")
    seconds, busy, memory = run_watched(["doctor"])
    assert seconds > 0 and 0 < busy and max(memory) > 0.05  # GB; NumPy alone takes more
