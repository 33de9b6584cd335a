"""What the tests of the printed lines share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from cardioscan.page.reference import REFERENCE_PAGE

SHEET = REFERENCE_PAGE.sheet


@pytest.fixture(scope="session")
def lines_at() -> Callable[[tuple[float, float]], NDArray[np.float32]]:
    """Draws the 5 mm lines moved by (x, y) px: (height, width) float32, 1 on a line, 0 between them."""
    pitch = SHEET.pitch

    def drawn(shift: tuple[float, float]) -> NDArray[np.float32]:
        y, x = np.mgrid[: SHEET.height, : SHEET.width].astype(np.float32)
        across = np.abs((x - shift[0] + pitch / 2) % pitch - pitch / 2)
        down = np.abs((y - SHEET.y0 - shift[1] + pitch / 2) % pitch - pitch / 2)
        return np.maximum(np.exp(-0.5 * (across / 1.1) ** 2), np.exp(-0.5 * (down / 1.1) ** 2))

    return drawn
