"""Runs of samples without a gap."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cardioscan.arrays import Points


def finite_runs(values: Points) -> Iterator[tuple[int, int]]:
    """The half-open index ranges ``(start, stop)`` of consecutive finite samples of a ``(N,)`` array, in order."""
    flags = np.concatenate([[False], np.isfinite(values), [False]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(flags))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
