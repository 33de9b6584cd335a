"""A built-in 12-lead ECG simulator, so that tests and examples need no outside data.

The model is a moving heart dipole. Every beat is a sum of waves (P, Q, R, S, T and what disease adds), each a Gaussian
with its own rise and fall along a time axis that stretches with the heart rate: the idea of the dynamical model of
McSharry, Clifford, Tarassenko and Smith, "A dynamical model for generating synthetic electrocardiogram signals",
IEEE Trans. Biomed. Eng. 50 (2003), taken to three dimensions as Sameni et al. did (EURASIP J. Adv. Signal Process.,
2007). A wave points in a direction in space (x to the patient's left, y to the feet, z to the back), and the matrix of
Dower, Machado and Osborne (Clin. Cardiol. 3, 1980), whose inverse is the "inverse Dower" transform, projects it to the
leads.

The signals look like ECGs and obey the laws of the leads. They stand for no patient and are not for medical use.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cardioscan.page.leads import RECORD_SAMPLES, RECORD_SECONDS, SAMPLING_RATE_HZ
from cardioscan.synthesis.leads import twelve_leads

Array = NDArray[np.float64]

# Rows: I, II, V1..V6. Columns: x (left), y (feet), z (back).
_DOWER: Final = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)
_TIME: Final = np.arange(RECORD_SAMPLES) / SAMPLING_RATE_HZ
_LEAD_IN_S: Final = 2.0  # beats before the record, so that its first samples lie inside a running rhythm
_REFRACTORY_S: Final = 0.3


@dataclass(frozen=True)
class _Wave:
    """One deflection: centre (s after the R peak), widths of rise and fall (s), dipole (x, y, z) in mV.

    ``stretch`` is the power of the beat's length (s) by which centre and widths grow: 0 for ventricular activation,
    whose speed does not depend on the rate, 1/2 (Bazett) for repolarisation.
    """

    centre: float
    rise: float
    fall: float
    dipole: tuple[float, float, float]
    stretch: float = 0.0


_P = _Wave(-0.160, 0.022, 0.026, (0.055, 0.110, -0.020), 0.25)
_NARROW = (
    _Wave(-0.026, 0.008, 0.008, (-0.22, -0.08, -0.28)),  # septum: to the right and forward
    _Wave(0.000, 0.011, 0.010, (1.20, 0.56, 0.20)),  # left ventricle
    _Wave(0.026, 0.009, 0.011, (-0.10, -0.12, 0.72)),  # base: backward
)
_LEFT_BLOCK = (
    _Wave(-0.018, 0.016, 0.020, (0.62, 0.30, 0.62)),
    _Wave(0.034, 0.022, 0.020, (0.88, 0.10, 0.78)),
)
_RIGHT_BLOCK = (*_NARROW[:2], _Wave(0.058, 0.019, 0.021, (-0.55, -0.06, -0.72)))
_T = _Wave(0.285, 0.060, 0.038, (0.26, 0.20, -0.26), 0.5)
_T_LEFT_BLOCK = _Wave(0.330, 0.060, 0.042, (-0.28, 0.04, -0.42), 0.5)
_T_RIGHT_BLOCK = _Wave(0.310, 0.058, 0.040, (0.26, 0.14, 0.14), 0.5)
_U = _Wave(0.460, 0.040, 0.045, (0.02, 0.02, -0.03), 0.5)


@dataclass(frozen=True)
class _Rhythm:
    """R peaks (s, some before 0 and after the end), length of each beat (s), which are ectopic, whether atria beat."""

    peaks: Array
    lengths: Array
    ectopic: NDArray[np.bool_]
    fibrillation: bool
    breaths_hz: float


class SimulatedSignals:
    """Simulated records, a ``SignalSource``: each is 12 leads, 10 s at 500 Hz, mV.

    Heart rates from 40 to 160 per minute with breathing and random variability; some records have ventricular extra
    beats, atrial fibrillation, bundle branch block, ST shifts, low or high voltages. Baseline wander, muscle noise and
    mains hum are added at the *electrodes*, so the laws of Einthoven and Goldberger hold with and without them.

    A record depends on the seed and its index only, whatever was read before it and however many records there are.

    Args:
        n_records: how many records there are.
        seed: non-negative; another seed gives other records.
        noise: scale of wander, muscle noise and hum; 0 leaves them out.

    Raises:
        ValueError: a negative argument.
    """

    def __init__(self, n_records: int = 1000, seed: int = 0, noise: float = 1.0) -> None:
        if n_records < 0 or seed < 0 or not noise >= 0:
            raise ValueError("n_records, seed and noise must not be negative")
        self._n_records, self._seed, self._noise = n_records, seed, noise

    def __len__(self) -> int:
        """Number of records."""
        return self._n_records

    def record(self, index: int) -> NDArray[np.float32]:
        """Record ``index``: (12, 5000) float32, mV, in the order of ``LEADS``. Raises ``IndexError`` outside."""
        rng = self._generator(index)
        rhythm = _draw_rhythm(rng)
        eight = _heart(rhythm, rng)
        # Drawn even when silenced, so that records with and without noise are the same heart.
        eight = eight + self._noise * _disturbances(rhythm, rng)
        return twelve_leads(eight)

    def beat_times(self, index: int) -> Array:
        """True times of the R peaks within record ``index``, s from its start, ascending; extra beats included."""
        peaks = _draw_rhythm(self._generator(index)).peaks
        return peaks[(peaks >= 0) & (peaks < RECORD_SECONDS)]

    def heart_rate_bpm(self, index: int) -> float:
        """True mean heart rate of record ``index``, beats per minute: 60 over the mean distance of its R peaks."""
        return float(60.0 / np.diff(self.beat_times(index)).mean())

    def _generator(self, index: int) -> np.random.Generator:
        if not 0 <= index < self._n_records:
            raise IndexError(f"record {index} of {self._n_records}")
        return np.random.default_rng([self._seed, int(index)])


def _draw_rhythm(rng: np.random.Generator) -> _Rhythm:
    fibrillation = bool(rng.random() < 0.1)
    # Log-normal around 75 per minute, as in a ward; a few records are spread evenly over the whole range.
    usual = float(np.exp(rng.normal(np.log(75.0), 0.22)))
    rate = rng.uniform(40.0, 160.0) if rng.random() < 0.2 else usual
    mean = 60.0 / float(np.clip(rate, 44.0, 145.0))  # room for variability inside 40..160
    breaths_hz = float(rng.uniform(0.15, 0.35))
    breathing, phase = rng.uniform(0.005, 0.06), rng.uniform(0, 2 * np.pi)
    spread = rng.uniform(0.12, 0.22) if fibrillation else rng.uniform(0.003, 0.02)
    p_ectopic = float(rng.uniform(0.03, 0.25)) if rng.random() < 0.15 else 0.0

    peaks, lengths, ectopic = [], [], []
    now, pause = -_LEAD_IN_S - float(rng.uniform(0, mean)), 1.0
    while now < RECORD_SECONDS + _LEAD_IN_S:
        swing = breathing * np.sin(2 * np.pi * breaths_hz * now + phase)
        length = mean * (1 + swing) * float(np.exp(rng.normal(0, spread) - spread**2 / 2))
        early = pause == 1.0 and bool(rng.random() < p_ectopic)
        if early:  # an extra beat comes early and is followed by a compensatory pause
            share = float(rng.uniform(0.6, 0.75))
            length, pause = length * share, 2.0 - share
        else:
            length, pause = length * pause, 1.0
        length = max(length, _REFRACTORY_S)
        now += length
        peaks.append(now)
        lengths.append(length)
        ectopic.append(early)
    return _Rhythm(np.array(peaks), np.array(lengths), np.array(ectopic), fibrillation, breaths_hz)


def _rotation(rng: np.random.Generator, degrees: tuple[float, float, float]) -> Array:
    """A random turn of space about x, y, z (3, 3); ``degrees`` are standard deviations about each axis."""
    matrix = np.eye(3)
    for axis in range(3):
        angle = np.deg2rad(np.clip(rng.normal(), -3, 3) * degrees[axis])
        turn = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


def _heart(rhythm: _Rhythm, rng: np.random.Generator) -> Array:
    """Leads I, II, V1..V6 without any disturbance: (8, 5000), mV."""
    leads = _DOWER * (1 + rng.normal(0, 0.06, _DOWER.shape))  # electrodes and chests differ
    # Hearts lie differently in every chest: the electrical axis in the frontal plane (about z) varies most.
    leads = leads @ _rotation(rng, (10.0, 10.0, 22.0)) * float(np.clip(np.exp(rng.normal(0, 0.28)), 0.4, 1.9))
    conduction = rng.choice(4, p=(0.80, 0.07, 0.08, 0.05))
    ventricle, t_wave = (
        (_NARROW, _T),
        (_LEFT_BLOCK, _T_LEFT_BLOCK),
        (_RIGHT_BLOCK, _T_RIGHT_BLOCK),
        (_NARROW, _T),
    )[conduction]
    width = rng.uniform(1.2, 1.5) if conduction == 3 else rng.uniform(0.85, 1.15)  # 3: slow conduction everywhere
    # The repolarisation differs most between people: size, and now and then flat or inverted T waves.
    t_size = float(rng.choice([1.0, 0.2, -0.6], p=[0.84, 0.08, 0.08]) * np.exp(rng.normal(0, 0.3)))
    pr_shift = float(rng.choice([rng.normal(0, 0.014), rng.uniform(0.04, 0.10)], p=[0.93, 0.07]))

    regular = rhythm.peaks[~rhythm.ectopic], rhythm.lengths[~rhythm.ectopic]
    out = np.zeros((len(leads), RECORD_SAMPLES))
    if not rhythm.fibrillation:
        out += _project(leads, _P, *regular, rng, shift=-max(pr_shift, -0.03))
    else:
        out += _fibrillation(leads, rng)
    for wave in ventricle:
        out += _project(leads, wave, *regular, rng, width=width)
    out += _project(leads, t_wave, *regular, rng, scale=t_size)
    if rng.random() < 0.3:
        out += _project(leads, _U, *regular, rng)
    if rng.random() < 0.2:
        out += _st_shift(leads, *regular, rng)
    if rhythm.ectopic.any():
        out += _extra_beats(leads, rhythm, rng)
    # Breathing moves the heart under the electrodes: a few per cent of amplitude.
    breath = np.sin(2 * np.pi * rhythm.breaths_hz * _TIME + rng.uniform(0, 2 * np.pi))
    return np.asarray(out * (1 + rng.uniform(0, 0.06) * breath))


def _project(
    leads: Array,
    wave: _Wave,
    peaks: Array,
    lengths: Array,
    rng: np.random.Generator,
    *,
    width: float = 1.0,
    scale: float = 1.0,
    shift: float = 0.0,
) -> Array:
    """One wave of all beats on the leads: (8, 5000), mV."""
    stretch = np.clip(lengths, 0.35, 1.4) ** wave.stretch
    jitter = float(np.exp(rng.normal(0, 0.08)))
    centre = peaks + wave.centre * stretch * width + shift
    rise, fall = wave.rise * stretch * width * jitter, wave.fall * stretch * width * jitter
    course = _bumps(centre, rise, fall, 1 + rng.normal(0, 0.02, peaks.size))
    dipole = np.asarray(wave.dipole) * scale * (1 + rng.normal(0, 0.12, 3))
    # What a single dipole cannot explain: electrodes near the heart see some of each wave for themselves.
    near = rng.normal(0, 0.06 * np.linalg.norm(dipole), len(leads))
    return np.outer(leads @ dipole + near, course)


def _bumps(centre: Array, rise: Array, fall: Array, height: Array) -> Array:
    """Sum of Gaussians with unlike flanks on the record's time axis: (5000,)."""
    course = np.zeros(RECORD_SAMPLES)
    for c, r, f, h in zip(centre, rise, fall, height, strict=True):
        first = max(0, int((c - 6 * r) * SAMPLING_RATE_HZ))
        last = min(RECORD_SAMPLES, int((c + 6 * f) * SAMPLING_RATE_HZ) + 2)
        if first < last:
            t = _TIME[first:last] - c
            course[first:last] += h * np.exp(-0.5 * (t / np.where(t < 0, r, f)) ** 2)
    return course


def _st_shift(leads: Array, peaks: Array, lengths: Array, rng: np.random.Generator) -> Array:
    """Current of injury: a plateau of up to 0.25 mV from the end of QRS into the T wave."""
    direction = rng.normal(size=3)
    dipole = direction / np.linalg.norm(direction) * rng.uniform(0.05, 0.25)
    course = np.zeros(RECORD_SAMPLES)
    for peak, length in zip(peaks, lengths, strict=True):
        end = peak + 0.26 * np.sqrt(min(length, 1.4))
        onset = 1 / (1 + np.exp(-np.clip((_TIME - peak - 0.045) / 0.006, -40, 40)))
        offset = 1 / (1 + np.exp(-np.clip((_TIME - end) / 0.022, -40, 40)))
        course += onset * (1 - offset)
    return np.outer(leads @ dipole, course)


def _extra_beats(leads: Array, rhythm: _Rhythm, rng: np.random.Generator) -> Array:
    """Ventricular extra beats from one focus: wide, without P, the T wave against the QRS."""
    peaks, lengths = rhythm.peaks[rhythm.ectopic], rhythm.lengths[rhythm.ectopic]
    direction = rng.normal(size=3)
    dipole = direction / np.linalg.norm(direction) * rng.uniform(1.0, 1.8)
    side = np.cross(dipole, rng.normal(size=3)) * 0.3
    waves = (
        _Wave(0.0, 0.024, 0.026, tuple(dipole)),
        _Wave(0.045, 0.020, 0.026, tuple(side)),
        _Wave(0.300, 0.062, 0.050, tuple(-0.35 * dipole), 0.5),
    )
    total = np.zeros((len(leads), RECORD_SAMPLES))
    for wave in waves:
        total += _project(leads, wave, peaks, lengths, rng)
    return total


def _fibrillation(leads: Array, rng: np.random.Generator) -> Array:
    """Fibrillating atria: waves of 4 to 8 Hz whose rate and size wander, largest in V1."""
    total = np.zeros((len(leads), RECORD_SAMPLES))
    size = rng.uniform(0.02, 0.07)
    for _ in range(3):
        rate = rng.uniform(4.5, 7.5) + 0.8 * _slow(rng, 0.8)
        phase = 2 * np.pi * np.cumsum(rate) / SAMPLING_RATE_HZ + rng.uniform(0, 2 * np.pi)
        dipole = size * np.array([0.4, 0.7, -1.0]) * rng.normal(1, 0.3, 3) / np.sqrt(3)
        total += np.outer(leads @ dipole, (np.sin(phase) + 0.35 * np.sin(2 * phase)) * (1 + 0.4 * _slow(rng, 0.8)))
    return total


def _slow(rng: np.random.Generator, cutoff_hz: float) -> Array:
    """A random course of unit power without parts above ``cutoff_hz``: (5000,)."""
    course: Array = _band(rng, 0.0, cutoff_hz, 1)[0]
    return course


@lru_cache(maxsize=1)
def _frequencies() -> Array:
    # Twice the record: of a periodic course only the first half is used, so that its ends do not meet.
    return np.asarray(np.fft.rfftfreq(2 * RECORD_SAMPLES, 1 / SAMPLING_RATE_HZ), np.float64)


def _band(rng: np.random.Generator, low_hz: float, high_hz: float, n: int) -> Array:
    """``n`` independent Gaussian noises of about unit power between two frequencies (soft edges): (n, 5000)."""
    f = _frequencies()
    gain = np.exp(-((f / high_hz) ** 4)) * (1 - np.exp(-((f / low_hz) ** 4)) if low_hz else 1.0)
    spectrum = gain * (rng.normal(size=(n, f.size)) + 1j * rng.normal(size=(n, f.size)))
    spectrum[:, 0] = 0
    course = np.fft.irfft(spectrum, axis=-1)[:, :RECORD_SAMPLES]
    return np.asarray(course * (RECORD_SAMPLES / np.sqrt(np.sum(gain**2))), np.float64)


def _disturbances(rhythm: _Rhythm, rng: np.random.Generator) -> Array:
    """Baseline wander, muscle noise and mains hum on I, II, V1..V6, made at the nine electrodes: (8, 5000), mV."""
    breath = np.sin(2 * np.pi * rhythm.breaths_hz * _TIME + 0.6 * _slow(rng, 0.1))
    electrodes = np.outer(rng.normal(0, 1, 9) * rng.uniform(0.0, 0.06), breath)
    electrodes += _band(rng, 0.0, 0.25, 9) * rng.uniform(0.005, 0.05)
    muscle = np.exp(rng.normal(np.log(0.002), 0.8))  # mV: about 2 uV, seldom above 8
    electrodes += _band(rng, 18.0, 110.0, 9) * min(muscle, 0.015) * (1 + 0.5 * np.abs(_slow(rng, 0.6)))
    mains = 2 * np.pi * float(rng.choice([50.0, 60.0])) * _TIME + rng.uniform(0, 2 * np.pi)
    hum = rng.exponential(0.0015) * np.sin(mains) + rng.exponential(0.0003) * np.sin(3 * mains)
    electrodes += np.outer(rng.normal(0, 1, 9), hum)
    ra, la, ll = electrodes[:3]
    return np.concatenate([[la - ra, ll - ra], electrodes[3:] - (ra + la + ll) / 3])
