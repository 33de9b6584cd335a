"""Settings of the waveform decoder."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DecodingOptions:
    """How row coverage becomes signals. The defaults won on the average of ten kinds of damage, see the docs table.

    Lengths are px of the reference frame, probabilities in [0, 1].

    Path:
        band_mv: the path stays within this many mV of the row's zero line.
        jump_cost: cost of one px of vertical jump across blank paper.
        crossing: whether a row may claim steep ink of other rows that its own strokes run into.
        ink_gain: gain for one px of vertical jump through the row's own ink, as a share of ``jump_cost``.
        missed_gain: the same where a row's path has missed steep ink of its own, which no other row's path runs along.
        blank_probability: probability below which pixels are no more different from each other; it sets what a
            column without ink costs.

    Edges:
        contrast_px: size of the neighbourhood whose darkest ink counts as 1, so that faint strokes have edges too.
        contrast_floor: ink fainter than this is not amplified to 1.
        smoothing_px: standard deviation of the smoothing along y before edges are sought.
        hole_px: holes of a stroke up to this height are closed.
        reach_px: ink this far from the path still belongs to it.
        min_ink: a column whose ink near the path stays below this coverage shows no stroke.

    Pen (see ``cardioscan.waveform.fit``):
        rounds: rounds of analysis by synthesis; 0 leaves the morphological decoding as it is.
        edge_sigma_px: standard error of an edge's height on a flat stroke.
        edge_sigma_x_px: standard error of an edge's place along x, which weighs by the steepness.
        blur_px: standard deviation along x of the blur that the coverage is taken to have.
        bend_sigma_px: expected second difference of a quiet signal from sample to sample.
        bend_share: how much of the bend found by the morphological decoding is expected in addition.
        outlier: residuals beyond this many standard errors lose weight (Cauchy).

    Refusing:
        max_gap_s: longest gap that is bridged; longer ones are NaN.
        min_row_share: a row counts as read if this share of its columns shows the stroke.
    """

    band_mv: float = 6.0
    jump_cost: float = 0.1
    ink_gain: float = 0.1
    missed_gain: float = 0.3
    crossing: bool = True
    blank_probability: float = 0.1
    contrast_px: int = 5
    contrast_floor: float = 0.3
    smoothing_px: float = 1.0
    hole_px: int = 2
    reach_px: int = 4
    min_ink: float = 0.25
    rounds: int = 5
    edge_sigma_px: float = 0.25
    edge_sigma_x_px: float = 0.2
    blur_px: float = 0.4
    bend_sigma_px: float = 1.0
    bend_share: float = 0.35
    outlier: float = 3.0
    max_gap_s: float = 0.04
    min_row_share: float = 0.1

    def __post_init__(self) -> None:
        positive = (
            "band_mv", "jump_cost", "blank_probability", "contrast_px", "contrast_floor", "min_ink", "edge_sigma_px",
            "bend_sigma_px", "outlier", "max_gap_s", "min_row_share",
        )  # fmt: skip
        for name in positive:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        for name in (
            "ink_gain",
            "missed_gain",
            "smoothing_px",
            "hole_px",
            "reach_px",
            "rounds",
            "edge_sigma_x_px",
            "blur_px",
            "bend_share",
        ):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)}")
        if self.contrast_px % 2 != 1:
            raise ValueError(f"contrast_px must be odd, not {self.contrast_px}")
