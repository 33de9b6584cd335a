"""The measure: signal-to-noise ratio, Pearson r and RMSE of signals against ground truth (arrays only).

The measure (that of the PhysioNet "Digitization of ECG Images" challenge): per lead the prediction is shifted by at
most 0.2 s, to the lag of highest cross-correlation, and its mean offset from the truth is removed. Signal power is
the sum of squares of the truth *as it is*, its own mean included; noise power is that of the residual; both are
summed over the leads of a page, on printed samples only. A printed sample that the shifted prediction does not cover
counts as a prediction of 0 mV, and so does one that was never read (NaN). The ratio of a page is capped at 384
(25.84 dB); a page that was not digitized has ratio 0. A set scores 10 log10 of the mean ratio.

"Printed" means: finite in the truth. Samples of a prediction that are not printed are ignored, also by the shift.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cardioscan.errors import InvalidRecordError
from cardioscan.page.leads import LEADS, SAMPLING_RATE_HZ
from cardioscan.record import finite_or_none

RATIO_CAP: Final = 384.0
MAX_SHIFT_S: Final = 0.2


@dataclass(frozen=True)
class LeadScore:
    """One lead against its truth, after shift and offset.

    Attributes:
        snr_db: 10 log10 of signal over noise power, not capped; -inf where nothing was read, NaN where nothing is
            printed.
        r: Pearson correlation on printed samples, missing ones counting as 0 mV; 0 for a constant prediction, NaN where
            the truth is constant.
        rmse_mv: root mean square of the residual on printed samples, mV.
        lag_s: how much later than the truth the prediction was, s (the shift that undoes it is its negative).
        gain: slope of the prediction against the truth on covered samples (1 = right), NaN where there is none.
        n_samples: printed samples; 0 where the lead is not printed (everything else is NaN then).
    """

    snr_db: float
    r: float
    rmse_mv: float
    lag_s: float
    gain: float
    n_samples: int


@dataclass(frozen=True)
class PageScore:
    """One page against its truth.

    Attributes:
        ratio: signal over noise power of the page, capped at 384; 0 where the page was not digitized.
        snr_db: 10 log10 of the ratio; -inf where the page was not digitized.
        digitized: False for a refused page.
        leads: all twelve by name, printed or not.
    """

    ratio: float
    snr_db: float
    digitized: bool
    leads: Mapping[str, LeadScore]

    @property
    def mean_r(self) -> float:
        """Mean Pearson r over the printed leads."""
        return _mean([lead.r for lead in self.leads.values()])

    @property
    def mean_rmse_mv(self) -> float:
        """Mean RMSE over the printed leads, mV."""
        return _mean([lead.rmse_mv for lead in self.leads.values()])

    def to_json_dict(self) -> dict[str, Any]:
        """Plain JSON values; infinities and NaN become None."""
        return {
            "ratio": self.ratio,
            "snr_db": finite_or_none(self.snr_db),
            "digitized": self.digitized,
            "leads": {
                name: {key: finite_or_none(value) for key, value in vars(lead).items()}
                for name, lead in self.leads.items()
            },
        }


@dataclass(frozen=True)
class SetScore:
    """A set of pages.

    Attributes:
        n_pages: pages in the set, refused ones included.
        snr_db: 10 log10 of the mean ratio over all pages; -inf where every page was refused.
        median_db, percentile_10_db: over all pages, a refused page counting as -inf.
        share_refused: refused pages over all pages.
        mean_r, mean_rmse_mv: over leads and digitized pages; NaN where there are none.
        lead_r, lead_rmse_mv: the same per lead.
    """

    n_pages: int
    snr_db: float
    median_db: float
    percentile_10_db: float
    share_refused: float
    mean_r: float
    mean_rmse_mv: float
    lead_r: Mapping[str, float]
    lead_rmse_mv: Mapping[str, float]

    @classmethod
    def from_pages(cls, pages: Sequence[PageScore]) -> SetScore:
        """Summarize pages. Raises ValueError for an empty set."""
        if not pages:
            raise ValueError("a set of no pages has no score")
        decibels = np.sort([page.snr_db for page in pages])
        digitized = [page for page in pages if page.digitized]
        names = list(dict.fromkeys(name for page in pages for name in page.leads))
        per_lead = {name: [page.leads[name] for page in digitized if name in page.leads] for name in names}
        return cls(
            n_pages=len(pages),
            snr_db=to_db(math.fsum(page.ratio for page in pages) / len(pages)),
            median_db=_percentile(decibels, 50),
            percentile_10_db=_percentile(decibels, 10),
            share_refused=1 - len(digitized) / len(pages),
            mean_r=_mean([lead.r for scores in per_lead.values() for lead in scores]),
            mean_rmse_mv=_mean([lead.rmse_mv for scores in per_lead.values() for lead in scores]),
            lead_r={name: _mean([lead.r for lead in scores]) for name, scores in per_lead.items()},
            lead_rmse_mv={name: _mean([lead.rmse_mv for lead in scores]) for name, scores in per_lead.items()},
        )

    def to_json_dict(self) -> dict[str, Any]:
        """Plain JSON values; infinities and NaN become None."""
        return {
            key: {name: finite_or_none(item) for name, item in value.items()}
            if isinstance(value, Mapping)
            else finite_or_none(value)
            for key, value in vars(self).items()
        }


def compare(pred: NDArray[np.floating], truth: NDArray[np.floating], rate: float = SAMPLING_RATE_HZ) -> PageScore:
    """Score one page; see the module's text for the measure.

    Args:
        pred: (12, N) mV; NaN = not read. A prediction without any finite printed sample counts as refused.
        truth: (12, N) mV; NaN = not printed.
        rate: samples per second of both.

    Raises:
        InvalidRecordError: the shapes differ or are not (12, N), or the truth holds no finite sample.
    """
    predicted, true = _checked(pred, truth)
    printed = np.isfinite(true)
    if not printed.any():
        raise InvalidRecordError("the truth holds no finite sample: nothing to compare with")
    counts = printed.sum(axis=1)
    covered = printed & np.isfinite(predicted)
    shift = _best_shifts(predicted, covered, true, printed, round(MAX_SHIFT_S * rate))
    aligned, covered = _shifted(predicted, covered, shift, printed)

    filled = np.where(printed, true, 0.0)
    offset = np.where(covered, aligned - filled, 0).sum(axis=1) / np.maximum(covered.sum(axis=1), 1)
    aligned = np.where(covered, aligned - offset[:, None], 0.0)
    signal = (filled**2).sum(axis=1)
    noise = ((filled - aligned) ** 2).sum(axis=1)
    read = covered.any(axis=1)

    with np.errstate(divide="ignore", invalid="ignore"):
        snr = np.where(read, 10 * np.log10(signal / noise), -np.inf)
        r = _pearson(aligned, filled, printed)
        gain = _slope(aligned, filled, covered)
        rmse = np.sqrt(noise / counts)
    lag = np.where(read, -shift / rate, np.nan) + 0.0
    leads = {
        name: LeadScore(float(snr[k]), float(r[k]), float(rmse[k]), float(lag[k]), float(gain[k]), int(counts[k]))
        if counts[k]
        else LeadScore(math.nan, math.nan, math.nan, math.nan, math.nan, 0)
        for k, name in enumerate(LEADS)
    }
    digitized = bool(read.any())
    ratio = _capped(float(signal.sum()), float(noise.sum())) if digitized else 0.0
    return PageScore(ratio, to_db(ratio), digitized, leads)


def refused_page(truth: NDArray[np.floating], rate: float = SAMPLING_RATE_HZ) -> PageScore:
    """The score of a page that was not digitized: ratio 0."""
    return compare(np.full(np.shape(truth), np.nan), truth, rate)


def agreement(a: NDArray[np.floating], b: NDArray[np.floating], rate: float = SAMPLING_RATE_HZ) -> float:
    """Signal-to-noise ratio, dB, between two digitizations of a page without a truth. Symmetric.

    Per lead, ``b`` is shifted as in :func:`compare`, and both lose their mean over the samples that both have. Signal
    power is the mean of the two powers, noise power that of their difference; where only one has a sample, the other
    counts as 0. Capped as in :func:`compare`; -inf where they share no sample.

    Args:
        a, b: (12, N) mV; NaN = not printed or not read.
        rate: samples per second of both.

    Raises:
        InvalidRecordError: the shapes differ or are not (12, N).
    """
    first, second = _checked(a, b)
    longest = round(MAX_SHIFT_S * rate)
    # Padded, so that a shift drops no sample and swapping the two changes nothing.
    first, second = (np.pad(x, ((0, 0), (longest, longest)), constant_values=np.nan) for x in (first, second))
    in_first, in_second = np.isfinite(first), np.isfinite(second)
    shift = _best_shifts(second, in_second, first, in_first, longest)
    second, in_second = _shifted(second, in_second, shift, np.ones_like(in_first))
    both = in_first & in_second
    if not both.any():
        return -math.inf
    first, second = _centred(first, in_first, both), _centred(second, in_second, both)
    signal = ((first**2).sum() + (second**2).sum()) / 2
    return to_db(_capped(float(signal), float(((first - second) ** 2).sum())))


def to_db(ratio: float) -> float:
    """10 log10 of a power ratio; -inf for 0."""
    return 10 * math.log10(ratio) if ratio > 0 else -math.inf


def _checked(a: NDArray[np.floating], b: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.ndim != 2 or first.shape != second.shape or first.shape[0] != len(LEADS):
        raise InvalidRecordError(f"two arrays of one shape ({len(LEADS)}, N) needed, not {first.shape}, {second.shape}")
    return first, second


def _centred(x: NDArray[np.float64], there: NDArray[np.bool_], over: NDArray[np.bool_]) -> NDArray[np.float64]:
    """``x`` minus its mean per row over the samples ``over``; 0 where not ``there``."""
    mean = np.where(over, x, 0).sum(axis=1, keepdims=True) / np.maximum(over.sum(axis=1, keepdims=True), 1)
    centred = np.where(there, x - mean, 0.0)
    # A constant row must become exactly 0: its rounding errors would have a lag and a correlation of their own.
    scale = np.abs(np.where(there, x, 0)).max(axis=1, keepdims=True, initial=0)
    constant = np.abs(centred).max(axis=1, keepdims=True, initial=0) <= 1e-12 * scale
    return np.where(constant, 0.0, centred)


def _best_shifts(
    pred: NDArray[np.float64],
    covered: NDArray[np.bool_],
    true: NDArray[np.float64],
    printed: NDArray[np.bool_],
    longest: int,
) -> NDArray[np.int64]:
    """Shift of each row of ``pred`` to the right, samples, at most ``longest``; the shortest of equally good ones."""
    x, y = _centred(pred, covered, covered), _centred(true, printed, printed)
    length = x.shape[1] + longest
    product = np.fft.rfft(y, length) * np.conj(np.fft.rfft(x, length))
    circular = np.fft.irfft(product, length)
    # Shortest shifts first, so that argmax takes the shortest of those that are equal up to rounding of the FFT.
    shifts = np.array(sorted(range(-longest, longest + 1), key=abs))
    correlation = circular[:, shifts]
    slack = 1e-9 * np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    nearly_best = correlation >= (correlation.max(axis=1) - slack)[:, None]
    best: NDArray[np.int64] = shifts[nearly_best.argmax(axis=1)]
    return best


def _shifted(
    x: NDArray[np.float64], there: NDArray[np.bool_], shift: NDArray[np.int64], wanted: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Rows moved right by ``shift``, and where they have samples among the ``wanted`` ones; 0 elsewhere."""
    source = np.arange(x.shape[1]) - shift[:, None]
    inside = (source >= 0) & (source < x.shape[1])
    source = np.clip(source, 0, x.shape[1] - 1)
    moved_there = np.take_along_axis(there, source, axis=1) & inside & wanted
    return np.where(moved_there, np.take_along_axis(x, source, axis=1), 0.0), moved_there


def _pearson(x: NDArray[np.float64], y: NDArray[np.float64], over: NDArray[np.bool_]) -> NDArray[np.float64]:
    x, y = _centred(x, over, over), _centred(y, over, over)
    power_x, power_y = (x**2).sum(axis=1), (y**2).sum(axis=1)
    # A constant prediction has correlation 0; for a constant truth it is undefined.
    r = (x * y).sum(axis=1) / np.sqrt(np.where(power_x > 0, power_x, np.inf) * power_y)
    return np.where(power_y > 0, np.clip(r, -1, 1), np.nan)


def _slope(x: NDArray[np.float64], y: NDArray[np.float64], over: NDArray[np.bool_]) -> NDArray[np.float64]:
    x, y = _centred(x, over, over), _centred(y, over, over)
    slope: NDArray[np.float64] = (x * y).sum(axis=1) / (y**2).sum(axis=1)
    return slope


def _capped(signal: float, noise: float) -> float:
    if signal <= 0:
        return 0.0
    return RATIO_CAP if noise * RATIO_CAP <= signal else signal / noise


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def _percentile(ordered: NDArray[np.float64], percent: float) -> float:
    """Percentile with linear interpolation; -inf wherever it would have to interpolate from -inf."""
    place = percent / 100 * (len(ordered) - 1)
    low, share = int(place), place - int(place)
    value = float(ordered[low])
    return value if share < 1e-9 or value == -math.inf else value + share * (float(ordered[low + 1]) - value)
