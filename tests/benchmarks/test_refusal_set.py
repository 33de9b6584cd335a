"""The refusal set: every kind draws a picture of its own, the same one for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.refusal_set import DISTRACTORS
from cardioscan.page.reference import REFERENCE_PAGE


@pytest.mark.parametrize("kind", DISTRACTORS)
def test_pictures_are_rgb_bytes_repeatable_and_varied(kind: str) -> None:
    first, again, other = (DISTRACTORS[kind](np.random.default_rng([seed, 3])) for seed in (1, 1, 2))
    for picture in (first, other):
        assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
        assert 800 <= picture.shape[1] <= 2400 and picture.shape[0] >= 100
        assert len(np.unique(picture[::7, ::7].reshape(-1, 3), axis=0)) > 1
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_there_are_enough_kinds_and_none_under_two_names() -> None:
    assert 12 <= len(DISTRACTORS) <= 20
    assert len(set(DISTRACTORS.values())) == len(DISTRACTORS)


def test_kinds_can_not_be_changed() -> None:
    with pytest.raises(TypeError):
        DISTRACTORS["text"] = DISTRACTORS["noise"]  # type: ignore[index]


# These seeds draw the sheet flat and whole, so that its lines and rows stand where the reference page has them.
@pytest.mark.parametrize(
    ("kind", "seed", "gridded", "traced"),
    [
        ("page_without_traces", 5, True, False),
        ("page_without_traces", 6, True, False),
        ("page_without_grid", 4, False, True),
        ("page_without_grid", 5, False, True),
    ],
)
def test_near_misses_lack_what_their_name_says(kind: str, seed: int, gridded: bool, traced: bool) -> None:
    picture = DISTRACTORS[kind](np.random.default_rng(seed))
    assert picture.shape == (REFERENCE_PAGE.sheet.height, REFERENCE_PAGE.sheet.width, 3)
    paper = np.median(picture[200:480].reshape(-1, 3), axis=0)
    x, y = np.round(REFERENCE_PAGE.sheet.lattice()[3:12, 3:-3]).reshape(-1, 2).astype(int).T
    on_lines = np.abs(picture[y, x] - paper).max(axis=1) > 12
    assert on_lines.mean() > 0.95 if gridded else on_lines.mean() < 0.05
    zero = round(REFERENCE_PAGE.zero_y[-1])
    dark = (picture[zero - 100 : zero + 100, 160:2060].max(axis=2) < 110).any(axis=0)
    assert dark.mean() > 0.95 if traced else dark.mean() < 0.1
