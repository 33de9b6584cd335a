"""What the waveform extractor is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cardioscan.backends.inference import Tensors
from cardioscan.backends.specs import SPECS
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.waveform import extraction

SHEET = REFERENCE_PAGE.sheet


class Listener:
    """Answers with no ink, and keeps what the network was shown."""

    def __init__(self) -> None:
        self.shown: dict[str, Tensors] = {}

    def infer(self, model: str, inputs: Tensors) -> dict[str, NDArray[Any]]:
        self.shown[model] = inputs
        (output,) = SPECS[model].outputs
        return {output.name: np.zeros((1, *output.shape), output.dtype)}

    def model_versions(self) -> dict[str, tuple[str, str]]:
        return {}


@pytest.mark.parametrize("shares", [(0.0, 0.0), (0.5, 0.2), extraction.FADING])
def test_the_extractor_is_shown_the_page_with_its_lines_faded(
    shares: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = np.full((SHEET.height, SHEET.width, 3), 240, np.uint8)
    lines = np.round(SHEET.lattice()).astype(int)[1:-1, 1:-1]  # the outermost leave the page
    x, y = lines[20, 30]
    page[:, lines[0, :, 0]] = 40
    page[lines[:, 0, 1]] = 40
    before, listener = page.copy(), Listener()
    monkeypatch.setattr(extraction, "FADING", shares)
    coverage = extraction.row_coverage(page, SHEET, listener)
    assert coverage.shape == (4, SHEET.height, SHEET.width) and coverage.dtype == np.uint8
    shown = listener.shown["waveform_extractor"]["page"][0].transpose(1, 2, 0)
    assert np.abs(shown[y + 15, x] - (40 + 200 * shares[0])).max() <= 1
    assert np.abs(shown[y, x + 15] - (40 + 200 * shares[1])).max() <= 1
    assert np.array_equal(page, before)  # what is drawn and kept has its lines
