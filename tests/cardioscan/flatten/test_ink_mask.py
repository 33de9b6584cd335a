from __future__ import annotations

import numpy as np
import pytest

from cardioscan.flatten.ink_mask import readable_mask
from cardioscan.page.reference import REFERENCE_PAGE

SHEET = REFERENCE_PAGE.sheet


@pytest.mark.parametrize(("lines", "apart"), [(0, True), (80, True), (110, True), (170, False), (180, False)])
def test_ink_is_told_from_lines_by_how_much_darker_it_is(lines, apart, lines_at):
    bright = np.full((SHEET.height, SHEET.width), 240, np.float32)
    bright -= lines * lines_at((SHEET.x0, 0.0))
    bright[900:905, 300:1900] = 60  # takes 180
    open_, told = readable_mask(bright.astype(np.uint8), np.ones(bright.shape, bool), None, SHEET)
    assert told == apart
    assert open_[902, 1000] == 255 * (not apart)
    assert open_[950, 1000] == 255
    assert open_[:, round(SHEET.x0 + 20 * SHEET.pitch)][100:800].min() == 255


def test_known_ink_and_what_is_outside_the_picture_are_not_read():
    shape = (SHEET.height, SHEET.width)
    ink, valid = np.zeros(shape, np.uint8), np.ones(shape, bool)
    ink[600, 700], ink[900, 700] = 255, 40  # the second is hardly any
    valid[:, 2000:] = False
    open_, told = readable_mask(np.full(shape, 240, np.uint8), valid, ink, SHEET)
    assert told
    assert not open_[596:605, 696:705].any()
    assert open_[594, 700] == open_[600, 706] == open_[900, 700] == 255
    assert not open_[:, 2000:].any()
