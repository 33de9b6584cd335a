"""ECGs whose intervals and ST levels are known exactly, for the tests of clinical measures."""

from __future__ import annotations

import numpy as np

from cardioscan.page.leads import LEADS

FS = 500
II = LEADS.index("II")
GAINS = np.array([0.7, 1.0, 0.3, -0.85, 0.2, 0.65, -0.4, 0.5, 0.8, 1.2, 1.1, 0.9])
INTERVALS = ("pr_ms", "qrs_ms", "qt_ms")


def hump(time: np.ndarray, start: float, end: float) -> np.ndarray:
    """A wave of height 1 that begins and ends exactly there: half a cosine up, half a cosine down."""
    phase = (time - start) / (end - start)
    return np.where((phase > 0) & (phase < 1), 0.5 - 0.5 * np.cos(2 * np.pi * phase), 0.0)


def beat(time: np.ndarray, pr: float, qrs: float, qt: float, st: float, p: float, t: float, s: float) -> np.ndarray:
    """One beat, mV; QRS begins at time 0, everything in s. The tangent ends the T wave a tenth of it early."""
    r = hump(time, 0.15 * qrs, 0.65 * qrs)
    wave = p * hump(time, -pr, -pr + 0.1) - 0.1 * hump(time, 0, 0.3 * qrs) + r - s * hump(time, 0.5 * qrs, qrs)
    flat = (time > qrs) & (time <= qt - 0.08)
    wave = wave + t * hump(time, qt - 0.16, qt) + st * flat
    return wave + np.where(time > qt - 0.08, st, 0) * np.clip((qt - time) / 0.08, 0, 1)


def ecg(
    rate: float = 70,
    pr_ms: float = 160,
    qrs_ms: float = 90,
    qt_ms: float = 380,
    st: float = 0.0,
    p: float = 0.15,
    t: float = 0.3,
    s: float = 0.25,
    noise: float = 0.0,
    wander: float = 0.03,
    spread: float = 0.0,
    seed: int = 0,
    onsets: np.ndarray | None = None,
) -> np.ndarray:
    """(12, 5000) mV, all leads multiples of one course, with intervals known exactly."""
    rng = np.random.default_rng(seed)
    if onsets is None:
        lengths = 60 / rate * np.exp(rng.normal(0, spread, 60))
        onsets = np.cumsum(lengths) - 60 / rate * (1.5 + rng.random())
    time = np.arange(5000) / FS
    course = sum(beat(time - at, pr_ms / 1e3, qrs_ms / 1e3, qt_ms / 1e3, st, p, t, s) for at in onsets)
    breath = wander * np.sin(2 * np.pi * 0.2 * time + rng.uniform(0, 6))
    return GAINS[:, None] * course + breath + rng.normal(0, noise, (12, 5000))
