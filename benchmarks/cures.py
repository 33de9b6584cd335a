"""What a digitized page would score if one fault of its signals were cured, told from signals and truth alone.

Every cure takes and returns (12, N) mV with NaN where nothing was read; scoring what it returns by
``cardioscan.evaluate.measure.compare`` tells what the fault costs. A cure is fitted to the truth, lead by lead, and a
lead that would come out worse keeps its reading. Cures say where decibels are lost; none of them can be had without the
truth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d, maximum_filter1d, minimum_filter1d
from scipy.optimize import least_squares

from cardioscan.evaluate.measure import compare
from cardioscan.page.leads import LEAD_INDEX, LEADS, SAMPLING_RATE_HZ
from cardioscan.page.template import STANDARD_PAGE, LeadSegment, PageTemplate
from cardioscan.waveform.decode import segment_samples

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

KNOT_S: Final = 0.6
"""Distance of the knots of a bending time base or level: three 5 mm squares of paper."""

_MAX_STRETCH: Final = 0.03
_STRETCHES: Final = 13
_MAX_BEND: Final = 20.0  # samples that a bent time base may leave the straight one by
_SMOOTHINGS: Final = (8.0, 2.5, 0.0)  # samples; coarse to fine, so that a QRS a few samples away is still found
_HOLD: Final = 50  # samples for which the first and last reading go on
_MIN_SAMPLES: Final = 50
_JITTER: Final = 3  # samples (1.2 px) of misplacement in time that do not make a reading astray
_MARGIN: Final = 5  # samples on both sides of what is replaced by the truth: the way there is wrong too
_ASTRAY_MV: Final = 0.25
_ON_TRACE_MV: Final = 0.1


@dataclass(frozen=True, eq=False)
class Confusion:
    """Where another row's trace was read for a lead's own.

    Attributes:
        leads: those whose whole reading belongs to the trace of another row.
        samples: (12, N) bool: readings that lie on the trace of another row and far from their own; whole leads of
            ``leads`` included.
        printed: number of printed samples.
    """

    leads: tuple[str, ...]
    samples: Mask
    printed: int

    @property
    def share(self) -> float:
        """Confused samples over printed ones."""
        return float(self.samples.sum()) / max(self.printed, 1)


def settled(pred: Floats, truth: Floats) -> Floats:
    """The prediction as the measure sees it: shifted by its best lag, its mean offset gone; (12, N) mV, NaN unread."""
    result = np.full(np.shape(truth), np.nan)
    pred, lags = _where_printed(pred, truth), _lags(pred, truth)
    for row in np.flatnonzero(np.isfinite(lags)):
        source = np.arange(truth.shape[1]) + round(lags[row])
        inside = (source >= 0) & (source < truth.shape[1])
        result[row, inside] = pred[row, source[inside]]
        both = np.isfinite(result[row]) & np.isfinite(truth[row])
        if both.any():
            result[row] -= np.mean(result[row, both] - truth[row, both])
    return result


def offsets_mv(pred: Floats, truth: Floats) -> Floats:
    """(12,) mV: mean of prediction less truth at the best lag, which the measure forgives; NaN where unread."""
    pred, lags = _where_printed(pred, truth), _lags(pred, truth)
    offsets = np.full(len(truth), np.nan)
    for row in np.flatnonzero(np.isfinite(lags)):
        moved = _sampled(pred[row], np.arange(truth.shape[1]) + lags[row])
        both = np.isfinite(moved) & np.isfinite(truth[row])
        if both.any():
            offsets[row] = np.mean(moved[both] - truth[row, both])
    return offsets


def cure_gain(pred: Floats, truth: Floats) -> Floats:
    """Every lead scaled by the factor that fits its truth best."""

    def cured(row: int, aligned: Floats) -> Floats:
        both = np.isfinite(aligned) & np.isfinite(truth[row])
        x, y = aligned[both], truth[row, both]
        power = float(np.sum((x - x.mean()) ** 2))
        return aligned * (float(np.sum((x - x.mean()) * y)) / power) if power > 0 else aligned

    aligned = settled(pred, truth)
    return _by_lead(pred, truth, lambda row: cured(row, aligned[row]))


def cure_level(pred: Floats, truth: Floats, knot_s: float = KNOT_S) -> Floats:
    """Every lead moved up and down by the broken line, with a knot every ``knot_s``, that fits its truth best."""

    def cured(row: int, aligned: Floats) -> Floats:
        both = np.flatnonzero(np.isfinite(aligned) & np.isfinite(truth[row]))
        hats = _hats(_printed(truth[row]), _knots(truth[row], knot_s), truth.shape[1])
        apart = truth[row, both] - aligned[both]
        return aligned + hats @ np.linalg.lstsq(hats[both], apart, rcond=None)[0]

    aligned = settled(pred, truth)
    return _by_lead(pred, truth, lambda row: cured(row, aligned[row]))


def cure_time_base(pred: Floats, truth: Floats, knot_s: float | None = None) -> Floats:
    """Every lead on the time base that fits its truth best.

    Straight (a shift and a stretch of up to 3 %) without ``knot_s``; else, from there on, a broken line with a knot
    every ``knot_s`` seconds that leaves the straight one by up to 40 ms. First and last readings are held for up to
    0.1 s.
    """
    pred, lags = _where_printed(pred, truth), _lags(pred, truth)

    def cured(row: int) -> Floats:
        places = _fitted_places(pred[row], truth[row], lags[row], knot_s)
        return _sampled(pred[row], places)

    return _by_lead(pred, truth, cured)


def cure_rows(
    pred: Floats, truth: Floats, template: PageTemplate = STANDARD_PAGE, confusion: Confusion | None = None
) -> Floats:
    """Truth in place of every reading, and 10 ms on both sides of it, that was taken from another row's trace."""
    confusion = confusion or confused_rows(pred, truth, template)
    return _with_truth(pred, truth, confusion.samples)


def cure_trace(pred: Floats, truth: Floats) -> Floats:
    """Truth in place of every reading, and 10 ms on both sides of it, that is astray (:func:`astray`)."""
    return _with_truth(pred, truth, astray(pred, truth))


def cure_all(pred: Floats, truth: Floats, template: PageTemplate = STANDARD_PAGE) -> Floats:
    """All cures, one after the other: rows, bent time base, bent level, gain, trace. Small errors of the trace stay."""
    cured = cure_time_base(cure_rows(pred, truth, template), truth, KNOT_S)
    return cure_trace(cure_gain(cure_level(cured, truth), truth), truth)


def astray(pred: Floats, truth: Floats) -> Mask:
    """(12, N) bool: readings 0.25 mV or more outside what their own trace spans within 6 ms.

    Tips cut off, letters and separators read for the trace, other rows: whatever is no matter of place or scale. The
    lead's typical offset is taken off first.
    """
    level = pred - _typical_offset(pred, truth, np.zeros(truth.shape, bool))[:, None]
    apart = np.stack([_distance(values, trace) for values, trace in zip(level, truth, strict=True)])
    return np.isfinite(apart) & (apart > _ASTRAY_MV)


def confused_rows(pred: Floats, truth: Floats, template: PageTemplate = STANDARD_PAGE) -> Confusion:
    """Find readings that were taken from another row's trace.

    A sample is confused if it is astray (:func:`astray`) and within 0.1 mV of where the other trace stands on paper at
    that time, give or take 6 ms. A lead is confused as a whole if most of its samples are, or if another
    row's truth of the same time fits its other samples better, by residual and by correlation.

    Args:
        pred: (12, N) mV, NaN unread.
        truth: (12, N) mV, NaN where not printed.
        template: says which traces stand above each other, and how far apart.
    """
    samples = np.zeros(truth.shape, bool)
    leads = []
    printed = np.isfinite(truth)
    level = pred - _typical_offset(pred, truth, samples)[:, None]
    off_own = astray(pred, truth)
    for segment in _read_segments(template):
        row = LEAD_INDEX[segment.lead]
        others = _other_traces(segment, truth, template)
        for gap_mv, trace in others:
            samples[row] |= off_own[row] & (_distance(level[row], trace + gap_mv) < _ON_TRACE_MV)
        rest = printed[row] & ~samples[row]
        if 2 * rest.sum() < printed[row].sum() or any(
            _fits_better(row, pred, np.where(rest, trace, np.nan), np.where(rest, truth[row], np.nan))
            for _, trace in others
        ):
            leads.append(segment.lead)
            samples[row] = printed[row]
    return Confusion(tuple(leads), samples, int(printed.sum()))


def _fits_better(row: int, pred: Floats, other: Floats, own: Floats) -> bool:
    """Whether a lead's reading fits another trace (N,) better than its own (N,), by residual and by correlation."""
    both = np.isfinite(other) & np.isfinite(own)
    if (both & np.isfinite(pred[row])).sum() < _MIN_SAMPLES:
        return False
    fits = []
    for trace in (other, own):
        candidate = np.full(pred.shape, np.nan)
        candidate[row] = np.where(both, trace, np.nan)
        fits.append(compare(pred, candidate).leads[LEADS[row]])
    return fits[0].rmse_mv < fits[1].rmse_mv and fits[0].r > fits[1].r


def _read_segments(template: PageTemplate) -> list[LeadSegment]:
    """The print that each lead is read from: the longest."""
    longest: dict[str, LeadSegment] = {}
    for segment in template.segments:
        known = longest.get(segment.lead)
        if known is None or segment.x_end - segment.x_start > known.x_end - known.x_start:
            longest[segment.lead] = segment
    return list(longest.values())


def _other_traces(segment: LeadSegment, truth: Floats, template: PageTemplate) -> list[tuple[float, Floats]]:
    """For every other row: how far its zero line lies above the segment's, mV, and its trace (N,) at that time."""
    start, stop = segment_samples(segment, template)
    found = []
    for row in range(template.n_rows):
        if row == segment.row:
            continue
        trace = np.full(truth.shape[1], np.nan)
        for other in template.row_segments(row):
            first, last = segment_samples(other, template)
            a, b = max(start, first), min(stop, last)
            # The other print of the same lead is no confusion.
            if a < b and other.lead != segment.lead:
                trace[a:b] = truth[LEAD_INDEX[other.lead], a:b]
        if np.isfinite(trace).any():
            gap = (template.zero_mv_y[segment.row] - template.zero_mv_y[row]) / template.px_per_mv
            found.append((gap, trace))
    return found


def _distance(values: Floats, trace: Floats) -> Floats:
    """How far each value (N,) lies outside what the trace (N,) spans within 6 ms; infinite where there is none."""
    there = np.isfinite(trace)
    size = 2 * _JITTER + 1
    low = minimum_filter1d(np.where(there, trace, np.inf), size, mode="nearest")
    high = maximum_filter1d(np.where(there, trace, -np.inf), size, mode="nearest")
    apart = np.maximum(np.maximum(low - values, values - high), 0)
    return np.where(there & np.isfinite(values), apart, np.inf)


def _with_truth(pred: Floats, truth: Floats, samples: Mask) -> Floats:
    """Truth, moved to the lead's typical offset, in place of some samples and 10 ms on both sides of each."""
    grown = maximum_filter1d(samples.astype(np.uint8), 2 * _MARGIN + 1, axis=1, mode="constant") > 0
    offset = _typical_offset(pred, truth, samples)
    replaced = np.where(grown & np.isfinite(truth), truth + offset[:, None], pred)
    return _by_lead(pred, truth, lambda row: replaced[row])


def _typical_offset(pred: Floats, truth: Floats, without: Mask) -> Floats:
    """(12,) mV: median of prediction less truth outside ``without``; 0 where there is nothing."""
    known = np.isfinite(pred) & np.isfinite(truth) & ~without
    rows = [float(np.median((p - t)[k])) if k.any() else 0.0 for p, t, k in zip(pred, truth, known, strict=True)]
    return np.array(rows)


def _by_lead(pred: Floats, truth: Floats, cured: Callable[[int], Floats]) -> Floats:
    """``cured(row)`` for every lead that it makes better; the others as they were."""
    result = np.array(pred, np.float64)
    lags = _lags(pred, truth)
    for row in range(len(truth)):
        readable = np.isfinite(pred[row]) & np.isfinite(truth[row])
        if np.isfinite(lags[row]) and readable.sum() >= _MIN_SAMPLES:
            result[row] = cured(row)
    before, after = compare(pred, truth).leads, compare(result, truth).leads
    for row, lead in enumerate(LEADS):
        if not after[lead].rmse_mv < before[lead].rmse_mv:
            result[row] = pred[row]
    return result


def _lags(pred: Floats, truth: Floats) -> Floats:
    """(12,) samples by which each lead is late; NaN where not printed or not read."""
    scores = compare(pred, truth).leads
    return np.array([scores[lead].lag_s * SAMPLING_RATE_HZ for lead in LEADS])


def _where_printed(pred: Floats, truth: Floats) -> Floats:
    """The prediction without what it holds elsewhere, which the measure ignores."""
    return np.where(np.isfinite(truth), pred, np.nan)


def _printed(truth: Floats) -> NDArray[np.intp]:
    return np.flatnonzero(np.isfinite(truth))


def _knots(truth: Floats, knot_s: float | None) -> Floats:
    """Knots over the printed samples of a lead, evenly about ``knot_s`` apart; its two ends without."""
    printed = _printed(truth)
    pieces = 1 if knot_s is None else max(1, round((printed[-1] - printed[0]) / (knot_s * SAMPLING_RATE_HZ)))
    return np.linspace(printed[0], printed[-1], pieces + 1)


def _hats(places: NDArray[np.intp], knots: Floats, size: int) -> Floats:
    """(size, knots) weights of a broken line through its knots; rows outside ``places`` are 0."""
    hats = np.zeros((size, knots.size))
    for column, unit in enumerate(np.eye(knots.size)):
        hats[places, column] = np.interp(places, knots, unit)
    return hats


def _sampled(signal: Floats, places: Floats) -> Floats:
    """A signal (N,) at fractional places (N,): cubic, NaN in its holes, its ends held for 0.1 s."""
    known = np.flatnonzero(np.isfinite(signal))
    if known.size < 4:
        return np.full(places.shape, np.nan)
    first, last = float(known[0]), float(known[-1])
    inside = np.clip(places, first, last)
    values = CubicSpline(known, signal[known])(inside)
    nearest = np.round(inside).astype(np.int64)
    readable = np.isfinite(signal[nearest]) & (np.abs(places - inside) <= _HOLD)
    return np.where(readable, values, np.nan)


def _fitted_places(pred: Floats, truth: Floats, lag: float, knot_s: float | None) -> Floats:
    """Where in the prediction each sample of the truth is found: (N,) fractional samples."""
    size = truth.size
    printed = _printed(truth)
    ends = _hats(printed, _knots(truth, None), size)
    levels = [_smoothed(pred, truth, sigma) for sigma in _SMOOTHINGS]
    start = min(
        (np.array([lag + shift - bend, lag + shift + bend]) for shift, bend in _straight_guesses(printed)),
        key=lambda move: float(np.sum(_residual(move, ends, printed, *levels[0]) ** 2)),
    )
    straight = _refined(start, ends, printed, levels, np.full(2, np.inf))
    if knot_s is None:
        return np.arange(size) + ends @ straight
    knots = _knots(truth, knot_s)
    hats = _hats(printed, knots, size)
    begin = np.interp(knots, [printed[0], printed[-1]], straight)
    return np.arange(size) + hats @ _refined(begin, hats, printed, levels, np.full(knots.size, _MAX_BEND))


def _straight_guesses(printed: NDArray[np.intp]) -> list[tuple[float, float]]:
    """Shifts and, at the ends, stretches (samples) to begin from."""
    reach = _MAX_STRETCH * (printed[-1] - printed[0]) / 2
    return [(float(s), float(b)) for b in np.linspace(-reach, reach, _STRETCHES) for s in np.arange(-20, 21, 4)]


def _smoothed(pred: Floats, truth: Floats, sigma: float) -> tuple[Floats, Floats]:
    """Prediction and truth, their holes bridged by straight lines, blurred alike."""
    planes = []
    for signal in (pred, truth):
        known = np.flatnonzero(np.isfinite(signal))
        filled = np.interp(np.arange(signal.size), known, signal[known])
        planes.append(gaussian_filter1d(filled, sigma) if sigma else filled)
    return planes[0], planes[1]


def _residual(move: Floats, hats: Floats, printed: NDArray[np.intp], pred: Floats, truth: Floats) -> Floats:
    found = np.interp(printed + hats[printed] @ move, np.arange(pred.size), pred)
    apart = truth[printed] - found
    return apart - apart.mean()


def _refined(
    move: Floats, hats: Floats, printed: NDArray[np.intp], levels: list[tuple[Floats, Floats]], reach: Floats
) -> Floats:
    """Gauss-Newton from ``move``, coarse to fine, within ``reach`` of it."""
    bounds = (move - reach, move + reach)
    for pred, truth in levels:
        move = least_squares(_residual, move, bounds=bounds, args=(hats, printed, pred, truth), max_nfev=25).x
    return move
