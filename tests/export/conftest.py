"""Graphs for GPUs take seconds each to make: all tests share what was made once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from cardioscan.backends.specs import SPECS, NetworkSpec, find_model_file


@pytest.fixture(scope="session")
def variant_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """The released network with this name in this precision, as a file that is made on first use."""
    folder = tmp_path_factory.mktemp("variants")

    @cache
    def made(name: str, precision: str) -> Path:
        from cardioscan_export.variants import write_variant

        source = find_model_file(name)
        assert source is not None
        return write_variant(source, folder / f"{name}.{precision}.onnx", precision, SPECS[name])

    return made


@pytest.fixture
def ready_variants(variant_file: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let repositories be written with those files instead of making each again."""
    for name in SPECS:
        variant_file(name, "float16")

    def copied(source: Path, target: Path, precision: str, spec: NetworkSpec) -> Path:
        return Path(shutil.copyfile(variant_file(spec.name, precision), target))

    monkeypatch.setattr("cardioscan_export.variants.write_variant", copied)
