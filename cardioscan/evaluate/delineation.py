"""Where beats and waves lie in one lead: R peaks, QRS onset, J point, P onset, T end (extra ``clinical``).

**What comes from where.** R peaks: neurokit2, method ``khamis2016`` (Khamis et al., IEEE Trans. Biomed. Eng. 63, 2016),
on the lead band-passed to 5-30 Hz. P and T peaks of every beat: neurokit2, method ``prominence`` (Emrich, Gargano, Koka
and Muma, EUSIPCO 2024). The ends of the waves are found on the median beat, as electrocardiographs do: QRS onset and
J point where the slope has become calm, P onset and T end where the tangent of the steepest flank meets the
isoelectric level (Lepeschkin and Surawicz, Circulation 6, 1952). docs/clinical.md tells why.

Times are samples at 500 Hz. Samples that were not read are bridged by straight lines for the filters alone: no beat
and no interval is taken from there.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy  # which imports scipy.signal when it is first used
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from cardioscan.errors import MissingDependencyError
from cardioscan.page.leads import SAMPLING_RATE_HZ
from cardioscan.postprocess.heart_rate import HEART_RATE_RANGE_BPM
from cardioscan.postprocess.runs import finite_runs

Array = NDArray[np.float64]
Samples = NDArray[np.int64]

MIN_BEATS: Final = 3
"""Fewest R peaks for a heart rate, and fewest beats of the usual shape for intervals and ST levels."""

MIN_READ_S: Final = 5.0
"""Seconds of the lead that must have been read; with less, nothing is measured."""

_MAX_GAP_SAMPLES: Final = 20  # 40 ms: shorter than a P wave and about half a QRS complex
_QRS_BAND_HZ: Final = (5.0, 30.0)
_WAVE_BAND_HZ: Final = (0.5, 40.0)
_EDGE: Final = 100  # 0.2 s: whether a beat so near an end is found is chance
_BEFORE_GAP: Final = 50  # what a gap leaves of a QRS complex is found beside its true place,
_AFTER_GAP: Final = 200  # and the T wave of a beat that it hides may be taken for a beat
_MIN_CONTRAST: Final = 2.0  # of the QRS band, beats over the middle value; noise and hum reach 1.7
_MIN_QRS_MV: Final = 0.01  # of the QRS band, root mean square over 0.1 s
_HALF: Final = 40  # samples on either side of the R peak by which beats are compared
_REACH: Final = 20  # samples by which a beat may be moved onto the others
_MIN_SIMILARITY: Final = 0.85  # of a QRS complex with the median one; extra beats have less
_BEFORE_S: Final = 0.32  # of the median beat, at slow rates
_AFTER_S: Final = 0.75
_QRS_REACH: Final = 75  # samples from the steepest place to either end of QRS
_CALM: Final = 8  # samples (16 ms) of calm that end QRS
_CALM_SHARE: Final = 0.06  # of the steepest slope
_CALM_MV_PER_S: Final = 2.0  # what digitizing leaves in the median beat is mostly below
_ISOELECTRIC: Final = 10  # samples before QRS
_SAME_PLACE: Final = 10  # samples by which the same wave of two beats may lie apart
_MIN_SAME: Final = 0.6  # share of beats that have the wave at its place
_MIN_P_MV: Final = 0.025
_MIN_P_SIMILARITY: Final = 0.5
_P_HALF: Final = 45  # samples: half of the widest P wave
_MIN_T_MV: Final = 0.05
_T_HALF: Final = 100

# What neurokit2 raises on signals that it cannot work with depends on where it stumbles.
_NEUROKIT_ERRORS: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


@dataclass(frozen=True)
class Delineation:
    """Beats and waves of one lead; NaN is "not measured".

    Attributes:
        heart_rate_bpm: 60 over the mean R-R interval in s, extra beats included.
        r_peaks: (n,) int64, R peaks of the beats that have the usual shape, samples; empty where there is no QRS.
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

    hidden = _may_hide_beats(read)
    peaks = _r_peaks(neurokit, bridged, hidden)
    rate = _heart_rate(peaks, hidden)
    if np.isnan(rate):
        return nothing
    waves = _band(bridged, _WAVE_BAND_HZ)
    peaks, usual = _align(waves, peaks)
    if usual.sum() < MIN_BEATS:
        return Delineation(rate, np.empty(0, np.int64))
    period = SAMPLING_RATE_HZ * 60 / rate
    before = int(min(_BEFORE_S * SAMPLING_RATE_HZ, 0.55 * period))
    after = int(min(_AFTER_S * SAMPLING_RATE_HZ, 0.75 * period))
    usual &= _whole(read, peaks, before, after)
    if usual.sum() < MIN_BEATS:
        return Delineation(rate, np.empty(0, np.int64))

    beats = np.stack([waves[peak - before : peak + after] for peak in peaks[usual]])
    beat = np.median(beats, axis=0)
    bounds = _qrs_bounds(beat, before)
    if bounds is None:
        return Delineation(rate, np.empty(0, np.int64))
    onset, j_point = bounds
    tips = peaks + _tip(beat, onset, j_point) - before
    p_peaks, t_peaks = (place[usual] - peaks[usual] for place in _p_and_t_peaks(neurokit, waves, tips, period))
    return Delineation(
        heart_rate_bpm=rate,
        r_peaks=start + peaks[usual],
        p_onset=_p_onset(beats, beat, before + p_peaks, onset) - before,
        qrs_onset=float(onset - before),
        j_point=float(j_point - before),
        t_end=_t_end(beat, before + t_peaks, onset, j_point) - before,
    )


def _neurokit() -> Any:
    try:
        with _quiet():
            import neurokit2
    except ImportError as error:
        raise MissingDependencyError("neurokit2", "clinical", "Measuring heart rate and intervals") from error
    return neurokit2


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings that neurokit2 gives for beats at the ends and for empty slices."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def _band(values: Array, band_hz: tuple[float, float]) -> Array:
    """Values band-passed without delay."""
    filtered: Array = scipy.signal.sosfiltfilt(
        scipy.signal.butter(2, band_hz, "bandpass", fs=SAMPLING_RATE_HZ, output="sos"), values
    )
    return filtered


def _may_hide_beats(read: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Samples of gaps that are long enough to hide a QRS complex."""
    hidden = np.zeros(read.size, np.bool_)
    for start, stop in finite_runs(np.where(read, np.nan, 0.0)):
        hidden[start:stop] = stop - start > _MAX_GAP_SAMPLES
    return hidden


def _r_peaks(neurokit: Any, values: Array, hidden: NDArray[np.bool_]) -> Samples:
    """R peaks, ascending, none near a gap that hides beats; no peaks at all where no QRS complex stands out."""
    none = np.empty(0, np.int64)
    band = _band(values, _QRS_BAND_HZ)
    try:
        with _quiet():
            info = neurokit.ecg_findpeaks(band, sampling_rate=SAMPLING_RATE_HZ, method="khamis2016")
            peaks = np.unique(np.asarray(info["ECG_R_Peaks"], np.int64))
    except _NEUROKIT_ERRORS:
        return none
    peaks = peaks[(peaks >= _EDGE) & (peaks < values.size - _EDGE)]
    doubtful = np.zeros(values.size, np.bool_)
    for start, stop in finite_runs(np.where(hidden, 0.0, np.nan)):
        doubtful[max(0, start - _BEFORE_GAP) : stop + _AFTER_GAP] = True
    peaks = peaks[~doubtful[peaks]]
    if peaks.size < MIN_BEATS:
        return none
    power = np.convolve(band**2, np.full(50, 0.02), "same")
    at_beats = np.median(sliding_window_view(power, 61)[peaks - 30].max(axis=1))
    contrast = np.sqrt(at_beats / max(float(np.median(power[~hidden])), 1e-12))
    return peaks if contrast >= _MIN_CONTRAST and at_beats >= _MIN_QRS_MV**2 else none


def _heart_rate(peaks: Samples, hidden: NDArray[np.bool_]) -> float:
    """Beats per minute; R-R intervals across a gap that may hide a beat are left out."""
    intervals = np.diff(peaks)[np.diff(np.cumsum(hidden)[peaks]) == 0]
    if intervals.size < MIN_BEATS - 1:
        return np.nan
    rate = 60 * SAMPLING_RATE_HZ / float(intervals.mean())
    return rate if HEART_RATE_RANGE_BPM[0] <= rate <= HEART_RATE_RANGE_BPM[1] else np.nan


def _align(waves: Array, peaks: Samples) -> tuple[Samples, NDArray[np.bool_]]:
    """Peaks moved so that the QRS complexes lie on each other, and which of them are alike.

    R is where the median complex is farthest from its middle level: the tip of S in a lead that looks down.
    """
    reach = _HALF + _REACH
    around = np.stack([waves[peak - reach : peak + reach + 1] for peak in peaks])
    moved = sliding_window_view(around, 2 * _HALF + 1, axis=1)
    centred = moved - moved.mean(axis=-1, keepdims=True)
    norms = np.maximum(np.linalg.norm(centred, axis=-1), 1e-12)
    shift = np.full(peaks.size, _REACH)
    beat = np.arange(peaks.size)
    for _ in range(3):
        usual = np.median(centred[beat, shift], axis=0)
        similarity = centred @ usual / (norms * max(float(np.linalg.norm(usual)), 1e-12))
        shift = similarity.argmax(axis=1)
    usual = np.median(moved[beat, shift], axis=0)
    farthest = int(np.abs(usual - np.median(usual)).argmax()) - _HALF
    return peaks + shift - _REACH + farthest, similarity[beat, shift] >= _MIN_SIMILARITY


def _whole(read: NDArray[np.bool_], peaks: Samples, before: int, after: int) -> NDArray[np.bool_]:
    """Which beats were read from their first sample to the last."""
    return np.array([p >= before and p + after <= read.size and read[p - before : p + after].all() for p in peaks])


def _qrs_bounds(beat: Array, r_peak: int) -> tuple[int, int] | None:
    """QRS onset and J point: from the steepest place outward, where the slope stays small for 16 ms."""
    slope = np.abs(scipy.signal.savgol_filter(beat, 9, 2, deriv=1)) * SAMPLING_RATE_HZ
    first, last = max(0, r_peak - 50), r_peak + 60
    steepest = first + int(slope[first:last].argmax())
    calm = slope < max(_CALM_SHARE * slope[steepest], _CALM_MV_PER_S)
    # Index k of the runs stands for k .. k + _CALM - 1.
    runs = np.flatnonzero(sliding_window_view(calm, _CALM).all(axis=-1))
    left, right = runs[runs + _CALM - 1 < steepest], runs[runs > steepest]
    if not left.size or not right.size:
        return None
    onset, j_point = int(left[-1]) + _CALM - 1, int(right[0])
    near = steepest - onset <= _QRS_REACH and j_point - steepest <= _QRS_REACH
    return (onset, j_point) if near else None


def _tip(beat: Array, onset: int, j_point: int) -> int:
    """The R wave: the highest point of QRS, or the lowest where nothing of it looks up."""
    qrs = beat[onset : j_point + 1] - beat[onset]
    return onset + int(qrs.argmax() if qrs.max() >= 0.1 * np.ptp(qrs) else qrs.argmin())


def _p_and_t_peaks(neurokit: Any, waves: Array, peaks: Samples, period: float) -> tuple[Array, Array]:
    """P and T peak of every beat, samples; NaN where there is none."""
    # The library's 150 ms from S to T are too many for fast hearts, whose T waves come earlier.
    st_ms = 150 * min(1.0, float(np.sqrt(period / SAMPLING_RATE_HZ)))
    places = []
    try:
        with _quiet():
            _, found = neurokit.ecg_delineate(
                waves, peaks, sampling_rate=SAMPLING_RATE_HZ, method="prominence", typical_st_segment=st_ms
            )
        places = [np.asarray(found[key], np.float64) for key in ("ECG_P_Peaks", "ECG_T_Peaks")]
    except _NEUROKIT_ERRORS:
        pass
    if [place.shape for place in places] != [peaks.shape] * 2:
        return np.full(peaks.size, np.nan), np.full(peaks.size, np.nan)
    return places[0], places[1]


def _usual_place(places: Array) -> int | None:
    """The place of a wave in the median beat, or None where most beats have it elsewhere or not at all."""
    if np.isfinite(places).sum() < MIN_BEATS:
        return None
    usual = float(np.nanmedian(places))
    return round(usual) if np.mean(np.abs(places - usual) <= _SAME_PLACE) >= _MIN_SAME else None


def _p_onset(beats: Array, beat: Array, places: Array, onset: int) -> float:
    """Where the tangent of the rising flank of P meets the level before it; NaN without a steady P wave.

    A P wave must lie at the same place in most beats, rise above the noise, and look alike from beat to beat: the
    waves of fibrillation do none of it.
    """
    place = _usual_place(places)
    if place is None or not 0 < place < onset:
        return np.nan
    first = max(0, place - _SAME_PLACE)
    peak = first + int(beat[first : min(onset, place + _SAME_PLACE + 1)].argmax())
    foot = max(0, peak - _P_HALF)
    if peak - foot < _P_HALF // 3 or beat[peak] - beat[foot:peak].min() < _MIN_P_MV:
        return np.nan
    window = slice(foot, min(onset, peak + _P_HALF))
    usual = beat[window] - beat[window].mean()
    each = beats[:, window] - beats[:, window].mean(axis=1, keepdims=True)
    similarity = each @ usual / np.maximum(np.linalg.norm(each, axis=1) * np.linalg.norm(usual), 1e-12)
    if np.median(similarity) < _MIN_P_SIMILARITY:
        return np.nan
    slope = scipy.signal.savgol_filter(beat, 11, 2, deriv=1)
    steepest = foot + int(slope[foot:peak].argmax())
    start = steepest - (beat[steepest] - beat[foot:peak].min()) / max(slope[steepest], 1e-12)
    return float(start) if start >= 0 else np.nan


def _t_end(beat: Array, places: Array, onset: int, j_point: int) -> float:
    """Where the tangent of the falling flank of T meets the level before QRS; NaN without a steady T wave."""
    place = _usual_place(places)
    if place is None or not j_point < place < beat.size:
        return np.nan
    level = float(np.median(beat[max(0, onset - _ISOELECTRIC) : onset + 1]))
    height = beat - level if beat[place] >= level else level - beat  # T upright, whichever way it points
    first = max(j_point, place - 2 * _SAME_PLACE)
    peak = first + int(height[first : place + 2 * _SAME_PLACE + 1].argmax())
    flank = scipy.signal.savgol_filter(height, 15, 2, deriv=1)[peak : peak + _T_HALF]
    if height[peak] < _MIN_T_MV or flank.size < _T_HALF // 4 or flank.min() >= 0:
        return np.nan
    steepest = int(flank.argmin())
    end = steepest - height[peak + steepest] / flank[steepest]
    # Past the median beat, or long after the flank: it was not the end of T that fell there.
    return float(peak + end) if peak + end < beat.size and end - steepest <= _T_HALF else np.nan
