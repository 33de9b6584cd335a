from __future__ import annotations

import json
import subprocess
import sys

import pytest

# In a process of its own: what is set stays, and would reach the tests that follow.
PROGRAM = """
import json, sys, threading
import numpy, scipy.linalg
from threadpoolctl import threadpool_info
from cardioscan.threads import use_one_algebra_thread

def seen():
    scipy.linalg.solve(numpy.eye(8), numpy.ones(8))
    return sorted({pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"})

def in_a_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]

run = in_a_thread if sys.argv[1] == "thread" else lambda function: function()
run(use_one_algebra_thread)
print(json.dumps([seen(), in_a_thread(seen)]))
"""


@pytest.mark.parametrize("asker", ["main", "thread"])
def test_linear_algebra_has_one_thread_everywhere_whoever_asks_first(asker: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, asker], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[1], [1]]
