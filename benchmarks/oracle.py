"""Corrections by an oracle: what a digitized page would score if one fault of its signals were corrected.

The oracle knows the truth. Every correction takes and returns (12, N) float64 mV at 500 Hz, NaN where nothing was read.
It is fitted to the truth lead by lead; a lead whose error it would raise stays as it is. The score of the corrected
signals (``cardioscan.evaluate.measure.compare``) shows what the fault costs, not what a digitizer can reach.
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

from cardioscan.arrays import Floats, Mask
from cardioscan.evaluate.measure import compare
from cardioscan.page.leads import LEAD_INDEX, LEADS, SAMPLING_RATE_HZ
from cardioscan.page.read_page import ReadPage, Segment

KNOT_S: Final = 0.6
"""Distance of the knots of a piecewise linear time base or baseline, s: three 5 mm squares of paper."""

_MAX_STRETCH_SHARE: Final = 0.03
_N_STRETCH_GUESSES: Final = 13
_MAX_BEND_SAMPLES: Final = 20.0  # between a piecewise linear time base and the straight one
_BLUR_SIGMAS_SAMPLES: Final = (8.0, 2.5, 0.0)  # coarse to fine, so that a QRS a few samples away is still found
_HOLD_SAMPLES: Final = 50  # the first and last reading of a lead are repeated for 0.1 s
_MIN_SAMPLES: Final = 50  # readings of a lead that a correction needs
_TIME_TOLERANCE_SAMPLES: Final = 3  # 6 ms, 1.2 px: a reading this far off in time is no outlier
_MARGIN_SAMPLES: Final = 5  # 10 ms on both sides of an outlier: the samples that lead to it are wrong too
_OUTLIER_MV: Final = 0.25
_ON_TRACE_MV: Final = 0.1


@dataclass(frozen=True, eq=False)
class RowConfusion:
    """Readings of a lead that were taken from the trace of another row.

    Attributes:
        leads: names of the leads that were read from another row as a whole.
        samples: (12, N) bool, readings on the trace of another row and far from their own; all printed samples of
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


def aligned_to_truth(pred: Floats, truth: Floats) -> Floats:
    """The prediction as the measure compares it: shifted by its best lag, without its mean offset; (12, N) mV."""
    result = np.full(np.shape(truth), np.nan)
    pred, lags = _only_printed(pred, truth), _lags(pred, truth)
    for row in np.flatnonzero(np.isfinite(lags)):
        source = np.arange(truth.shape[1]) + round(lags[row])
        inside = (source >= 0) & (source < truth.shape[1])
        result[row, inside] = pred[row, source[inside]]
        both = np.isfinite(result[row]) & np.isfinite(truth[row])
        if both.any():
            result[row] -= np.mean(result[row, both] - truth[row, both])
    return result


def offsets_mv(pred: Floats, truth: Floats) -> Floats:
    """Mean of prediction minus truth at the best lag, (12,) mV, which the measure removes; NaN where unread."""
    pred, lags = _only_printed(pred, truth), _lags(pred, truth)
    offsets = np.full(len(truth), np.nan)
    for row in np.flatnonzero(np.isfinite(lags)):
        moved = _interpolated(pred[row], np.arange(truth.shape[1]) + lags[row])
        both = np.isfinite(moved) & np.isfinite(truth[row])
        if both.any():
            offsets[row] = np.mean(moved[both] - truth[row, both])
    return offsets


def correct_gain(pred: Floats, truth: Floats) -> Floats:
    """Scale every lead by its least-squares gain."""

    def corrected(row: int, aligned: Floats) -> Floats:
        both = np.isfinite(aligned) & np.isfinite(truth[row])
        x, y = aligned[both], truth[row, both]
        power = float(np.sum((x - x.mean()) ** 2))
        return aligned * (float(np.sum((x - x.mean()) * y)) / power) if power > 0 else aligned

    aligned = aligned_to_truth(pred, truth)
    return _kept_where_better(pred, truth, lambda row: corrected(row, aligned[row]))


def correct_baseline(pred: Floats, truth: Floats, knot_s: float = KNOT_S) -> Floats:
    """Add to every lead the piecewise linear baseline, a knot every ``knot_s`` s, that fits its truth best."""

    def corrected(row: int, aligned: Floats) -> Floats:
        both = np.flatnonzero(np.isfinite(aligned) & np.isfinite(truth[row]))
        basis = _piecewise_linear_basis(_printed_samples(truth[row]), _knots(truth[row], knot_s), truth.shape[1])
        apart = truth[row, both] - aligned[both]
        return aligned + basis @ np.linalg.lstsq(basis[both], apart, rcond=None)[0]

    aligned = aligned_to_truth(pred, truth)
    return _kept_where_better(pred, truth, lambda row: corrected(row, aligned[row]))


def correct_time_base(pred: Floats, truth: Floats, knot_s: float | None = None) -> Floats:
    """Resample every lead on the time base that fits its truth best.

    Without ``knot_s`` the time base is straight: a shift, and a stretch that is searched up to 3 %. With it, the
    straight one is refined to a piecewise linear one, a knot every ``knot_s`` s, at most 40 ms from it. The first and
    last reading of a lead are repeated for up to 0.1 s.
    """
    pred, lags = _only_printed(pred, truth), _lags(pred, truth)

    def corrected(row: int) -> Floats:
        places = _fitted_time_base(pred[row], truth[row], lags[row], knot_s)
        return _interpolated(pred[row], places)

    return _kept_where_better(pred, truth, corrected)


def correct_row_confusion(pred: Floats, truth: Floats, page: ReadPage) -> Floats:
    """Put the truth in place of readings of another row's trace, and of 10 ms on both sides of each."""
    return _replaced_by_truth(pred, truth, find_row_confusion(pred, truth, page).samples)


def correct_outliers(pred: Floats, truth: Floats) -> Floats:
    """Put the truth in place of :func:`outliers`, and of 10 ms on both sides of each."""
    return _replaced_by_truth(pred, truth, outliers(pred, truth))


def correct_all(pred: Floats, truth: Floats, page: ReadPage) -> Floats:
    """Apply all: rows, piecewise linear time base, baseline, gain, outliers. Small errors of the trace stay."""
    corrected = correct_time_base(correct_row_confusion(pred, truth, page), truth, KNOT_S)
    return correct_outliers(correct_gain(correct_baseline(corrected, truth), truth), truth)


def outliers(pred: Floats, truth: Floats) -> Mask:
    """Readings more than 0.25 mV outside the range of the truth within 6 ms: (12, N) bool.

    These are peaks cut off, and letters, separators or other rows read as the trace: faults that neither time base nor
    gain explains. The lead's median offset is subtracted first.
    """
    level = pred - _median_offset_mv(pred, truth, np.zeros(truth.shape, bool))[:, None]
    apart = np.stack([_distance_outside_mv(values, trace) for values, trace in zip(level, truth, strict=True)])
    return np.isfinite(apart) & (apart > _OUTLIER_MV)


def find_row_confusion(pred: Floats, truth: Floats, page: ReadPage) -> RowConfusion:
    """Find readings that were taken from another row's trace.

    A sample is confused if it is an outlier (:func:`outliers`) and within 0.1 mV of the other trace on paper at that
    time, up to 6 ms off. A lead is confused as a whole if more than half of its samples are, or if another row's truth
    of the same time fits its other samples better, by residual and by correlation.

    Args:
        pred: (12, N) mV, NaN unread.
        truth: (12, N) mV, NaN where not printed.
        page: tells which traces are in other rows at the same time, and how far apart the rows are.
    """
    samples = np.zeros(truth.shape, bool)
    leads = []
    printed = np.isfinite(truth)
    level = pred - _median_offset_mv(pred, truth, samples)[:, None]
    off_own = outliers(pred, truth)
    for segment in _read_segments(page):
        row = LEAD_INDEX[segment.lead]
        others = _other_traces(segment, truth, page)
        for gap_mv, trace in others:
            samples[row] |= off_own[row] & (_distance_outside_mv(level[row], trace + gap_mv) < _ON_TRACE_MV)
        rest = printed[row] & ~samples[row]
        if 2 * rest.sum() < printed[row].sum() or any(
            _fits_better(row, pred, np.where(rest, trace, np.nan), np.where(rest, truth[row], np.nan))
            for _, trace in others
        ):
            leads.append(segment.lead)
            samples[row] = printed[row]
    return RowConfusion(tuple(leads), samples, int(printed.sum()))


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


def _read_segments(page: ReadPage) -> list[Segment]:
    """The segment that each lead is read from: its longest."""
    longest: dict[str, Segment] = {}
    for segment in page.segments:
        known = longest.get(segment.lead)
        if known is None or segment.x_end - segment.x_start > known.x_end - known.x_start:
            longest[segment.lead] = segment
    return list(longest.values())


def _other_traces(segment: Segment, truth: Floats, page: ReadPage) -> list[tuple[float, Floats]]:
    """For every other row: the height of its zero line above the segment's, mV, and its trace (N,) at that time."""
    start, stop = page.samples(segment)
    found = []
    for row in range(page.n_rows):
        if row == segment.row:
            continue
        trace = np.full(truth.shape[1], np.nan)
        for other in page.row_segments(row):
            first, last = page.samples(other)
            a, b = max(start, first), min(stop, last)
            # A lead that is printed twice may be read from either row.
            if a < b and other.lead != segment.lead:
                trace[a:b] = truth[LEAD_INDEX[other.lead], a:b]
        if np.isfinite(trace).any():
            gap = (page.zero_y[segment.row] - page.zero_y[row]) / page.scale.px_per_mv
            found.append((gap, trace))
    return found


def _distance_outside_mv(values: Floats, trace: Floats) -> Floats:
    """Distance, mV, of values (N,) from the range of the trace (N,) within 6 ms; infinite where one is unknown."""
    there = np.isfinite(trace)
    size = 2 * _TIME_TOLERANCE_SAMPLES + 1
    low = minimum_filter1d(np.where(there, trace, np.inf), size, mode="nearest")
    high = maximum_filter1d(np.where(there, trace, -np.inf), size, mode="nearest")
    apart = np.maximum(np.maximum(low - values, values - high), 0)
    return np.where(there & np.isfinite(values), apart, np.inf)


def _replaced_by_truth(pred: Floats, truth: Floats, samples: Mask) -> Floats:
    """Put the truth, moved by the lead's median offset, in place of ``samples`` and 10 ms on both sides of each."""
    grown = maximum_filter1d(samples.astype(np.uint8), 2 * _MARGIN_SAMPLES + 1, axis=1, mode="constant") > 0
    offset = _median_offset_mv(pred, truth, samples)
    replaced = np.where(grown & np.isfinite(truth), truth + offset[:, None], pred)
    return _kept_where_better(pred, truth, lambda row: replaced[row])


def _median_offset_mv(pred: Floats, truth: Floats, without: Mask) -> Floats:
    """Median of prediction minus truth without the samples ``without``, (12,) mV; 0 where none is left."""
    known = np.isfinite(pred) & np.isfinite(truth) & ~without
    rows = [float(np.median((p - t)[k])) if k.any() else 0.0 for p, t, k in zip(pred, truth, known, strict=True)]
    return np.array(rows)


def _kept_where_better(pred: Floats, truth: Floats, corrected: Callable[[int], Floats]) -> Floats:
    """Take ``corrected(row)`` for every lead whose RMSE it lowers; the others stay as they are."""
    result = np.array(pred, np.float64)
    lags = _lags(pred, truth)
    for row in range(len(truth)):
        readable = np.isfinite(pred[row]) & np.isfinite(truth[row])
        if np.isfinite(lags[row]) and readable.sum() >= _MIN_SAMPLES:
            result[row] = corrected(row)
    before, after = compare(pred, truth).leads, compare(result, truth).leads
    for row, lead in enumerate(LEADS):
        if not after[lead].rmse_mv < before[lead].rmse_mv:
            result[row] = pred[row]
    return result


def _lags(pred: Floats, truth: Floats) -> Floats:
    """Delay of each lead against its truth, (12,) samples; NaN where not printed or not read."""
    scores = compare(pred, truth).leads
    return np.array([scores[lead].lag_s * SAMPLING_RATE_HZ for lead in LEADS])


def _only_printed(pred: Floats, truth: Floats) -> Floats:
    """The prediction on printed samples only; the measure ignores the others."""
    return np.where(np.isfinite(truth), pred, np.nan)


def _printed_samples(truth: Floats) -> NDArray[np.intp]:
    return np.flatnonzero(np.isfinite(truth))


def _knots(truth: Floats, knot_s: float | None) -> Floats:
    """Places of evenly spaced knots over a lead's printed samples, about ``knot_s`` apart; without it, its two ends."""
    printed = _printed_samples(truth)
    pieces = 1 if knot_s is None else max(1, round((printed[-1] - printed[0]) / (knot_s * SAMPLING_RATE_HZ)))
    return np.linspace(printed[0], printed[-1], pieces + 1)


def _piecewise_linear_basis(places: NDArray[np.intp], knots: Floats, size: int) -> Floats:
    """Weights of a piecewise linear function's values at its knots: (size, knots); 0 in rows outside ``places``."""
    basis = np.zeros((size, knots.size))
    for column, unit in enumerate(np.eye(knots.size)):
        basis[places, column] = np.interp(places, knots, unit)
    return basis


def _interpolated(signal: Floats, places: Floats) -> Floats:
    """A signal (N,) at fractional samples ``places`` (N,), by a cubic spline; NaN in its gaps, ends held for 0.1 s."""
    known = np.flatnonzero(np.isfinite(signal))
    if known.size < 4:
        return np.full(places.shape, np.nan)
    first, last = float(known[0]), float(known[-1])
    inside = np.clip(places, first, last)
    values = CubicSpline(known, signal[known])(inside)
    nearest = np.round(inside).astype(np.int64)
    readable = np.isfinite(signal[nearest]) & (np.abs(places - inside) <= _HOLD_SAMPLES)
    return np.where(readable, values, np.nan)


def _fitted_time_base(pred: Floats, truth: Floats, lag: float, knot_s: float | None) -> Floats:
    """The sample of the prediction that belongs to each sample of the truth: (N,), fractional."""
    size = truth.size
    printed = _printed_samples(truth)
    ends = _piecewise_linear_basis(printed, _knots(truth, None), size)
    levels = [_blurred(pred, truth, sigma) for sigma in _BLUR_SIGMAS_SAMPLES]
    start = min(
        (np.array([lag + shift - bend, lag + shift + bend]) for shift, bend in _first_guesses(printed)),
        key=lambda move: float(np.sum(_residual(move, ends, printed, *levels[0]) ** 2)),
    )
    straight = _least_squares_fit(start, ends, printed, levels, np.full(2, np.inf))
    if knot_s is None:
        return np.arange(size) + ends @ straight
    knots = _knots(truth, knot_s)
    basis = _piecewise_linear_basis(printed, knots, size)
    begin = np.interp(knots, [printed[0], printed[-1]], straight)
    reach = np.full(knots.size, _MAX_BEND_SAMPLES)
    return np.arange(size) + basis @ _least_squares_fit(begin, basis, printed, levels, reach)


def _first_guesses(printed: NDArray[np.intp]) -> list[tuple[float, float]]:
    """Straight time bases to begin from: shift, and stretch at either end; samples."""
    reach = _MAX_STRETCH_SHARE * (printed[-1] - printed[0]) / 2
    return [(float(s), float(b)) for b in np.linspace(-reach, reach, _N_STRETCH_GUESSES) for s in np.arange(-20, 21, 4)]


def _blurred(pred: Floats, truth: Floats, sigma: float) -> tuple[Floats, Floats]:
    """Prediction and truth with straight lines across their gaps, both blurred by the same Gaussian."""
    planes = []
    for signal in (pred, truth):
        known = np.flatnonzero(np.isfinite(signal))
        filled = np.interp(np.arange(signal.size), known, signal[known])
        planes.append(gaussian_filter1d(filled, sigma) if sigma else filled)
    return planes[0], planes[1]


def _residual(move: Floats, basis: Floats, printed: NDArray[np.intp], pred: Floats, truth: Floats) -> Floats:
    found = np.interp(printed + basis[printed] @ move, np.arange(pred.size), pred)
    apart = truth[printed] - found
    return apart - apart.mean()


def _least_squares_fit(
    move: Floats, basis: Floats, printed: NDArray[np.intp], levels: list[tuple[Floats, Floats]], reach: Floats
) -> Floats:
    """Least squares from ``move``, coarse to fine, within ``reach`` of it; samples at the knots."""
    bounds = (move - reach, move + reach)
    for pred, truth in levels:
        move = least_squares(_residual, move, bounds=bounds, args=(basis, printed, pred, truth), max_nfev=25).x
    return move
