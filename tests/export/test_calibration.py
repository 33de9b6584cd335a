"""Measuring the limits for eight-bit arithmetic."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("openvino", reason="needs openvino (extra 'openvino')")

from cardioscan.backends.inference import limits_of  # noqa: E402
from cardioscan.backends.specs import SPECS  # noqa: E402
from cardioscan.errors import ModelError  # noqa: E402
from cardioscan.imaging.images import load_image  # noqa: E402
from cardioscan_export.calibration import NETWORKS, calibrate  # noqa: E402

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "page-photo.jpg"


def test_limits_of_a_page_are_written_and_are_like_the_released_ones(tmp_path: Path) -> None:
    file = tmp_path / "int8.json"
    found = calibrate([np.array(load_image(EXAMPLE).pixels)], output=file)
    assert json.loads(file.read_text()) == found and set(found) == set(NETWORKS)
    for name, entry in found.items():
        released = limits_of(name, SPECS[name].sha256)
        assert entry["sha256"] == SPECS[name].sha256 and entry["calls"] >= 1
        assert set(entry["limits"]) == set(released)
        reach = np.array([[max(-low, high) for low, high in kind.values()] for kind in (entry["limits"], released)])
        # One page says less than all kinds of pages, and is no page of another world.
        ratio = reach[0] / reach[1]
        assert 0.2 < np.median(ratio) <= 1.05 and ratio.max() < 1.5


def test_pages_that_come_nowhere_give_no_limits(tmp_path: Path) -> None:
    blank = np.full((1700, 2200, 3), 255, np.uint8)
    with pytest.raises(ModelError, match="no page came as far as grid_rectifier, waveform_extractor"):
        calibrate([blank], output=tmp_path / "int8.json")
    assert not (tmp_path / "int8.json").exists()
