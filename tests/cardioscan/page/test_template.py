"""The page template against its own arithmetic and against real clean pages."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from cardioscan.page.leads import LEADS
from cardioscan.page.template import STANDARD_PAGE


def test_calibration_follows_from_200_dpi() -> None:
    assert STANDARD_PAGE.px_per_mm == pytest.approx(7.8740, abs=1e-4)
    assert STANDARD_PAGE.px_per_mv == pytest.approx(78.740, abs=1e-3)
    assert STANDARD_PAGE.px_per_s == pytest.approx(196.850, abs=1e-3)
    assert STANDARD_PAGE.px_per_sample == pytest.approx(0.3937, abs=1e-4)


def test_lattice_is_five_millimetres_apart() -> None:
    lattice = STANDARD_PAGE.lattice()
    assert lattice.shape == (44, 57, 2)
    assert np.allclose(np.diff(lattice[:, :, 1], axis=0), STANDARD_PAGE.grid_pitch)
    assert np.allclose(np.diff(lattice[:, :, 0], axis=1), STANDARD_PAGE.grid_pitch)
    assert STANDARD_PAGE.grid_pitch == pytest.approx(5 * STANDARD_PAGE.px_per_mm, abs=1e-2)


def test_every_lead_is_printed_once_and_two_also_as_rhythm() -> None:
    names = [segment.lead for segment in STANDARD_PAGE.segments]
    assert sorted(set(names)) == sorted(LEADS)
    assert names.count("II") == 2 and len(names) == 13
    assert [label.class_id for label in STANDARD_PAGE.labels] == list(range(1, 14))
    classes = {label.class_id: label.name for label in STANDARD_PAGE.labels}
    assert classes[1] == "I" and classes[4] == "V4" and classes[9] == "III" and classes[13] == "II"


@pytest.mark.parametrize("points", [[[0.0, 0.0]], [[2199.0, 1699.0], [1100.0, 850.0]]])
def test_aligned_frame_round_trip(points: list[list[float]]) -> None:
    frame = STANDARD_PAGE.aligned
    there = frame.from_reference(np.array(points))
    assert np.allclose(frame.to_reference(there), points)
    homogeneous = np.column_stack([np.array(points), np.ones(len(points))]) @ frame.matrix.T
    assert np.allclose(homogeneous[:, :2], there)


@pytest.fixture(params=["892067079", "91831581"])
def clean_page(request: pytest.FixtureRequest, shared_data: Path) -> np.ndarray:
    image = cv2.imread(str(shared_data / "pages" / f"{request.param}-0001.png"))
    assert image is not None
    return image[:, :, ::-1].astype(np.float32)


def test_grid_lines_lie_where_the_template_says(clean_page: np.ndarray) -> None:
    redness = clean_page[:, :, 0] - clean_page[:, :, 1:].mean(axis=2)
    by_column, by_row = redness.mean(axis=0), redness.mean(axis=1)
    for profile, start, count in ((by_column, STANDARD_PAGE.grid_x0, 56), (by_row, STANDARD_PAGE.grid_y0, 43)):
        for k in range(1, count):
            expected = start + STANDARD_PAGE.grid_pitch * k
            window = np.arange(int(expected) - 4, int(expected) + 6)
            assert abs(window[np.argmax(profile[window])] - expected) <= 1.0


def test_separators_and_pulses_lie_where_the_template_says(clean_page: np.ndarray) -> None:
    dark = clean_page.max(axis=2) < 90
    for row, zero in enumerate(STANDARD_PAGE.zero_mv_y):
        foot = dark[int(zero) - 60 : int(zero) + 5, 77:83].any(axis=1)
        assert abs(int(zero) - 60 + np.flatnonzero(foot)[-1] - zero) <= 3
        top = dark[int(zero - STANDARD_PAGE.px_per_mv) - 4 : int(zero - STANDARD_PAGE.px_per_mv) + 5, 90:110]
        assert top.any(axis=0).all()
        if row < 3:
            for boundary in STANDARD_PAGE.column_bounds[1:-1]:
                bar = dark[int(zero) - 20 : int(zero) + 20, int(boundary) - 6 : int(boundary) + 7].all(axis=0)
                centre = int(boundary) - 6 + np.flatnonzero(bar).mean()
                assert centre == pytest.approx(boundary - 0.5, abs=1.0)
