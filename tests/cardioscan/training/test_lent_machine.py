"""Rendering and training import nothing that a machine lent for minutes lacks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the package torch (extra 'train') is not installed")
pytest.importorskip("timm", reason="the package timm (extra 'train') is not installed")

ROOT = Path(__file__).resolve().parents[3]
ABSENT = ("cc3d", "click", "rich", "onnxruntime", "pypdfium2", "wfdb", "matplotlib", "pydicom", "pyarrow")
PROGRAM = f"""
import sys
for name in {ABSENT!r}:
    sys.modules[name] = None  # importing it raises ImportError
import numpy as np
import cardioscan.training.__main__
from cardioscan.synthesis.simulator import SimulatedSignals
from cardioscan.training.tasks import GridTask, LabelTask, SourceTask, WaveformTask
signals = SimulatedSignals(4, seed=1)
for task in (WaveformTask, GridTask, LabelTask, SourceTask):
    sample = task(signals, np.arange(3), np.arange(3, 4)).sample(np.random.default_rng(0))
    print(task.__name__, sorted(sample))
"""


def test_samples_are_rendered_without_the_other_packages() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("'image'") == 4
