"""Pages are flattened with one thread of linear algebra, as the pipeline does."""

from __future__ import annotations

import pytest

from cardioscan.backends.threads import use_one_algebra_thread


@pytest.fixture(scope="session", autouse=True)
def one_algebra_thread() -> None:
    """More threads spend their time waiting for each other where the cores are busy."""
    use_one_algebra_thread()
