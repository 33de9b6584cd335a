"""Delineation of one lead: R peaks, QRS onset, J point, P onset, T end (extra ``clinical``).

**Methods.** R peaks: neurokit2, method ``khamis2016`` (Khamis et al., IEEE Trans. Biomed. Eng. 63, 2016),
on the lead band-passed to 5-30 Hz. P and T peaks of every beat: neurokit2, method ``prominence`` (Emrich, Gargano, Koka
and Muma, EUSIPCO 2024). The ends of the waves are found on the median beat, as electrocardiographs do: QRS onset and
J point where the trace becomes flat, P onset and T end where the tangent of the steepest flank meets the isoelectric
level (Lepeschkin and Surawicz, Circulation 6, 1952). docs/clinical.md gives the reasons.

Times are samples at 500 Hz. Samples that were not read are bridged by straight lines for the filters only; no beat and
no interval is measured there.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy  # imports scipy.signal when it is first used
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from cardioscan.errors import MissingDependencyError
from cardioscan.page.leads import SAMPLING_RATE_HZ
from cardioscan.postprocess.heart_rate import HEART_RATE_RANGE_BPM
from cardioscan.postprocess.runs import finite_runs

Array = NDArray[np.float64]
Samples = NDArray[np.int64]

MIN_BEATS: Final = 3
"""Fewest R peaks for a heart rate, and fewest beats of the typical shape for intervals and ST levels."""

MIN_READ_S: Final = 5.0
"""Seconds of the lead that must be read; with less, nothing is measured."""

_MAX_GAP_SAMPLES: Final = 20  # 40 ms: shorter than a P wave and about half a QRS complex
_QRS_BAND_HZ: Final = (5.0, 30.0)
_WAVE_BAND_HZ: Final = (0.5, 40.0)
_EDGE_SAMPLES: Final = 100  # 0.2 s: nearer to an end, the detector finds beats only by chance
_BEFORE_GAP_SAMPLES: Final = 50  # the rest of a QRS complex that a gap cuts is detected in the wrong place,
_AFTER_GAP_SAMPLES: Final = 200  # and the T wave of a beat in the gap may be detected as a beat
_MIN_QRS_CONTRAST: Final = 2.0  # amplitude in the QRS band, beats over median; noise and hum reach 1.7
_MIN_QRS_MV: Final = 0.01  # root mean square in the QRS band over 0.1 s
_QRS_HALF_SAMPLES: Final = 40  # on either side of the R peak, for comparing beats
_MAX_ALIGNMENT_SAMPLES: Final = 20  # largest shift of a beat onto the others
_MIN_QRS_CORRELATION: Final = 0.85  # with the median QRS complex; extra beats have less
_BEAT_BEFORE_R_S: Final = 0.32  # extent of the median beat at slow rates
_BEAT_AFTER_R_S: Final = 0.75
_MAX_QRS_HALF_SAMPLES: Final = 75  # from the steepest place to either end of QRS
_FLAT_SAMPLES: Final = 8  # 16 ms: a flat trace of this length ends QRS
_FLAT_SLOPE_SHARE: Final = 0.06  # of the steepest slope
_FLAT_SLOPE_MV_PER_S: Final = 2.0  # digitizing noise in the median beat is mostly below
_ISOELECTRIC_SAMPLES: Final = 10  # before QRS
_MAX_WAVE_JITTER_SAMPLES: Final = 10  # largest distance of a wave from its common place
_MIN_WAVE_SHARE: Final = 0.6  # share of beats with the wave at its common place
_MIN_P_MV: Final = 0.025
_MIN_P_CORRELATION: Final = 0.5
_P_HALF_SAMPLES: Final = 45  # half of the widest P wave
_MIN_T_MV: Final = 0.05
_T_HALF_SAMPLES: Final = 100

# On unusable signals neurokit2 raises different errors, depending on the step that fails.
_NEUROKIT_ERRORS: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


@dataclass(frozen=True)
class Delineation:
    """Beats and waves of one lead; NaN is "not measured".

    Attributes:
        heart_rate_bpm: 60 over the mean R-R interval in s, extra beats included.
        r_peaks: (n,) int64, R peaks of the beats that have the typical shape, samples; empty where there is no QRS.
        p_onset, qrs_onset, j_point, t_end: of the median beat, samples after the R peak (negative: before).
    """

    heart_rate_bpm: float
    r_peaks: Samples
    p_onset: float = np.nan
    qrs_onset: float = np.nan
    j_point: float = np.nan
    t_end: float = np.nan


def delineate(lead: NDArray[np.floating]) -> Delineation:
    """Find beats and waves in one lead.

    Args:
        lead: (N,) mV at 500 Hz, NaN where not printed or not read.

    Raises:
        MissingDependencyError: neurokit2 is not installed.
    """
    neurokit = _neurokit()
    values = np.asarray(lead, np.float64)
    nothing = Delineation(np.nan, np.empty(0, np.int64))
    known = np.flatnonzero(np.isfinite(values))
    if known.size < MIN_READ_S * SAMPLING_RATE_HZ:
        return nothing
    start = int(known[0])
    values = values[start : int(known[-1]) + 1]
    read = np.isfinite(values)
    bridged = np.interp(np.arange(values.size), known - start, values[read])

    hidden = _long_gaps(read)
    peaks = _r_peaks(neurokit, bridged, hidden)
    rate = _heart_rate(peaks, hidden)
    if np.isnan(rate):
        return nothing
    waves = _bandpassed(bridged, _WAVE_BAND_HZ)
    peaks, typical = _align(waves, peaks)
    if typical.sum() < MIN_BEATS:
        return Delineation(rate, np.empty(0, np.int64))
    period = SAMPLING_RATE_HZ * 60 / rate
    before = int(min(_BEAT_BEFORE_R_S * SAMPLING_RATE_HZ, 0.55 * period))
    after = int(min(_BEAT_AFTER_R_S * SAMPLING_RATE_HZ, 0.75 * period))
    typical &= _completely_read(read, peaks, before, after)
    if typical.sum() < MIN_BEATS:
        return Delineation(rate, np.empty(0, np.int64))

    beats = np.stack([waves[peak - before : peak + after] for peak in peaks[typical]])
    beat = np.median(beats, axis=0)
    bounds = _qrs_bounds(beat, before)
    if bounds is None:
        return Delineation(rate, np.empty(0, np.int64))
    onset, j_point = bounds
    tips = peaks + _r_tip(beat, onset, j_point) - before
    p_peaks, t_peaks = (place[typical] - peaks[typical] for place in _p_and_t_peaks(neurokit, waves, tips, period))
    return Delineation(
        heart_rate_bpm=rate,
        r_peaks=start + peaks[typical],
        p_onset=_p_onset(beats, beat, before + p_peaks, onset) - before,
        qrs_onset=float(onset - before),
        j_point=float(j_point - before),
        t_end=_t_end(beat, before + t_peaks, onset, j_point) - before,
    )


def _neurokit() -> Any:
    try:
        with _without_warnings():
            import neurokit2
    except ImportError as error:
        raise MissingDependencyError("neurokit2", "clinical", "Measuring heart rate and intervals") from error
    return neurokit2


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Suppress the warnings of neurokit2 about beats at the ends and empty slices."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def _bandpassed(values: Array, band_hz: tuple[float, float]) -> Array:
    """Band-pass without delay; second order, forward and backward."""
    filtered: Array = scipy.signal.sosfiltfilt(
        scipy.signal.butter(2, band_hz, "bandpass", fs=SAMPLING_RATE_HZ, output="sos"), values
    )
    return filtered


def _long_gaps(read: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Samples in gaps that are long enough to hide a QRS complex."""
    hidden = np.zeros(read.size, np.bool_)
    for start, stop in finite_runs(np.where(read, np.nan, 0.0)):
        hidden[start:stop] = stop - start > _MAX_GAP_SAMPLES
    return hidden


def _r_peaks(neurokit: Any, values: Array, hidden: NDArray[np.bool_]) -> Samples:
    """R peaks, ascending, none near a long gap; none at all where QRS complexes do not stand out of the noise."""
    none = np.empty(0, np.int64)
    band = _bandpassed(values, _QRS_BAND_HZ)
    try:
        with _without_warnings():
            info = neurokit.ecg_findpeaks(band, sampling_rate=SAMPLING_RATE_HZ, method="khamis2016")
            peaks = np.unique(np.asarray(info["ECG_R_Peaks"], np.int64))
    except _NEUROKIT_ERRORS:
        return none
    peaks = peaks[(peaks >= _EDGE_SAMPLES) & (peaks < values.size - _EDGE_SAMPLES)]
    doubtful = np.zeros(values.size, np.bool_)
    for start, stop in finite_runs(np.where(hidden, 0.0, np.nan)):
        doubtful[max(0, start - _BEFORE_GAP_SAMPLES) : stop + _AFTER_GAP_SAMPLES] = True
    peaks = peaks[~doubtful[peaks]]
    if peaks.size < MIN_BEATS:
        return none
    power = np.convolve(band**2, np.full(50, 0.02), "same")
    at_beats = np.median(sliding_window_view(power, 61)[peaks - 30].max(axis=1))
    contrast = np.sqrt(at_beats / max(float(np.median(power[~hidden])), 1e-12))
    return peaks if contrast >= _MIN_QRS_CONTRAST and at_beats >= _MIN_QRS_MV**2 else none


def _heart_rate(peaks: Samples, hidden: NDArray[np.bool_]) -> float:
    """Beats per minute, without R-R intervals across a long gap, which may hide a beat."""
    intervals = np.diff(peaks)[np.diff(np.cumsum(hidden)[peaks]) == 0]
    if intervals.size < MIN_BEATS - 1:
        return np.nan
    rate = 60 * SAMPLING_RATE_HZ / float(intervals.mean())
    return rate if HEART_RATE_RANGE_BPM[0] <= rate <= HEART_RATE_RANGE_BPM[1] else np.nan


def _align(waves: Array, peaks: Samples) -> tuple[Samples, NDArray[np.bool_]]:
    """R peaks moved so that their QRS complexes coincide, and which complexes resemble the median one.

    R is where the median complex is farthest from its median level: the S wave in a lead with a negative QRS.
    """
    reach = _QRS_HALF_SAMPLES + _MAX_ALIGNMENT_SAMPLES
    around = np.stack([waves[peak - reach : peak + reach + 1] for peak in peaks])
    moved = sliding_window_view(around, 2 * _QRS_HALF_SAMPLES + 1, axis=1)
    centred = moved - moved.mean(axis=-1, keepdims=True)
    norms = np.maximum(np.linalg.norm(centred, axis=-1), 1e-12)
    shift = np.full(peaks.size, _MAX_ALIGNMENT_SAMPLES)
    beat = np.arange(peaks.size)
    for _ in range(3):
        typical = np.median(centred[beat, shift], axis=0)
        similarity = centred @ typical / (norms * max(float(np.linalg.norm(typical)), 1e-12))
        shift = similarity.argmax(axis=1)
    typical = np.median(moved[beat, shift], axis=0)
    farthest = int(np.abs(typical - np.median(typical)).argmax()) - _QRS_HALF_SAMPLES
    return peaks + shift - _MAX_ALIGNMENT_SAMPLES + farthest, similarity[beat, shift] >= _MIN_QRS_CORRELATION


def _completely_read(read: NDArray[np.bool_], peaks: Samples, before: int, after: int) -> NDArray[np.bool_]:
    """Which beats were read without a gap: (n,) bool."""
    return np.array([p >= before and p + after <= read.size and read[p - before : p + after].all() for p in peaks])


def _qrs_bounds(beat: Array, r_peak: int) -> tuple[int, int] | None:
    """QRS onset and J point: outward from the steepest place, where the slope first stays small for 16 ms."""
    slope = np.abs(scipy.signal.savgol_filter(beat, 9, 2, deriv=1)) * SAMPLING_RATE_HZ
    first, last = max(0, r_peak - 50), r_peak + 60
    steepest = first + int(slope[first:last].argmax())
    flat = slope < max(_FLAT_SLOPE_SHARE * slope[steepest], _FLAT_SLOPE_MV_PER_S)
    # Run k covers the samples k to k + _FLAT_SAMPLES - 1.
    runs = np.flatnonzero(sliding_window_view(flat, _FLAT_SAMPLES).all(axis=-1))
    left, right = runs[runs + _FLAT_SAMPLES - 1 < steepest], runs[runs > steepest]
    if not left.size or not right.size:
        return None
    onset, j_point = int(left[-1]) + _FLAT_SAMPLES - 1, int(right[0])
    near = steepest - onset <= _MAX_QRS_HALF_SAMPLES and j_point - steepest <= _MAX_QRS_HALF_SAMPLES
    return (onset, j_point) if near else None


def _r_tip(beat: Array, onset: int, j_point: int) -> int:
    """The tip of R: the highest point of QRS, or the lowest where QRS has no positive wave."""
    qrs = beat[onset : j_point + 1] - beat[onset]
    return onset + int(qrs.argmax() if qrs.max() >= 0.1 * np.ptp(qrs) else qrs.argmin())


def _p_and_t_peaks(neurokit: Any, waves: Array, peaks: Samples, period: float) -> tuple[Array, Array]:
    """P and T peak of every beat, samples; NaN where there is none."""
    # The library's 150 ms from S to T are too long at fast rates, where T waves come earlier.
    st_ms = 150 * min(1.0, float(np.sqrt(period / SAMPLING_RATE_HZ)))
    places = []
    try:
        with _without_warnings():
            _, found = neurokit.ecg_delineate(
                waves, peaks, sampling_rate=SAMPLING_RATE_HZ, method="prominence", typical_st_segment=st_ms
            )
        places = [np.asarray(found[key], np.float64) for key in ("ECG_P_Peaks", "ECG_T_Peaks")]
    except _NEUROKIT_ERRORS:
        pass
    if [place.shape for place in places] != [peaks.shape] * 2:
        return np.full(peaks.size, np.nan), np.full(peaks.size, np.nan)
    return places[0], places[1]


def _common_place(places: Array) -> int | None:
    """The place that a wave has in most beats, in samples; None where it has none."""
    if np.isfinite(places).sum() < MIN_BEATS:
        return None
    typical = float(np.nanmedian(places))
    return round(typical) if np.mean(np.abs(places - typical) <= _MAX_WAVE_JITTER_SAMPLES) >= _MIN_WAVE_SHARE else None


def _p_onset(beats: Array, beat: Array, places: Array, onset: int) -> float:
    """Where the tangent of the rising flank of P meets the level before it; NaN without a steady P wave.

    A P wave must be at the same place in most beats, above the noise, and alike from beat to beat; fibrillatory waves
    are not.
    """
    place = _common_place(places)
    if place is None or not 0 < place < onset:
        return np.nan
    first = max(0, place - _MAX_WAVE_JITTER_SAMPLES)
    peak = first + int(beat[first : min(onset, place + _MAX_WAVE_JITTER_SAMPLES + 1)].argmax())
    foot = max(0, peak - _P_HALF_SAMPLES)
    if peak - foot < _P_HALF_SAMPLES // 3 or beat[peak] - beat[foot:peak].min() < _MIN_P_MV:
        return np.nan
    window = slice(foot, min(onset, peak + _P_HALF_SAMPLES))
    typical = beat[window] - beat[window].mean()
    each = beats[:, window] - beats[:, window].mean(axis=1, keepdims=True)
    similarity = each @ typical / np.maximum(np.linalg.norm(each, axis=1) * np.linalg.norm(typical), 1e-12)
    if np.median(similarity) < _MIN_P_CORRELATION:
        return np.nan
    slope = scipy.signal.savgol_filter(beat, 11, 2, deriv=1)
    steepest = foot + int(slope[foot:peak].argmax())
    start = steepest - (beat[steepest] - beat[foot:peak].min()) / max(slope[steepest], 1e-12)
    return float(start) if start >= 0 else np.nan


def _t_end(beat: Array, places: Array, onset: int, j_point: int) -> float:
    """Where the tangent of the falling flank of T meets the level before QRS; NaN without a steady T wave."""
    place = _common_place(places)
    if place is None or not j_point < place < beat.size:
        return np.nan
    level = float(np.median(beat[max(0, onset - _ISOELECTRIC_SAMPLES) : onset + 1]))
    height = beat - level if beat[place] >= level else level - beat  # an inverted T wave is turned upright
    first = max(j_point, place - 2 * _MAX_WAVE_JITTER_SAMPLES)
    peak = first + int(height[first : place + 2 * _MAX_WAVE_JITTER_SAMPLES + 1].argmax())
    flank = scipy.signal.savgol_filter(height, 15, 2, deriv=1)[peak : peak + _T_HALF_SAMPLES]
    if height[peak] < _MIN_T_MV or flank.size < _T_HALF_SAMPLES // 4 or flank.min() >= 0:
        return np.nan
    steepest = int(flank.argmin())
    end = steepest - height[peak + steepest] / flank[steepest]
    # An end after the median beat, or long after the flank, is not the end of T.
    return float(peak + end) if peak + end < beat.size and end - steepest <= _T_HALF_SAMPLES else np.nan
