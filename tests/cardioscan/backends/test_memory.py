from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# In a process of its own: what is learned stays, and other tests have used much memory before.
PROGRAM = """
import resource, sys
import numpy as np
from cardioscan.backends.memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

def fresh():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pictures = [np.ones(11 << 20, np.uint8) for _ in range(5)]
    del pictures
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

fresh()
print(fresh() + fresh())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc, of which this is a property")
def test_what_is_freed_is_used_again() -> None:
    """Five pictures twice: 55 MiB each time, which are 14,080 of the system's pages of 4 kB."""
    command = [sys.executable, "-c", PROGRAM, "kept"]
    assert int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) < 200
