"""Fixtures for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real pages and signals beside the repository; the test skips where it is not there."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs the shared data folder (../shared/data beside the repository)")
    return SHARED_DATA
