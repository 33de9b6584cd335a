"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cardioscan.backends.compiled import CACHE_VARIABLE

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real pages and signals beside the repository; the test skips where it is not there."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs the shared data folder (../shared/data beside the repository)")
    return SHARED_DATA


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Compiled networks are kept in a folder of this run, for the programs that tests start too."""
    folder = tmp_path_factory.mktemp("compiled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder))
        yield folder
