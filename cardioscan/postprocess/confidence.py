"""Confidence that can be counted on: the chance that a lead is read to 15 dB or better.

The decoder says of every sample how clear the ink was. That does not know what matters most: whether the lattice under
the ink is right, and how large the lead's waves are against what is usually misread. Both show in the page itself. Limb
leads are printed redundantly (I + III = II, aVR + aVL + aVF = 0, and II twice), so what is left over measures the error
of this very page in mV; and how far the lattice had to be moved tells how crumpled it is. A logistic function of these,
fitted on rendered pages (``python -m benchmarks.confidence --fit``), gives a lead's confidence; within the lead, the
clarity says which samples are doubtful.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cardioscan.arrays import Floats
from cardioscan.page.layout import Layout
from cardioscan.page.leads import LEAD_INDEX, LEADS, SAMPLING_RATE_HZ

__all__ = [
    "calibration_table",
    "FEATURES",
    "GOOD_DB",
    "LogisticModel",
    "fit_logistic",
    "lead_features",
    "page_noise_mv",
    "released_model",
    "sample_confidence",
    "spread",
]

GOOD_DB: Final = 15.0
"""A lead counts as well read from here on."""
FEATURES: Final = (
    "ink_p10",
    "ink_p2",
    "ink_steep",
    "log_rms",
    "log_slope",
    "log_moved",
    "log_noise",
    "log_worst_noise",
    "share_read",
)
"""What a lead's confidence rests on, in the order of the feature vectors; see :func:`lead_features`."""

_UNKNOWN_NOISE_MV: Final = 0.05
_UNKNOWN_MOVE_PX: Final = 1.0
_END_SAMPLES: Final = 30
_MIN_SAMPLES: Final = 100
_MIN_READ_SAMPLES: Final = 50
_EPSILON: Final = 1e-6
_BISECTIONS: Final = 26
"""They bring the logarithm of a power to within 4e-7."""


@dataclass(frozen=True)
class LogisticModel:
    """``1 / (1 + exp(-(bias + weights . (x - mean) / scale)))``; every sequence has one entry per feature."""

    features: Sequence[str]
    mean: Sequence[float]
    scale: Sequence[float]
    weights: Sequence[float]
    bias: float

    def __call__(self, features: Floats) -> Floats:
        """Probabilities (n,) of feature vectors (n, k)."""
        standard = (np.asarray(features, np.float64) - np.asarray(self.mean)) / np.asarray(self.scale)
        # Beyond what was seen in fitting, nothing is known: no surer than at the border.
        score = np.clip(standard, -3, 3) @ np.asarray(self.weights) + self.bias
        return np.asarray(1 / (1 + np.exp(-score)), np.float64)


@lru_cache(maxsize=1)
def released_model() -> LogisticModel:
    """The model fitted for the released networks (``confidence.json`` beside this file)."""
    content: dict[str, Any] = json.loads(
        files("cardioscan.postprocess").joinpath("confidence.json").read_text(encoding="utf-8")
    )
    model = LogisticModel(**content["model"])
    if tuple(model.features) != FEATURES:
        raise ValueError(f"confidence.json was fitted for {model.features}, not {FEATURES}: fit it again")
    return model


def page_noise_mv(signals: Floats, other_prints: Mapping[str, Sequence[Floats]]) -> tuple[float, float]:
    """How far redundant leads contradict each other: typical and worst rms, mV.

    Args:
        signals: (12, 5000) mV as decoded, before anything is redistributed; NaN where not read.
        other_prints: by lead, (5000,) mV of its prints beside the one in ``signals``.

    Returns:
        Geometric mean and maximum of the rms of I + III - II, of aVR + aVL + aVF, and of the difference between the
        prints of each lead, each without its mean; 0.05 mV where none can be had.
    """
    lead = {name: signals[index] for name, index in LEAD_INDEX.items()}
    rests = [lead["I"] + lead["III"] - lead["II"], lead["aVR"] + lead["aVL"] + lead["aVF"]]
    rests += [np.asarray(other, np.float64) - lead[name] for name, others in other_prints.items() for other in others]
    found = [value for value in (_rms(_inner(rest)) for rest in rests) if np.isfinite(value)]
    if not found:
        return _UNKNOWN_NOISE_MV, _UNKNOWN_NOISE_MV
    return float(np.exp(np.mean(np.log(np.array(found) + 0.003)))), max(found)


def lead_features(
    signals: Floats,
    clarity: NDArray[np.floating],
    noise_mv: tuple[float, float],
    moved_px: float | None,
    layout: Layout,
) -> Floats:
    """What the confidence of each lead rests on.

    Args:
        signals: (12, 5000) mV, NaN where not read.
        clarity: (12, 5000) in [0, 1], the decoder's clarity, 0 where the signal is NaN.
        noise_mv: of :func:`page_noise_mv`.
        moved_px: how far the lattice was moved onto the printed lines, px of the reference frame; None where it could
            not be.
        layout: says how long each lead is printed.

    Returns:
        (12, 9) float64 in the order of ``FEATURES``; NaN for leads with less than 0.1 s.
    """
    features = np.full((len(LEADS), len(FEATURES)), np.nan)
    page = [np.log((_UNKNOWN_MOVE_PX if moved_px is None else moved_px) + 0.05), np.log(noise_mv[0]),
            np.log(noise_mv[1] + 0.003)]  # fmt: skip
    printed = layout.lead_seconds()
    for name, index in LEAD_INDEX.items():
        expected = round(printed.get(name, 0.0) * SAMPLING_RATE_HZ)
        read = np.isfinite(signals[index])
        if read.sum() < _MIN_READ_SAMPLES or expected == 0:
            continue
        values, clear = signals[index][read], np.asarray(clarity[index], np.float64)[read]
        step = np.diff(np.nan_to_num(signals[index])) * (read[1:] & read[:-1])
        energy = step**2
        features[index] = [
            np.quantile(clear, 0.1),
            np.quantile(clear, 0.02),
            float((np.asarray(clarity[index], np.float64)[1:] * energy).sum() / max(float(energy.sum()), 1e-9)),
            np.log(values.std() + 0.01),
            np.log(np.sqrt(energy.sum() / read.sum()) + 0.002),
            *page,
            min(1.0, float(read.sum()) / expected),
        ]
    return features


def sample_confidence(
    clarity: NDArray[np.floating], features: Floats, model: LogisticModel | None = None
) -> NDArray[np.float32]:
    """Confidence per sample: its mean over a lead's read samples is the chance that the lead is read to 15 dB.

    Args:
        clarity: (12, 5000), the decoder's clarity, 0 where nothing was read.
        features: (12, 9) of :func:`lead_features`.
        model: None takes the released one.

    Returns:
        (12, 5000) float32 in [0, 1], 0 exactly where ``clarity`` is; leads without features keep their clarity.
    """
    known: NDArray[np.bool_] = np.asarray(np.isfinite(features).all(axis=1))
    chance = np.zeros(len(features))
    if known.any():
        chance[known] = (model or released_model())(features[known])
    rows = [
        spread(row, float(value)) if there else np.asarray(row, np.float32)
        for row, value, there in zip(clarity, chance, known, strict=True)
    ]
    return np.stack(rows)


def spread(clarity: NDArray[np.floating], mean: float) -> NDArray[np.float32]:
    """Raise ``clarity`` (n,) to the power that makes the mean of its values above 0 equal to ``mean`` (0..1)."""
    values = np.asarray(clarity, np.float64)
    read = values > 0
    if not read.any():
        return np.asarray(values, np.float32)
    logs = np.log(np.clip(values[read], 1e-4, 1 - _EPSILON))
    low, high = -12.0, 12.0  # of the logarithm of the power; the mean falls as the power rises
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if float(np.exp(logs * np.exp(middle)).mean()) > mean:
            low = middle
        else:
            high = middle
    result = np.zeros(values.shape, np.float32)
    result[read] = np.clip(np.exp(logs * np.exp((low + high) / 2)), 1e-4, 1)
    return result


def fit_logistic(features: Floats, good: NDArray[np.bool_], ridge: float = 3.0) -> LogisticModel:
    """Fit the model by penalised maximum likelihood (Newton's method).

    Args:
        features: (n, k), finite.
        good: (n,) whether each lead was read to 15 dB.
        ridge: weight of the squared weights of the standardised features.
    """
    mean, scale = features.mean(axis=0), features.std(axis=0) + _EPSILON
    design = np.column_stack([np.clip((features - mean) / scale, -3, 3), np.ones(len(features))])
    penalty = np.diag([ridge] * features.shape[1] + [0.0])
    weights = np.zeros(design.shape[1])
    for _ in range(30):
        chance = 1 / (1 + np.exp(-design @ weights))
        gradient = design.T @ (chance - good) + penalty @ weights
        curvature = (design * (chance * (1 - chance))[:, None]).T @ design + penalty
        weights = weights - np.linalg.solve(curvature + _EPSILON * np.eye(len(weights)), gradient)

    def rounded(values: Floats) -> list[float]:
        return [round(float(value), 5) for value in values]

    return LogisticModel(FEATURES, rounded(mean), rounded(scale), rounded(weights[:-1]), round(float(weights[-1]), 5))


def calibration_table(confidence: Floats, good: NDArray[np.bool_], edges: Sequence[float]) -> list[Mapping[str, float]]:
    """Per bin of confidence: how many leads, their mean confidence, and the share that was good."""
    rows: list[Mapping[str, float]] = []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        inside = (confidence >= low) & ((confidence < high) | (high >= 1))
        if inside.any():
            rows.append(
                {
                    "from": low,
                    "to": high,
                    "leads": int(inside.sum()),
                    "confidence": float(confidence[inside].mean()),
                    "good": float(good[inside].mean()),
                }
            )
    return rows


def _inner(values: Floats) -> Floats:
    """Without the first and last samples of what is there: a lead's ends are read worst and are no sign of the rest."""
    there = np.flatnonzero(np.isfinite(values))
    return values[there[_END_SAMPLES:-_END_SAMPLES]] if there.size > 2 * _END_SAMPLES else np.empty(0)


def _rms(values: Floats) -> float:
    return float(values.std()) if values.size >= _MIN_SAMPLES else float("nan")
