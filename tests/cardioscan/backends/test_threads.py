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
from cardioscan.backends.threads import use_one_algebra_thread

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


PICTURES = """
import json, sys
import cv2
from cardioscan.backends.threads import use_one_picture_thread

usual, before, after = cv2.getNumThreads(), *(int(number) for number in sys.argv[1:])
if before:
    cv2.setNumThreads(before)
use_one_picture_thread()
first = cv2.getNumThreads()
if after:
    cv2.setNumThreads(after)
use_one_picture_thread()
print(json.dumps([usual, first, cv2.getNumThreads()]))
"""


@pytest.mark.parametrize(("before", "after"), [(0, 0), (0, 3), (7, 0)])
def test_pictures_have_one_thread_unless_the_program_says_otherwise(before: int, after: int) -> None:
    command = [sys.executable, "-c", PICTURES, str(before), str(after)]
    usual, first, last = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert first == (before if before and before != usual else 1)
    assert last == (after or first)
