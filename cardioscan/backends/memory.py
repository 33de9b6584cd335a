"""Memory that is freed is kept for the next picture.

A page takes and frees dozens of arrays of 4 to 30 MB. Where the C library gives them back to the system, the next is
made of fresh memory, which the system must clear and map, 4 kB at a time: a tenth of what a page costs outside the
networks.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np

__all__ = ["keep_freed_memory"]

_LARGEST: Final = (32 << 20) - (64 << 10)
"""glibc learns from blocks up to 32 MiB, its own head and the rounding to the system's pages included."""


@cache
def keep_freed_memory() -> None:
    """Let the C library keep what is freed from now on, in the whole process, up to 64 MiB.

    glibc takes blocks from its heap that are no larger than the largest that was freed so far, and gives the heap's end
    back once twice as much is free there: as after any program that has used 32 MiB once. A program that has set
    ``MALLOC_MMAP_THRESHOLD_`` or ``MALLOC_TRIM_THRESHOLD_`` keeps what it has set. Other C libraries are not changed.
    """
    np.empty(_LARGEST, np.uint8)  # never written, so it costs no memory
