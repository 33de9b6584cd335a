"""Stages replaced by the truth, on rendered pages; only what needs no network."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.stages import (
    STAGES,
    KnownCoverage,
    lattice_error_px,
    page_row,
    record_from,
    set_row,
    signal_scores,
    size_row,
    true_alignment,
    true_coverage,
    true_lattice,
)
from cardioscan import DigitizerOptions, EcgRecord
from cardioscan.backends.specs import NAME_PLACES
from cardioscan.evaluate.measure import compare, refused_page
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.postprocess.plausibility import names_in_place
from cardioscan.synthesis.dataset import RenderedPage, render_page
from cardioscan.synthesis.simulator import SimulatedSignals

SIGNALS = SimulatedSignals(8, seed=11)
LATTICE = REFERENCE_PAGE.sheet.lattice()


def rendering(recipe: str, orientation: int = 0) -> RenderedPage:
    size = None if recipe == "clean" else (2400, 1800)
    return render_page(SIGNALS.record(2), recipe, np.random.default_rng(4), size, orientation)


def with_the_truth(rendered: RenderedPage) -> EcgRecord:
    """The page digitized on its true lattice and coverage, without any network."""
    flat = true_lattice(true_alignment(rendered), rendered)
    assert names_in_place(flat.located.names, flat.nodes, NAME_PLACES) == len(NAME_PLACES.classes)
    return record_from(flat, KnownCoverage(true_coverage(rendered, flat.nodes)), DigitizerOptions())


@pytest.mark.parametrize(
    ("recipe", "orientation", "at_least"),
    [("clean", 0, 24.5), ("clean", 6, 24.5), ("phone_photo", 0, 22.0)],
)
def test_lattice_and_coverage_together_leave_only_the_decoder(recipe: str, orientation: int, at_least: float) -> None:
    rendered = rendering(recipe, orientation)
    record = with_the_truth(rendered)
    assert compare(np.array(record.signals), rendered.page.printed_signals()).snr_db > at_least


def test_true_coverage_follows_the_lattice_that_it_is_asked_for() -> None:
    rendered = rendering("clean")
    drawn = rendered.page.coverage()
    np.testing.assert_array_equal(true_coverage(rendered, LATTICE), drawn)
    shifted = true_coverage(rendered, LATTICE + (3.0, -2.0))
    np.testing.assert_array_equal(shifted[:, 2:, :-3], drawn[:, :-2, 3:])


def test_a_page_without_a_trace_is_a_refused_record() -> None:
    rendered = rendering("clean")
    flat = true_lattice(true_alignment(rendered), rendered)
    record = record_from(flat, KnownCoverage(np.zeros((4, 1700, 2200), np.uint8)), DigitizerOptions())
    assert record.outcome == "refused"
    assert record.reasons[0].code == "trace_not_found"


@pytest.mark.parametrize("recipe", ["clean", "phone_photo"])
def test_the_lattice_error_is_in_px_of_the_page(recipe: str) -> None:
    rendered = rendering(recipe)
    nodes = rendered.geometry.to_image(LATTICE)
    assert lattice_error_px(nodes, rendered) == 0
    moved = rendered.geometry.to_image(LATTICE + (0.6, 0.8))
    assert lattice_error_px(moved, rendered) == pytest.approx(1.0, rel=0.15)


def test_a_set_scores_refused_pages_as_nothing() -> None:
    truth = rendering("clean").page.printed_signals()
    perfect, refused = compare(truth, truth), refused_page(truth)
    row = set_row("x", [dict.fromkeys(STAGES, perfect), {**dict.fromkeys(STAGES, perfect), "as is": refused}])
    assert row["pages"] == 2
    assert row["both"] == pytest.approx(25.84, abs=0.01)
    assert row["as is"] == pytest.approx(25.84 - 3.01, abs=0.01)


@pytest.mark.parametrize("read", [True, False])
def test_the_rows_of_a_page_have_the_same_columns_read_or_not(read: bool) -> None:
    truth = rendering("clean").page.printed_signals()
    pred = 1.1 * truth if read else np.full_like(truth, np.nan)
    scores = signal_scores(pred, truth)
    decibels, sizes = page_row("page", scores), size_row("page", pred, truth)
    assert list(decibels) == ["page", *scores]
    assert sizes["page"] == "page" and sizes["leads of other rows"] == sizes["of other rows %"] == 0
    if read:
        assert scores["as is"].snr_db < 21 < scores["gain"].snr_db
        assert sizes["gain"] == pytest.approx(1.1)
    else:
        assert decibels["as is"] is None and sizes["gain"] is None and sizes["astray %"] == 0
