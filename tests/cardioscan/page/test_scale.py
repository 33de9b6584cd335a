from __future__ import annotations

import math

import pytest

from cardioscan.errors import InvalidRecordError
from cardioscan.page.scale import Scale, Source


@pytest.mark.parametrize(
    ("speed", "gain", "px_per_s", "px_per_mv", "px_per_sample"),
    [
        (25.0, 10.0, 196.850, 78.740, 0.39370),
        (50.0, 10.0, 393.701, 78.740, 0.78740),
        (25.0, 5.0, 196.850, 39.370, 0.39370),
        (12.5, 20.0, 98.425, 157.480, 0.19685),
        (24.6, 9.8, 193.701, 77.165, 0.38740),
    ],
)
def test_lengths_follow_from_200_dpi(
    speed: float, gain: float, px_per_s: float, px_per_mv: float, px_per_sample: float
) -> None:
    scale = Scale(speed, gain)
    assert scale.px_per_s == pytest.approx(px_per_s, abs=1e-3)
    assert scale.px_per_mv == pytest.approx(px_per_mv, abs=1e-3)
    assert scale.px_per_sample == pytest.approx(px_per_sample, abs=1e-5)


@pytest.mark.parametrize("value", [0.0, -25.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["speed_mm_per_s", "gain_mm_per_mv"])
def test_speed_and_gain_are_positive_and_finite(name: str, value: float) -> None:
    with pytest.raises(InvalidRecordError, match=f"{name} must be positive"):
        Scale(**{"speed_mm_per_s": 25.0, "gain_mm_per_mv": 10.0, name: value})


def test_what_nobody_says_is_assumed() -> None:
    scale = Scale(25.0, 10.0)
    assert scale.speed_source is scale.gain_source is Source.ASSUMED
    measured = Scale(25.0, 10.0, gain_source=Source.MEASURED)
    assert (measured.speed_source, measured.gain_source) == (Source.ASSUMED, Source.MEASURED)
    assert measured != scale


@pytest.mark.parametrize("word", ["measured", "read", "given", "assumed"])
def test_sources_are_words(word: str) -> None:
    assert Source(word) == word
