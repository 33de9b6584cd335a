"""The pages that the networks are trained on: recipes by weight, random layouts, beats placed where reading is hard."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from cardioscan.page.leads import LEADS, RECORD_SAMPLES, SAMPLING_RATE_HZ
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.synthesis.flat import FlatPage, Region, lay_out
from cardioscan.synthesis.signals import SignalSource
from cardioscan.synthesis.style import random_style

RECIPE_WEIGHTS: Mapping[str, float] = {
    "clean": 0.18,
    "color_scan": 0.10,
    "bw_scan": 0.18,
    "phone_photo": 0.30,
    "screen_photo": 0.06,
    "stained_photo": 0.05,
    "damaged_photo": 0.05,
    "mouldy_color_scan": 0.04,
    "mouldy_bw_scan": 0.04,
}
"""How often each recipe is drawn in training."""


def draw_recipe(rng: Generator) -> str:
    """A recipe's name, by ``RECIPE_WEIGHTS``."""
    names = list(RECIPE_WEIGHTS)
    weights = np.array([RECIPE_WEIGHTS[name] for name in names])
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


def draw_page(
    signals: SignalSource,
    records: NDArray[np.integer],
    variety: float,
    rng: Generator,
    beat_s: float | None = None,
    low_leads: float = 0.0,
) -> FlatPage:
    """Lay out a page of one of ``records`` in a random style; now and then a row is missing or the leads are scaled.

    A fifth of the pages is drawn much larger than life: V leads of more than 3 mV cross into the next row and S waves
    run through lead names, which is rare in the records themselves and where most is lost. ``beat_s``: a time of the
    page, s, at which a beat is to stand; None leaves the record as it is. Of a share ``low_leads`` each lead is drawn
    up to 1 mV below its zero line, where a lead that begins runs through the letters of its name.
    """
    signal = signals.record(int(rng.choice(records)))
    if beat_s is not None:
        signal = beat_at(signal, beat_s)
    if rng.random() < 0.2:
        signal = signal * np.float32(rng.uniform(1.3, 2.5))
    if rng.random() < 0.25 * variety:
        signal = signal * np.float32(rng.uniform(0.7, 1.6))
    if rng.random() < low_leads:
        signal = signal - rng.uniform(-0.2, 1.0, (len(LEADS), 1)).astype(np.float32)
    missing = int(rng.integers(REFERENCE_PAGE.n_rows)) if rng.random() < 0.02 * variety else None
    return lay_out(signal, random_style(rng, variety), rng, REFERENCE_PAGE, missing_row=missing)


def beat_at(signal: NDArray[np.float32], seconds: float) -> NDArray[np.float32]:
    """Turn a record (12, 5000) in time until the QRS complex nearest to that place has its steepest stroke there."""
    wanted = seconds * SAMPLING_RATE_HZ
    steepness = np.abs(np.diff(signal, axis=1)).sum(axis=0)
    near = np.arange(steepness.size)
    # Of all beats the one that has to go least far: the steepest place within a second of where it is wanted.
    within = np.abs((near - wanted + RECORD_SAMPLES / 2) % RECORD_SAMPLES - RECORD_SAMPLES / 2) < SAMPLING_RATE_HZ
    beat = int(np.argmax(np.where(within, steepness, -1.0)))
    return np.roll(signal, round(wanted - beat), axis=1)


def time_among_letters(strip: Region, rng: Generator) -> float:
    """A time, s, up to 0.2 s behind the beginning of a lead: among the bar and the letters of the lead's name.

    Of the leads that begin in the strip, if any does.
    """
    starts = {segment.cell.t_start: segment.x_start for segment in REFERENCE_PAGE.segments}
    inside = [start for start, x in starts.items() if strip.x <= x < strip.x + strip.width]
    return float(rng.choice(inside or sorted(starts)) + rng.uniform(-0.02, 0.2))


def time_beside_line(strip: Region, rng: Generator) -> float | None:
    """A time, s, up to 6 px beside one of the vertical 5 mm lines of the strip; None where none crosses a trace.

    On black-and-white scans these lines are as black as the trace, and its steep strokes run along them.
    """
    first = min(segment.x_start for segment in REFERENCE_PAGE.segments)
    last = max(segment.x_end for segment in REFERENCE_PAGE.segments)
    lines = REFERENCE_PAGE.sheet.lattice()[0, :, 0]
    low, high = max(first, strip.x), min(last, strip.x + strip.width)
    lines = lines[(lines > low) & (lines < high)]
    if not lines.size:
        return None
    return float((rng.choice(lines) - first) / REFERENCE_PAGE.scale.px_per_s + rng.uniform(-0.03, 0.03))
