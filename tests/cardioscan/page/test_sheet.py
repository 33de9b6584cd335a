from __future__ import annotations

import numpy as np
import pytest

from cardioscan.page.sheet import PITCH_PX, PX_PER_MM, Sheet

SHEETS = {
    "letter": Sheet(2200, 1700, 57, 44, 0.0, 7.0, raster_y0=7.085),
    "A4": Sheet(2339, 1654, 59, 42, 3.5, 11.25),
    "half": Sheet(1100, 850, 28, 21, -2.0, 5.0, pitch=40.0),
}


@pytest.fixture(params=SHEETS.values(), ids=SHEETS.keys())
def sheet(request: pytest.FixtureRequest) -> Sheet:
    return request.param


def test_the_frame_has_200_dpi() -> None:
    assert PX_PER_MM == pytest.approx(7.8740, abs=1e-4)
    assert PITCH_PX == pytest.approx(5 * PX_PER_MM, abs=1e-2)


def test_nodes_are_a_pitch_apart(sheet: Sheet) -> None:
    lattice = sheet.lattice()
    assert lattice.shape == (sheet.n_horizontal_lines, sheet.n_vertical_lines, 2)
    assert lattice.dtype == np.float64
    assert np.allclose(np.diff(lattice[:, :, 1], axis=0), sheet.pitch)
    assert np.allclose(np.diff(lattice[:, :, 0], axis=1), sheet.pitch)
    assert np.ptp(lattice[..., 0], axis=0).max() == np.ptp(lattice[..., 1], axis=1).max() == 0


@pytest.mark.parametrize("node", [(0, 0), (7, 3), (20, 27)])
def test_a_node_stands_where_the_lattice_has_it(sheet: Sheet, node: tuple[int, int]) -> None:
    assert sheet.node(*node) == pytest.approx(tuple(sheet.lattice()[node]))
    assert sheet.node(0, 0) == (sheet.x0, sheet.y0)


def test_corners_are_the_centres_of_the_corner_pixels_clockwise(sheet: Sheet) -> None:
    right, bottom = sheet.width - 1, sheet.height - 1
    assert sheet.corners().tolist() == [[0, 0], [right, 0], [right, bottom], [0, bottom]]


@pytest.mark.parametrize("step", [1, 2, 4, 7])
def test_the_nearest_line_is_at_most_half_a_pitch_away(sheet: Sheet, step: int) -> None:
    across, down = sheet.line_distances(step)
    lattice = sheet.lattice()
    for distances, lines, size in ((across, lattice[0, :, 0], sheet.width), (down, lattice[:, 0, 1], sheet.height)):
        places = np.arange(0, size, step)
        assert distances.shape == places.shape
        assert 0 <= distances.min() and distances.max() <= sheet.pitch / 2 + 1e-9
        inside = (places >= lines[0]) & (places <= lines[-1])
        assert np.allclose(distances[inside], np.abs(places[:, None] - lines).min(axis=1)[inside])


def test_only_printers_that_draw_on_whole_pixels_have_a_raster() -> None:
    assert SHEETS["A4"].raster_offsets() is None
    offsets = SHEETS["letter"].raster_offsets()
    assert offsets is not None and [len(axis) for axis in offsets] == [57, 44]


def test_lines_of_a_raster_stand_on_whole_pixels() -> None:
    sheet = SHEETS["letter"]
    offsets = sheet.raster_offsets()
    assert offsets is not None
    for axis, nominal in zip(offsets, (sheet.lattice()[0, :, 0], sheet.lattice()[:, 0, 1]), strict=True):
        printed = nominal + axis
        assert np.allclose(printed, np.round(printed), atol=1e-9)
        assert np.abs(axis).max() < 0.7  # half a pixel, and what the pitch is rounded by
        assert set(np.diff(np.round(printed))) <= {39.0, 40.0}


def test_sheets_are_values() -> None:
    same = Sheet(2200, 1700, 57, 44, 0.0, 7.0, raster_y0=7.085)
    assert same == SHEETS["letter"] and hash(same) == hash(SHEETS["letter"])
    assert same != SHEETS["A4"]
