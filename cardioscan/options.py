"""What the pipeline is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from cardioscan.backends.inference import Arithmetic, Engine
from cardioscan.errors import CardioscanError
from cardioscan.imaging.images import DEFAULT_LIMITS, ImageLimits

__all__ = ["PROFILES", "DigitizerOptions"]


@dataclass(frozen=True)
class DigitizerOptions:
    """What can be switched in the pipeline; the defaults are what measured best.

    Attributes:
        source_aware: also look at the picture preprocessed as its source category asks for
            (``cardioscan.sources.preprocessing``), and go on with the one on which more lead names and more of the
            lattice are seen.
        line_rounds: how often single printed lines are measured at most, before the ink is known and, on a second look,
            with the ink left out.
        second_look: extract again, on the page as flattened with the ink left out, where nothing but the extractor
            tells ink from lines, as on scans without colour.
        crossing: let a row claim steep ink of other rows that its own strokes run into.
        einthoven: redistribute what contradicts the limb-lead laws.
        savitzky_golay: smooth the signals lightly.
        models: a model repository for the embedded backend; None takes the released one.
        threads: threads of the embedded backend; 0 uses all cores.
        engine: what computes the networks in the embedded backend: ``onnxruntime``, ``openvino`` (extra ``openvino``)
            or ``auto`` (OpenVINO where it is installed and no GPU is to be used).
        arithmetic: what OpenVINO computes in: ``int8``, ``float``, ``float32`` or ``auto``, see
            ``cardioscan.backends.inference.Arithmetic``.
        limits: bounds on input images.
    """

    source_aware: bool = False
    line_rounds: tuple[int, int] = (2, 2)
    second_look: bool = True
    crossing: bool = True
    einthoven: bool = True
    savitzky_golay: bool = False
    models: str | Path | None = None
    threads: int = 0
    engine: Engine = "auto"
    arithmetic: Arithmetic = "auto"
    limits: ImageLimits = DEFAULT_LIMITS

    @classmethod
    def of_profile(cls, profile: str = "balanced", **changes: Any) -> DigitizerOptions:
        """The options of one of ``PROFILES``, with changes of one's own.

        Raises:
            CardioscanError: there is no such profile.
        """
        if profile not in PROFILES:
            raise CardioscanError(f"unknown profile {profile!r}; there are {', '.join(PROFILES)}")
        return cls(**{**PROFILES[profile], **changes})


PROFILES: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "fast": {"line_rounds": (1, 1), "second_look": False, "crossing": False},
        "balanced": {},
        "accurate": {"arithmetic": "float"},
    }
)
"""What each profile changes of the defaults; README and docs/speed.md say what it costs and gains."""
