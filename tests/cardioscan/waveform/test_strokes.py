"""Which ink is read, where enough of it is readable."""

from __future__ import annotations

import numpy as np
import pytest

from cardioscan.errors import RefusalCode, StageError
from cardioscan.page.leads import LEAD_INDEX
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.waveform import decode_rows
from tests.cardioscan.waveform.drawn_pages import SMALL, Coverage, constant_levels, drawn, simulated


@pytest.mark.parametrize(("width", "read"), [(5, True), (12, False)])
def test_hidden_stretches(width: int, read: bool) -> None:
    coverage, truth = drawn(constant_levels({"I": 0.3, "II": -0.2}), 2.5, SMALL)
    coverage[:, :, 100 : 100 + width] = 0
    page = decode_rows(coverage, SMALL)
    hidden = slice(*(round((x - 20) / SMALL.scale.px_per_sample) for x in (101, 99 + width)))
    for lead in ("I", "II"):
        values = page.signals[LEAD_INDEX[lead]]
        assert np.isfinite(values[hidden]).all() == read
        assert np.isnan(values[hidden]).all() != read
        np.testing.assert_allclose(values[: hidden.start - 10], truth[LEAD_INDEX[lead], : hidden.start - 10], atol=0.01)
        if read:
            np.testing.assert_allclose(values[hidden], truth[LEAD_INDEX[lead], hidden], atol=0.02)
            assert page.clarity[LEAD_INDEX[lead], hidden].max() < page.clarity[LEAD_INDEX[lead], :100].min()


def specks(shape: tuple[int, ...]) -> Coverage:
    rng = np.random.default_rng(0)
    return np.where(rng.random(shape) < 0.0005, 200, 0).astype(np.uint8)


@pytest.mark.parametrize(
    "coverage", [np.zeros((2, 420, 460), np.uint8), specks((2, 420, 460))], ids=["blank", "specks"]
)
def test_page_without_traces_is_refused(coverage: Coverage) -> None:
    with pytest.raises(StageError) as refused:
        decode_rows(coverage, SMALL)
    assert refused.value.code is RefusalCode.TRACE_NOT_FOUND


def test_absent_row_leaves_the_others() -> None:
    coverage = simulated(0)[0].copy()
    coverage[1] = 0
    page = decode_rows(coverage, REFERENCE_PAGE)
    gone = [LEAD_INDEX[name] for name in ("aVL", "V2", "V5")]
    assert np.isnan(page.signals[gone]).all() and not page.clarity[gone].any()
    assert np.isnan(page.traces["aVL"]).all() and np.isnan(page.other_prints["II"][0].signal).all()
    assert np.isfinite(page.signals[LEAD_INDEX["II"]]).all() and np.isfinite(page.traces["V3"]).all()
