"""What the pipeline is told and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cardioscan.backends.inference import Arithmetic, Engine
from cardioscan.errors import CardioscanError
from cardioscan.imaging.images import DEFAULT_LIMITS, ImageLimits
from cardioscan.page.template import STANDARD_PAGE, PageTemplate
from cardioscan.record import EcgRecord

if TYPE_CHECKING:
    from cardioscan.imaging.geometry import Floats  # brings half of SciPy, which options do not need

__all__ = ["PROFILES", "Digitization", "DigitizerOptions", "Progress"]

Image = NDArray[np.uint8]
When = Literal["auto", "always", "never"]
Progress = Callable[[str], None]
"""Called with the name of each piece of work when it begins: a network, or a key of ``EcgRecord.timings_s``."""


@dataclass(frozen=True)
class DigitizerOptions:
    """What can be switched in the pipeline; the defaults are what measured best.

    Attributes:
        template: the printed page that is expected.
        candidates: which pictures go through stages 0 and 1: the ``original``; the ``preprocessed`` one, where the
            source category has a branch (``cardioscan.sources.preprocessing``); or both, of which the better goes on,
            by the ``quality`` of the rectified page or by the ``confidence`` of lead names and lattice.
        straightening: straighten the sheet by the outline of its grid where lead names are not found without.
        flip_tta: when the label detector also sees the page flipped: ``auto`` (when all other views leave doubt),
            ``always`` or ``never``.
        phase_refinement: when to refine the lattice by the phase of the printed grid: ``auto`` (where the network does
            not see the lattice), ``always`` or ``never``.
        line_refinement: refine the lattice by the profile of every printed line.
        line_rounds: how often that is done at most before the traces are looked for, and again before the second pass.
        line_fading: share of their darkness, 0 to 1, that the printed 5 mm lines (vertical, horizontal) lose before the
            traces are looked for.
        separators: time the trace around the bars between leads by where these are found.
        crossing: let a row claim steep ink of other rows that its own strokes run into.
        second_pass: when to extract again, on the page as flattened with the ink left out: ``auto`` (where nothing but
            the extractor tells ink from lines, as on scans without colour), ``always`` or ``never``.
        einthoven: redistribute what contradicts the limb-lead laws.
        savitzky_golay: smooth the signals lightly.
        models: a model repository for the embedded backend; None takes the released one.
        threads: threads of the embedded backend; 0 uses all cores.
        engine: what computes the networks in the embedded backend: ``onnxruntime``, ``openvino`` (extra ``openvino``)
            or ``auto`` (OpenVINO where it is installed and no GPU is to be used).
        arithmetic: what OpenVINO computes in: ``int8``, ``float``, ``float32`` or ``auto``, see
            ``cardioscan.backends.inference.Arithmetic``.
        limits: bounds on input images.

    Raises:
        CardioscanError: ``flip_tta``, ``phase_refinement`` or ``second_pass`` is none of the three words.
    """

    template: PageTemplate = STANDARD_PAGE
    candidates: Literal["original", "preprocessed", "quality", "confidence"] = "original"
    straightening: bool = True
    flip_tta: When = "auto"
    phase_refinement: When = "auto"
    line_refinement: bool = True
    line_rounds: tuple[int, int] = (2, 2)
    line_fading: tuple[float, float] = (0.55, 0.4)
    separators: bool = True
    crossing: bool = True
    second_pass: When = "auto"
    einthoven: bool = True
    savitzky_golay: bool = False
    models: str | Path | None = None
    threads: int = 0
    engine: Engine = "auto"
    arithmetic: Arithmetic = "auto"
    limits: ImageLimits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        for name in ("flip_tta", "phase_refinement", "second_pass"):
            if getattr(self, name) not in get_args(When):
                raise CardioscanError(f"{name} must be one of {', '.join(get_args(When))}, not {getattr(self, name)!r}")

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
        "fast": {"line_rounds": (1, 1), "second_pass": "never", "crossing": False},
        "balanced": {},
        "accurate": {"second_pass": "always", "arithmetic": "float"},
    }
)
"""What each profile changes of the defaults; README and docs/speed.md say what it costs and gains."""


@dataclass(frozen=True, eq=False)
class Digitization:
    """A record and how it came about.

    Attributes:
        record: the result.
        image: the page that was read, (H, W, 3) uint8 RGB; None if it could not be opened.
        traces: by name of the printed trace ("I", "V1", "II (rhythm)"), (N, 2) float64 (x, y) px in ``image``, NaN in
            gaps.
        labels: (n, 3) float64: class id, x, y in ``image`` px of the lead names that the alignment rests on; None
            before stage 0.
        lattice: (44, 57, 2) float64 (x, y) px in ``image`` of the 5 mm nodes; None before stage 1.
        flatten: gives the flat page; None before stage 1 is through. See ``rectified``.
        row_coverage: (4, 1700, 2200) uint8 as the waveform extractor answered; None before stage 2.
        lead_features: (12, 9) float64, what the leads' confidence rests on (``cardioscan.postprocess.confidence``);
            None where refused.
        certainty: 0..1, doubt about where the page lies, a factor of every confidence.
    """

    record: EcgRecord
    image: Image | None = None
    traces: Mapping[str, Floats] = field(default_factory=dict)
    labels: Floats | None = None
    lattice: Floats | None = None
    flatten: Callable[[], Image] | None = None
    row_coverage: Image | None = None
    lead_features: Floats | None = None
    certainty: float = 1.0

    @cached_property
    def rectified(self) -> Image | None:
        """The flat page (1700, 2200, 3) uint8 RGB, sampled when it is first asked for; None before stage 1 is through.

        Signals are read from the coverage, so whoever wants them alone is spared this.
        """
        return None if self.flatten is None else self.flatten()
