"""The last stage: from the traces to what can be believed of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cardioscan.arrays import FloatMap, Floats
from cardioscan.backends.specs import NamePlaces
from cardioscan.page.leads import LEAD_INDEX
from cardioscan.postprocess import plausibility
from cardioscan.postprocess.confidence import lead_features, page_noise_mv, sample_confidence
from cardioscan.postprocess.heart_rate import heart_rate_bpm
from cardioscan.postprocess.limb_leads import einthoven_redistribute
from cardioscan.postprocess.prints import merge_prints
from cardioscan.postprocess.smoothing import savitzky_golay
from cardioscan.waveform.decode import DecodedPage
from cardioscan.waveform.trace import Traced

__all__ = ["Read", "read"]


@dataclass(frozen=True, eq=False)
class Read:
    """A page that is read.

    Attributes:
        traced: its traces.
        signals: (12, 5000) float64 mV, NaN where not printed or not readable.
        confidence: (12, 5000) float32 in [0, 1], 0 where the signal is NaN.
        features: (12, 9) float64, what the leads' confidence rests on.
        heart_rate_bpm: beats per minute, None where it cannot be measured.
        diagnostics: what was found.
    """

    traced: Traced
    signals: Floats
    confidence: FloatMap
    features: Floats
    heart_rate_bpm: float | None
    diagnostics: Mapping[str, Any]


def read(traced: Traced, places: NamePlaces, einthoven: bool, smooth: bool) -> Read:
    """Merge prints, let limb leads correct each other, and say how far each lead can be believed.

    Args:
        traced: the traces of a page.
        places: the node of each class of lead names.
        einthoven: redistribute what contradicts the limb-lead laws.
        smooth: smooth the signals lightly.

    Raises:
        StageError: what was read cannot be an ECG of this layout (:mod:`cardioscan.postprocess.plausibility`).
    """
    decoded, layout, flattened = traced.decoded, traced.rows.page.layout, traced.rows.flattened
    noise = page_noise_mv(
        decoded.signals, {lead: [other.signal for other in others] for lead, others in decoded.other_prints.items()}
    )
    share = plausibility.share_read(decoded.signals, layout)
    _check(traced, places, share, noise[0])
    signals, clarity = _merged(decoded)
    if smooth:
        signals = savitzky_golay(signals)
    if einthoven:
        signals = einthoven_redistribute(signals, clarity)
    features = lead_features(signals, clarity, noise, flattened.moved_px, layout)
    page_confidence = np.float32(flattened.confidence)
    confidence = sample_confidence(clarity, features) * page_confidence
    plausibility.refuse_guesses(signals, confidence, share, layout)
    rate = heart_rate_bpm(signals, clarity * page_confidence)
    found = {"read": round(share, 4), "noise_mv": round(noise[0], 4)}
    return Read(traced, signals, confidence, features, rate, {**traced.diagnostics, **found})


def _check(traced: Traced, places: NamePlaces, share: float, noise_mv: float) -> None:
    """Raise ``StageError`` where the page was not read, or its names or leads contradict its layout."""
    plausibility.refuse_unread(share)
    flattened = traced.rows.flattened
    names = flattened.located.names
    in_place = plausibility.names_in_place(names, flattened.nodes, places)
    plausibility.refuse_names_out_of_place(len(names), in_place)
    plausibility.refuse_contradiction(traced.decoded.signals, noise_mv, in_place)


def _merged(decoded: DecodedPage) -> tuple[Floats, NDArray[np.float32]]:
    """Signals and clarity with every further print of a lead merged into its longest."""
    signals, clarity = np.array(decoded.signals), np.array(decoded.clarity)
    for lead, others in decoded.other_prints.items():
        index = LEAD_INDEX[lead]
        for other in others:
            signals[index], clarity[index] = merge_prints(signals[index], clarity[index], other.signal, other.clarity)
    return signals, clarity
