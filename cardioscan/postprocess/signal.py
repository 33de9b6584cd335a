"""Signals in mV: resampling to 500 Hz, light smoothing, Einthoven's law, duplicates, heart rate.

NaN means "not printed or not readable" everywhere here, and no function fills a long gap.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import scipy  # which imports scipy.signal, in 0.3 s, when it is first used: at the end of a page
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from cardioscan.errors import InvalidRecordError
from cardioscan.page.template import LEAD_INDEX, LEADS, SAMPLING_RATE_HZ

MAX_GAP_SAMPLES: Final = 20
"""Longest gap that ``resample_trace`` bridges: 40 ms at 500 Hz, shorter than a P wave and about half a QRS complex."""

AGREEMENT_TOLERANCE_MV: Final = 0.1
"""Root mean square difference below which two readings of the same voltage count as agreeing."""

_ZERO_CROSSINGS: Final = 16  # of the sinc on each side: flat to about 0.9 of the Nyquist frequency
_KAISER_BETA: Final = 8.0  # stop band about -80 dB
_MIN_OVERLAP: Final = 50  # samples (0.1 s) that two readings must share before they are said to agree or disagree

HEART_RATE_RANGE_BPM: Final = (20.0, 300.0)
_QRS_BAND_HZ: Final = (8.0, 25.0)  # on real records half as many disagreements between leads as 5-20 Hz
_REFRACTORY_S: Final = 0.2
_MIN_RHYTHM_S: Final = 4.0  # less of lead II than this, and all leads are pooled instead
_MIN_QRS_MV: Final = 0.02  # of the QRS envelope: below, there is only noise and digitization error
_MIN_CONFIDENCE: Final = 0.05


def finite_runs(values: NDArray[np.floating]) -> Iterator[tuple[int, int]]:
    """The half-open index ranges ``(start, stop)`` of consecutive finite samples of a ``(N,)`` array, in order."""
    flags = np.concatenate([[False], np.isfinite(values), [False]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(flags))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def resample_trace(
    positions_x: NDArray[np.floating],
    values_mv: NDArray[np.floating],
    x_start: float,
    px_per_sample: float,
    n_samples: int,
    max_gap_samples: float = MAX_GAP_SAMPLES,
) -> NDArray[np.float64]:
    """Samples at 500 Hz from values on a regular grid of columns, band-limited.

    Every output sample is a sum over the columns around it, weighted by a sinc under a Kaiser window (a polyphase
    filter whose phase may take any value, for the ratio of the two rates is not rational). The cut-off is the lower
    of the two Nyquist frequencies, so noise beyond the output's band does not fold back. Weights sum to one:
    constants are exact. At the ends of a readable run the values go on as their own point reflection, which keeps
    slopes and does not ring.

    Args:
        positions_x: (N,) px, evenly spaced and rising, for instance every quarter of a pixel column.
        values_mv: (N,) mV at those positions; NaN where the trace was not found.
        x_start: position of output sample 0, px.
        px_per_sample: px between output samples (0.394 on the standard page).
        n_samples: number of output samples.
        max_gap_samples: gaps whose finite neighbours are at most this many output samples apart are bridged by PCHIP
            (monotone cubic, no overshoot); longer ones stay NaN.

    Returns:
        (n_samples,) float64, mV. NaN in long gaps, and more than half a step (the wider of the two) outside the
        columns.

    Raises:
        InvalidRecordError: the arrays differ in shape or the positions are not evenly spaced.
        ValueError: ``px_per_sample`` or ``n_samples`` is not positive.
    """
    x = np.asarray(positions_x, np.float64)
    values = np.array(values_mv, np.float64)
    if x.ndim != 1 or x.shape != values.shape or x.size < 2:
        raise InvalidRecordError(f"positions {x.shape} and values {values.shape} must be equal, (N,) with N >= 2")
    if not (px_per_sample > 0 and n_samples > 0):
        raise ValueError(f"px_per_sample and n_samples must be positive, not {px_per_sample} and {n_samples}")
    step = float(x[-1] - x[0]) / (x.size - 1)
    if not (step > 0 and np.abs(np.diff(x) - step).max() < 1e-3 * step):
        raise InvalidRecordError("positions_x must be evenly spaced and rising")

    _bridge_short_gaps(values, max_gap_samples * px_per_sample / step)
    # Everything below in units of columns.
    wanted = (x_start + px_per_sample * np.arange(n_samples) - x[0]) / step
    cutoff = min(1.0, step / px_per_sample)
    reach = max(0.5, 0.5 * px_per_sample / step) + 1e-9
    result = np.full(n_samples, np.nan)
    for start, stop in finite_runs(values):
        first, last = np.searchsorted(wanted, [start - reach, stop - 1 + reach])
        if last > first:
            result[first:last] = _windowed_sinc(values[start:stop], wanted[first:last] - start, cutoff)
    return result


def _bridge_short_gaps(values: NDArray[np.float64], longest: float) -> None:
    """Fill, in place, gaps whose finite neighbours are at most ``longest`` indices apart."""
    runs = list(finite_runs(values))
    gaps = [(a, b) for (_, a), (b, _) in zip(runs[:-1], runs[1:], strict=True) if b - (a - 1) <= longest]
    if not gaps:
        return
    known = np.flatnonzero(np.isfinite(values))
    interpolate = PchipInterpolator(known, values[known])
    for a, b in gaps:
        values[a:b] = interpolate(np.arange(a, b))


def _windowed_sinc(values: NDArray[np.float64], wanted: NDArray[np.float64], cutoff: float) -> NDArray[np.float64]:
    """Values at fractional indices ``wanted`` (a little outside is allowed); ``cutoff`` in units of Nyquist."""
    half = int(np.ceil(_ZERO_CROSSINGS / cutoff))
    padded = np.pad(values, half + 2, mode="reflect", reflect_type="odd")
    base = np.floor(wanted).astype(np.int64)
    taps = np.arange(1 - half, half + 1)
    distance = (wanted - base)[:, None] - taps
    window = np.i0(_KAISER_BETA * np.sqrt(np.clip(1 - (distance / half) ** 2, 0, 1)))
    weights = np.sinc(cutoff * distance) * window
    weights /= weights.sum(axis=1, keepdims=True)
    gathered = padded[np.clip(base[:, None] + taps + half + 2, 0, padded.size - 1)]
    summed: NDArray[np.float64] = np.einsum("ij,ij->i", weights, gathered)
    return summed


def savitzky_golay(signals: NDArray[np.floating], window: int = 5, order: int = 3) -> NDArray[np.float64]:
    """Light smoothing by local polynomials, each run of finite samples for itself.

    The method is that of Savitzky and Golay, Analytical Chemistry 1964.

    Args:
        signals: (..., N) mV; NaN stays NaN and spoils no neighbour.
        window: length in samples, odd. A run shorter than this is smoothed with the longest odd window that fits, and
            left as it is where none longer than ``order`` does.
        order: degree of the polynomial; polynomials up to this degree pass unchanged.

    Returns:
        (..., N) float64, a new array.

    Raises:
        ValueError: ``window`` is even or not longer than ``order``, or ``order`` is negative.
    """
    if window % 2 == 0 or window <= order or order < 0:
        raise ValueError(f"window must be odd and longer than order >= 0, not window {window}, order {order}")
    smoothed = np.array(signals, np.float64)
    for row in smoothed.reshape(-1, smoothed.shape[-1]):
        for start, stop in finite_runs(row):
            length = min(window, (stop - start - 1) // 2 * 2 + 1)
            if length > order:
                row[start:stop] = scipy.signal.savgol_filter(row[start:stop], length, order, mode="interp")
    return smoothed


_LAWS: Final[tuple[dict[str, float], ...]] = (
    {"I": 1.0, "II": -1.0, "III": 1.0},  # Einthoven: II = I + III
    {"aVR": 1.0, "aVL": 1.0, "aVF": 1.0},  # Goldberger: the augmented leads cancel
)


def einthoven_redistribute(
    signals: NDArray[np.floating],
    confidence: NDArray[np.floating],
    tolerance_mv: float = AGREEMENT_TOLERANCE_MV,
) -> NDArray[np.float64]:
    """Spread what the limb leads disagree by over them, where they already nearly agree.

    I - II + III = 0 and aVR + aVL + aVF = 0 hold at every instant. Where the three leads of a law are there together
    and the root mean square of their sum is within the tolerance, it is taken off them by weighted least squares
    (error variance taken as 1 / confidence, so the least certain lead moves most). Single instants at which the sum
    exceeds twice the tolerance are corrected less and less, and not at all from four times on: there one lead is
    plainly wrong, and spreading its fault would spoil the other two. A law that is broken as a whole changes nothing.

    Args:
        signals: (12, N) mV, NaN where not printed.
        confidence: (12, N) in [0, 1].
        tolerance_mv: see above.

    Returns:
        (12, N) float64, a new array; NaN stays NaN.

    Raises:
        InvalidRecordError: the shapes differ or are not (12, N).
    """
    result = np.array(signals, np.float64)
    weights = np.asarray(confidence, np.float64)
    if result.ndim != 2 or result.shape[0] != len(LEADS) or weights.shape != result.shape:
        raise InvalidRecordError(f"signals {result.shape} and confidence {weights.shape} must both be (12, N)")
    for law in _LAWS:
        rows = [LEAD_INDEX[lead] for lead in law]
        signs = np.array(list(law.values()))[:, None]
        together = np.flatnonzero(np.isfinite(result[rows]).all(axis=0))
        if together.size < _MIN_OVERLAP:
            continue
        at = np.ix_(np.array(rows), together)
        excess = (signs * result[at]).sum(axis=0)
        if np.sqrt(np.mean(excess**2)) > tolerance_mv:
            continue
        variance = 1 / np.maximum(weights[at], 1e-3)
        share = signs * variance / variance.sum(axis=0)
        taper = np.clip(2 - np.abs(excess) / max(2 * tolerance_mv, 1e-12), 0, 1)
        result[at] -= share * excess * taper
    return result


def merge_duplicate(
    rhythm: NDArray[np.floating],
    rhythm_confidence: NDArray[np.floating],
    short: NDArray[np.floating],
    short_confidence: NDArray[np.floating],
    tolerance_mv: float = AGREEMENT_TOLERANCE_MV,
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """One signal from two prints of the same lead: lead II in its 2.5 s field and in the 10 s rhythm row.

    The short print is first moved onto the rhythm row's zero line (median difference where both are there). If they
    then agree within the tolerance (root mean square) they are averaged by confidence, and the short print fills the
    holes of the other. If they disagree, one of them is wrong, nobody knows where, and the rhythm row alone counts.
    With less than 0.1 s in common there is nothing to judge by: the short print fills in as it is.

    Args:
        rhythm, short: (N,) mV on the same time axis; NaN where not printed or not readable.
        rhythm_confidence, short_confidence: (N,) in [0, 1].
        tolerance_mv: see above.

    Returns:
        (N,) float64 mV, and (N,) float32 confidence: the higher of the two where both count, 0 where the signal is NaN.

    Raises:
        InvalidRecordError: the four arrays differ in shape.
    """
    a, b = np.array(rhythm, np.float64), np.array(short, np.float64)
    conf_a, conf_b = np.asarray(rhythm_confidence, np.float64), np.asarray(short_confidence, np.float64)
    if a.ndim != 1 or not a.shape == b.shape == conf_a.shape == conf_b.shape:
        raise InvalidRecordError("rhythm, short and their confidences must be (N,) arrays of one length")
    has_a, has_b = np.isfinite(a), np.isfinite(b)
    conf_a, conf_b = np.where(has_a, conf_a, 0), np.where(has_b, conf_b, 0)
    both = has_a & has_b
    if both.sum() >= _MIN_OVERLAP:
        difference = a[both] - b[both]
        b += np.median(difference)
        if np.sqrt(np.mean((a[both] - b[both]) ** 2)) > tolerance_mv:
            return a, conf_a.astype(np.float32)
        weight_a, weight_b = np.maximum(conf_a[both], 1e-3), np.maximum(conf_b[both], 1e-3)
        a[both] = (weight_a * a[both] + weight_b * b[both]) / (weight_a + weight_b)
    merged = np.where(has_a, a, b)
    return merged, np.maximum(conf_a, conf_b).astype(np.float32)


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
