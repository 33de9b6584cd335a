"""Heart rate from the R-R intervals."""

from __future__ import annotations

from typing import Final

import numpy as np
import scipy  # which imports scipy.signal, in 0.3 s, when it is first used: at the end of a page
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from cardioscan.page.leads import LEAD_INDEX, SAMPLING_RATE_HZ
from cardioscan.postprocess.runs import finite_runs

HEART_RATE_RANGE_BPM: Final = (20.0, 300.0)
_QRS_BAND_HZ: Final = (8.0, 25.0)  # on real records half as many disagreements between leads as 5-20 Hz
_REFRACTORY_S: Final = 0.2
_MIN_RHYTHM_S: Final = 4.0  # less of lead II than this, and all leads are pooled instead
_MIN_QRS_MV: Final = 0.02  # of the QRS envelope: below, there is only noise and digitization error
_MIN_CONFIDENCE: Final = 0.05


def heart_rate_bpm(
    signals: NDArray[np.floating], confidence: NDArray[np.floating], rate_hz: float = SAMPLING_RATE_HZ
) -> float | None:
    """Beats per minute, from the R-R intervals of the rhythm lead.

    The lead is band-passed to 8-25 Hz, where the QRS complex stands out from P and T waves; the root of the mean
    square over 0.1 s is its envelope. Beats are the peaks of the envelope at least 0.2 s apart that exceed a share of
    the largest peak near them (after the adaptive threshold of Pan and Tompkins, IEEE Trans. Biomed. Eng. 1985). They
    count only if they stand far above what lies between them, or if the autocorrelation of the envelope shows the
    same period. Where lead II is too short, the scaled envelopes of all leads are pooled: together they cover the
    whole page.

    Args:
        signals: (12, N) mV, NaN where not printed.
        confidence: (12, N) in [0, 1]; samples of nearly no confidence are left out.
        rate_hz: samples per second.

    Returns:
        The rate, from 20 to 300; None where there is no signal, fewer than three beats or no clear rhythm.
    """
    usable = np.where(np.asarray(confidence) >= _MIN_CONFIDENCE, np.asarray(signals, np.float64), np.nan)
    rhythm = usable[LEAD_INDEX["II"]]
    if np.isfinite(rhythm).sum() >= _MIN_RHYTHM_S * rate_hz:
        found = _rate_of_envelope(_qrs_envelope(rhythm, rate_hz), rate_hz)
        if found is not None:
            return found
    return _rate_of_envelope(_pooled_envelope(usable, rate_hz), rate_hz)


def _qrs_envelope(signal: NDArray[np.float64], rate_hz: float) -> NDArray[np.float64]:
    """Root mean square of the QRS band over 0.1 s, mV; NaN where the signal is NaN. Each run is filtered for itself."""
    sections = scipy.signal.butter(2, _QRS_BAND_HZ, "bandpass", fs=rate_hz, output="sos")
    envelope = np.full(signal.size, np.nan)
    pad = round(0.3 * rate_hz)
    for start, stop in finite_runs(signal):
        if stop - start > pad:
            band = scipy.signal.sosfiltfilt(sections, signal[start:stop], padlen=pad)
            # A running sum may end a rounding error below 0.
            power = np.maximum(uniform_filter1d(band**2, round(0.1 * rate_hz), mode="nearest"), 0)
            envelope[start:stop] = np.sqrt(power)
    return envelope


def _pooled_envelope(signals: NDArray[np.float64], rate_hz: float) -> NDArray[np.float64]:
    """Mean over the leads of their envelopes, each scaled to the height of its own QRS; NaN where none is there."""
    total, count, heights = np.zeros(signals.shape[1]), np.zeros(signals.shape[1]), []
    for signal in signals:
        envelope = _qrs_envelope(signal, rate_hz)
        there = np.isfinite(envelope)
        height = np.percentile(envelope[there], 97) if there.any() else 0.0
        if height > _MIN_QRS_MV:
            total[there] += envelope[there] / height
            count[there] += 1
            heights.append(height)
    scale = float(np.median(heights)) if heights else 0.0
    return np.where(count > 0, scale * total / np.maximum(count, 1), np.nan)


def _rate_of_envelope(envelope: NDArray[np.float64], rate_hz: float) -> float | None:
    there = np.isfinite(envelope)
    if there.sum() < rate_hz:
        return None
    filled = np.where(there, envelope, 0.0)
    peaks, _ = scipy.signal.find_peaks(filled, distance=round(_REFRACTORY_S * rate_hz))
    peaks = peaks[there[peaks]]
    if peaks.size < 3:
        return None
    # The largest value within 1.6 s on either side holds at least one beat at 20 per minute; its median over the record
    # keeps one artefact from hiding the beats around it, and a pause from turning noise into beats.
    local = maximum_filter1d(filled, round(3.2 * rate_hz))
    usual = float(np.median(local[there]))
    threshold = 0.45 * np.clip(local[peaks], 0.7 * usual, 1.5 * usual)
    beats = _without_t_waves(peaks[filled[peaks] > threshold], filled, rate_hz)
    if beats.size < 3 or usual < _MIN_QRS_MV:
        return None
    intervals = np.diff(beats)
    # Intervals across a hole in the signal say nothing; very long ones hold a beat that was missed.
    holes = np.cumsum(~there)
    whole = (holes[beats[1:]] == holes[beats[:-1]]) & (intervals < 1.75 * np.median(intervals))
    if whole.sum() < 2:
        return None
    period = float(np.mean(intervals[whole]))
    contrast = float(np.median(filled[beats]) / max(np.median(envelope[there]), 1e-9))
    if contrast < 1.3 or (contrast < 4 and _periodicity(filled, there, np.median(intervals[whole])) < 0.4):
        return None
    bpm = 60.0 * rate_hz / period
    return bpm if HEART_RATE_RANGE_BPM[0] <= bpm <= HEART_RATE_RANGE_BPM[1] else None


def _without_t_waves(peaks: NDArray[np.intp], envelope: NDArray[np.float64], rate_hz: float) -> NDArray[np.intp]:
    """Leave out a peak within 0.4 s after a beat and less than 0.65 of its height: a steep T wave."""
    kept: list[int] = []
    for peak in peaks.tolist():
        if kept and peak - kept[-1] < 0.4 * rate_hz and envelope[peak] < 0.65 * envelope[kept[-1]]:
            continue
        kept.append(peak)
    return np.array(kept, np.intp)


def _periodicity(envelope: NDArray[np.float64], there: NDArray[np.bool_], period: float) -> float:
    """Highest normalised autocorrelation of the envelope at lags within 8 % of ``period`` samples."""
    centred = np.where(there, envelope - envelope[there].mean(), 0.0)
    size = centred.size
    spectrum = np.abs(np.fft.rfft(centred, 2 * size)) ** 2
    mask = np.abs(np.fft.rfft(there.astype(np.float64), 2 * size)) ** 2
    # Divided by the number of pairs at each lag, or long periods would look weaker than they are.
    correlation = np.fft.irfft(spectrum)[:size] / np.maximum(np.fft.irfft(mask)[:size], 1)
    low, high = int(0.92 * period), min(size, int(np.ceil(1.08 * period)) + 1)
    return float(correlation[low:high].max() / max(correlation[0], 1e-12)) if low < high else 0.0
