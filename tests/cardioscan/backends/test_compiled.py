"""Compiled networks that are kept for the next process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cardioscan.backends import inference
from cardioscan.backends.compiled import CACHE_VARIABLE, cache_folder, entry_name, load, store
from cardioscan.backends.inference import OnnxBackend
from cardioscan.backends.specs import SPECS

LABELS = "label_detector"


def test_what_is_stored_is_found(tmp_path: Path) -> None:
    store(tmp_path, "a.compiled", b"network")
    found = load(tmp_path, "a.compiled")
    assert found is not None and found.tobytes() == b"network"
    assert load(tmp_path, "b.compiled") is None
    assert [path.name for path in tmp_path.iterdir()] == ["a.compiled"]


@pytest.mark.parametrize("damage", ["cut", "changed", "emptied"])
def test_what_is_damaged_is_not_found(tmp_path: Path, damage: str) -> None:
    store(tmp_path, "a.compiled", b"network" * 100)
    path = tmp_path / "a.compiled"
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:-1], "changed": whole[:50] + b"X" + whole[51:], "emptied": b""}[damage])
    assert load(tmp_path, "a.compiled") is None


def test_the_name_tells_what_it_was_made_from() -> None:
    made = {"weights": "ab", "limits": {"conv": (0.0, 1.0)}, "openvino": "1"}
    name = entry_name(LABELS, made)
    assert name == entry_name(LABELS, dict(reversed(made.items())))
    others = [{**made, "weights": "ac"}, {**made, "limits": {"conv": (0.0, 1.5)}}, {**made, "openvino": "2"}]
    assert len({name, *(entry_name(LABELS, other) for other in others), entry_name("grid_rectifier", made)}) == 5


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    for age, name in ((300, "old.compiled"), (200, "used.compiled"), (100, "young.compiled")):
        store(tmp_path, name, bytes(1000))
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    assert load(tmp_path, "used.compiled") is not None
    store(tmp_path, "new.compiled", bytes(1000), limit=2500)
    assert {path.name for path in tmp_path.iterdir()} == {"used.compiled", "new.compiled"}


def test_a_folder_that_is_not_there_stores_nothing(tmp_path: Path) -> None:
    store(tmp_path / "gone", "a.compiled", b"network")
    assert load(tmp_path / "gone", "a.compiled") is None


@pytest.mark.parametrize("word", ["off", "OFF", " none "])
def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, word)
    assert cache_folder() is None


def test_the_folder_is_its_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "a" / "b"))
    folder = cache_folder()
    assert folder == tmp_path / "a" / "b"
    if os.name == "posix":
        assert folder.stat().st_mode & 0o077 == 0
        folder.chmod(0o777)
        assert cache_folder() is None
        folder.chmod(0o700)
        assert cache_folder() == folder
        monkeypatch.setattr(os, "getuid", lambda: 12345)
        assert cache_folder() is None


def test_a_place_that_is_no_folder_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    assert cache_folder() is None


@pytest.mark.parametrize("arithmetic", ["int8", "float32"])
def test_networks_answer_the_same_from_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arithmetic: Any
) -> None:
    pytest.importorskip("openvino", reason="the package openvino (extra 'openvino') is not installed")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    (tensor,) = SPECS[LABELS].inputs
    page = np.random.default_rng(3).integers(0, 255, (1, *tensor.shape)).astype(tensor.dtype)

    def answers() -> dict[str, Any]:
        return OnnxBackend(threads=1, engine="openvino", arithmetic=arithmetic).infer(LABELS, {tensor.name: page})

    compiled = answers()
    (kept,) = tmp_path.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(inference, "store", lambda *_: pytest.fail("it was compiled again"))
        opened = answers()
    # A file that opens and is another's: whole, of the right hash, but no network.
    store(tmp_path, kept.name, b"no network")
    repaired = answers()
    again = load(tmp_path, kept.name)
    assert again is not None and again.tobytes() != b"no network"
    for name, value in compiled.items():
        np.testing.assert_array_equal(opened[name], value)
        np.testing.assert_array_equal(repaired[name], value)
