from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioscan.evaluate.evaluation import only_printed
from cardioscan.page.catalogue import find_layout
from cardioscan.page.layout import Cell, Layout
from cardioscan.page.leads import LEAD_INDEX
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.postprocess.confidence import (
    FEATURES,
    LogisticModel,
    lead_features,
    page_noise_mv,
    released_model,
    sample_confidence,
    spread,
)
from cardioscan.synthesis.simulator import SimulatedSignals

LAYOUT = REFERENCE_PAGE.layout


def printed(layout: Layout = LAYOUT) -> np.ndarray:
    """A simulated record as a page of this layout shows it."""
    return only_printed(SimulatedSignals(4, seed=3).record(1), layout)


@pytest.mark.parametrize("noise_mv", [0.01, 0.03, 0.1])
def test_noise_is_what_redundant_leads_disagree_by(noise_mv: float) -> None:
    rng = np.random.default_rng(0)
    signals = printed()
    signals += rng.normal(0, noise_mv, signals.shape)
    typical, worst = page_noise_mv(signals, {})
    # Three independent errors are added in each rest.
    assert typical == pytest.approx(np.sqrt(3) * noise_mv + 0.003, rel=0.1)
    assert worst >= typical - 0.003


def test_noise_is_unknown_without_limb_leads() -> None:
    signals = printed()
    signals[:6] = np.nan
    assert page_noise_mv(signals, {}) == (0.05, 0.05)


@pytest.mark.parametrize("prints", [{"V1": 1}, {"V1": 2}, {"V1": 1, "V5": 1}])
def test_noise_is_also_what_prints_of_a_lead_disagree_by_whatever_its_name(prints: dict[str, int]) -> None:
    rng = np.random.default_rng(0)
    signals = printed(find_layout("3x4+3"))
    signals[:6] = np.nan
    others = {
        lead: [signals[LEAD_INDEX[lead]] + 0.2 + rng.normal(0, 0.08, 5000) for _ in range(count)]
        for lead, count in prints.items()
    }
    typical, worst = page_noise_mv(signals, others)
    assert typical == pytest.approx(0.083, rel=0.05) and worst == pytest.approx(0.08, rel=0.05)


def test_features_are_there_for_every_lead_that_was_read() -> None:
    signals = printed()
    signals[LEAD_INDEX["V3"]] = np.nan
    clarity = np.where(np.isfinite(signals), 0.9, 0).astype(np.float32)
    features = lead_features(signals, clarity, (0.02, 0.03), 0.4, LAYOUT)
    assert features.shape == (12, len(FEATURES))
    known = np.isfinite(features).all(axis=1)
    assert known.sum() == 11 and not known[LEAD_INDEX["V3"]]
    assert features[known, FEATURES.index("ink_p10")] == pytest.approx(0.9)
    assert features[known, FEATURES.index("share_read")] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("layout", "whole"),
    [
        (find_layout("12x1"), {"I": 1.0, "V6": 1.0}),
        (find_layout("6x2"), {"I": 1.0, "V6": 1.0}),
        (find_layout("3x4+1(V1)"), {"II": 1.0, "V1": 1.0}),
        (Layout("short", (Cell("V1", 0, 0, 0.0, 1.87), Cell("V2", 0, 1, 1.87, 1.87))), {"V1": 1.0, "V2": 1.0}),
    ],
)
def test_a_lead_is_whole_where_all_that_its_layout_prints_is_read(layout: Layout, whole: dict[str, float]) -> None:
    signals = printed(layout)
    clarity = np.where(np.isfinite(signals), 0.9, 0).astype(np.float32)
    share = lead_features(signals, clarity, (0.02, 0.03), 0.4, layout)[:, FEATURES.index("share_read")]
    assert {lead: share[LEAD_INDEX[lead]] for lead in whole} == whole
    unprinted = [LEAD_INDEX[lead] for lead in LEAD_INDEX if not layout.prints(lead)]
    assert np.isnan(share[unprinted]).all()
    half = np.where(np.arange(5000) % 2, signals, np.nan)
    half_share = lead_features(half, clarity, (0.02, 0.03), 0.4, layout)[:, FEATURES.index("share_read")]
    assert all(half_share[LEAD_INDEX[lead]] == pytest.approx(0.5, abs=0.01) for lead in whole)


@pytest.mark.parametrize(
    ("change", "sign"),
    [
        (lambda s, c, n, m: (s, c, (0.2, 0.4), m), -1),
        (lambda s, c, n, m: (s, c * 0.5, n, m), -1),
        (lambda s, c, n, m: (s, c, n, 3.0), -1),
        (lambda s, c, n, m: (s * 0.2, c, n, m), -1),
        (lambda s, c, n, m: (s, c, (0.006, 0.006), 0.1), 1),
    ],
    ids=["contradictory", "faint", "crumpled", "small waves", "consistent"],
)
def test_trouble_lowers_the_released_models_confidence(change, sign: int) -> None:
    signals = printed()
    clarity = np.where(np.isfinite(signals), 0.9, 0).astype(np.float32)
    usual = (signals, clarity, (0.02, 0.03), 0.4)
    before = sample_confidence(clarity, lead_features(*usual, LAYOUT))
    changed = change(*usual)
    after = sample_confidence(changed[1], lead_features(*changed, LAYOUT))
    finite = np.isfinite(signals)
    assert sign * (after[finite].mean() - before[finite].mean()) > 0
    assert (after[~finite] == 0).all() and (after[finite] > 0).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.03, 0.97))
def test_spread_keeps_the_order_and_meets_the_mean(seed: int, mean: float) -> None:
    rng = np.random.default_rng(seed)
    clarity = rng.uniform(0.05, 0.99, 400) * (rng.random(400) > 0.2)
    result = spread(clarity, mean)
    read = clarity > 0
    assert ((result > 0) == read).all() and (result <= 1).all()
    assert result[read].mean() == pytest.approx(mean, abs=0.01)
    order = np.argsort(clarity[read])
    assert (np.diff(result[read][order]) >= -1e-6).all()


def test_nothing_is_surer_than_what_was_seen() -> None:
    model = LogisticModel(FEATURES, [0.0] * 9, [1.0] * 9, [1.0] + [0.0] * 8, 0.0)
    far, border = np.zeros((1, 9)), np.zeros((1, 9))
    far[0, 0], border[0, 0] = 50, 3
    assert model(far) == model(border)


def test_the_released_model_fits_the_features() -> None:
    assert tuple(released_model().features) == FEATURES
