"""Refining the lattice by the profile of every single printed line.

A smooth surface through the network's nodes, or the phase of the grid (:mod:`cardioscan.flatten.phase`), brings the
lattice to within a pixel or two, but cannot follow a crease and keeps an error of a few tenths. The profile of each
line (:mod:`cardioscan.flatten.line_profiles`) places single nodes to 0.03 to 0.1 px, and tells how sure each is. What
is left to smooth is then decided by how well nodes are predicted by their neighbours.

Two things pull lines away from the lattice and are undone:

* ink beside a line: left out where it is known or darker than the lines are (:mod:`cardioscan.flatten.ink_mask`), and a
  node that contradicts its neighbours has no say;
* the printer's raster: pages drawn as pictures have their lines on whole pixels (``Sheet.raster_offsets``).
  Whether a page shows that pattern is tested on the page itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from cardioscan.arrays import Floats
from cardioscan.flatten.ink_mask import readable_mask
from cardioscan.flatten.line_profiles import measure_lines
from cardioscan.flatten.page_map import PageMap
from cardioscan.imaging.channels import channel_range
from cardioscan.imaging.geometry import median_of_known, slide_nodes
from cardioscan.imaging.surfaces import cross_validated_smoothness, geman_mcclure, robust_lattice, smooth_lattice
from cardioscan.page.sheet import Sheet

__all__ = ["FlatPixels", "LineReport", "refine_lines"]

_SETTLED_PX: Final = 0.6
"""Lines that are measured so far from where they were sampled (90 %) are measured again; a line is a px or two wide."""
_MIN_ERROR_PX: Final = 0.05
_JUDGING_SMOOTHNESS: Final = 0.3
"""Stiffness of the surface against which single nodes are judged, and by how many px they may leave it."""
_OUTLIER_SCALES_PX: Final = (3.0, 1.5)
_OUTLIER_PX: Final = 0.8
_OUTLIER_RATIO: Final = 6.0
"""A node is an outlier beyond ``_OUTLIER_PX``, or beyond so many times the median residual of its neighbours: on
crumpled paper all of them leave a stiff surface, and are right."""
_NEIGHBOURHOOD_NODES: Final = 3
_INTERIM_SMOOTHNESS: Final = 1e-3
_SMOOTHNESSES: Final = (1e-4, 1e-2, 1.0, 100.0, 1e5)
_MIN_RASTER_SHARE: Final = 0.4
_MIN_MEASURED: Final = 0.3


@dataclass(frozen=True, eq=False)
class LineReport:
    """What the refinement did.

    Attributes:
        applied: False where too few lines could be measured, and the nodes came back as they were.
        measured: share of nodes with a measured line, in the worse of the two directions.
        precision_px: median standard error of a single node's place, px of the reference frame, both directions.
        moved_px: median distance that the nodes went, px of the reference frame.
        raster: share of the printer's raster pattern found in the vertical and in the horizontal lines (1 = all of it).
        ink_separable: whether ink was told from the lines by how dark it is.
        displacement: (n_horizontal_lines, n_vertical_lines, 2) float64 of the nodes against those that were given, px
            of the reference frame; None where nothing was measured.
    """

    applied: bool
    measured: float
    precision_px: float
    moved_px: float
    raster: tuple[float, float]
    ink_separable: bool
    displacement: Floats | None

    def to_json_dict(self) -> dict[str, Any]:
        """Its figures as plain values, for diagnostics."""
        return {
            "applied": self.applied,
            "measured": round(self.measured, 3),
            "precision_px": round(self.precision_px, 3) if self.applied else None,
            "moved_px": round(self.moved_px, 3),
            "raster": list(self.raster),
            "ink_separable": self.ink_separable,
        }


@dataclass(frozen=True, eq=False)
class FlatPixels:
    """A flat page to measure on.

    Attributes:
        pixels: (height, width, 3) uint8, in the reference frame.
        valid: (height, width) bool, inside the picture.
    """

    pixels: NDArray[np.uint8]
    valid: NDArray[np.bool_]


def refine_lines(
    image: NDArray[np.uint8],
    nodes: Floats,
    sheet: Sheet,
    ink: NDArray[np.uint8] | None,
    rounds: int,
    page: FlatPixels | None = None,
    start_displacement: Floats | None = None,
) -> tuple[Floats, LineReport]:
    """Move the nodes of a lattice onto the printed lines, one by one.

    Args:
        image: the picture, (H, W, 3) uint8, as :func:`cardioscan.flatten.page_map.soften` gives it.
        nodes: (n_horizontal_lines, n_vertical_lines, 2) float64, (x, y) px of the picture, within about 3 px of the
            page of the truth; smooth, since what is known about single nodes comes from here alone.
        sheet: the printed page.
        ink: (height, width) uint8 in that flat page: where trace is, 255 = certainly. It is left out, or a QRS beside
            a line would pull it.
        rounds: how often the page is measured at most; it is flattened anew in between. No further round follows one in
            which lines were found where the page was sampled for them, or in which ink was neither known nor told from
            lines. The displacement is always smoothed as a whole; how supple it may be is settled by the page in the
            last round.
        page: the flat page that the nodes give, or with ``start_displacement`` those that came out then; None has it
            sampled.
        start_displacement: the displacement that an earlier call has come to, from the same nodes.

    Returns:
        The nodes, same shape, and a report.
    """
    start = np.asarray(nodes, np.float64)
    moved = start_displacement
    current = start if moved is None else start + slide_nodes(start, moved, sheet.pitch)
    report = LineReport(False, 0.0, float("nan"), 0.0, (0.0, 0.0), False, moved)
    for turn in range(rounds):
        if page is None:
            page_map = PageMap.of(current, sheet)
            page = FlatPixels(page_map.sample(image), page_map.inside(image.shape))
        dark, bright = channel_range(page.pixels)
        readable, separable = readable_mask(bright, page.valid, ink, sheet)
        lines = [measure_lines(dark, readable, axis, sheet) for axis in (0, 1)]
        known = [np.isfinite(variance) for _, variance in lines]
        if min(float(there.mean()) for there in known) < _MIN_MEASURED:
            break
        close = [
            np.percentile(np.abs(at[there]), 90) < _SETTLED_PX for (at, _), there in zip(lines, known, strict=True)
        ]
        # Where nothing tells ink from lines, more rounds are for when it is known.
        last = all(close) or turn == rounds - 1 or (ink is None and not separable)
        before = np.zeros((*start.shape[:2], 2)) if moved is None else moved
        surfaces = [
            _surface(before[..., axis] + measured, variance, axis, sheet, last)
            for axis, (measured, variance) in enumerate(lines)
        ]
        moved = np.stack([surface for surface, _ in surfaces], axis=-1)
        current, page = start + slide_nodes(start, moved, sheet.pitch), None
        errors = [np.sqrt(np.median(variance[there])) for (_, variance), there in zip(lines, known, strict=True)]
        report = LineReport(
            True,
            min(float(there.mean()) for there in known),
            float(np.mean(errors)),
            float(np.median(np.linalg.norm(moved, axis=-1))),
            (round(surfaces[0][1], 3), round(surfaces[1][1], 3)),
            separable,
            moved,
        )
        if last:
            break
    return current, report


def _surface(total: Floats, variance: Floats, axis: int, sheet: Sheet, settle: bool) -> tuple[Floats, float]:
    """Displacement of the nominal lattice (rows, columns) along one axis, and the share of the raster pattern.

    With ``settle``, how stiff it is, is chosen by how well nodes are predicted by their neighbours; else it is supple.
    """
    share = 0.0
    offsets = sheet.raster_offsets()
    if offsets is not None:
        pattern = np.broadcast_to(offsets[0] if axis == 0 else offsets[1][:, None], total.shape)
        share = _pattern_share(total, pattern, variance, axis)
        if share > _MIN_RASTER_SHARE:
            total = total - pattern
    weights = _robust_weights(total, variance)
    values = total[..., None]
    smoothness = _INTERIM_SMOOTHNESS
    if settle:
        fold = (np.arange(total.shape[0])[:, None] + np.arange(total.shape[1])) % 2
        smoothness = cross_validated_smoothness(
            values, weights, fold, _SMOOTHNESSES, max_error=1.0, first_tried=0, both_folds=False
        )
    return smooth_lattice(values, weights + 1e-9, smoothness)[..., 0], share


def _robust_weights(total: Floats, variance: Floats) -> Floats:
    """Weights (rows, columns) of measured nodes, 1 for a perfect one: by their variance, and by their neighbours."""
    known = np.isfinite(variance)
    weights = _precision_weights(variance)
    _, residual = robust_lattice(total[..., None], weights, _JUDGING_SMOOTHNESS, _OUTLIER_SCALES_PX)
    residual = np.minimum(residual, 10.0)
    scale = np.maximum(_OUTLIER_PX, _OUTLIER_RATIO * _local_median(residual, known))
    return np.where(known, geman_mcclure(weights, residual, scale), 0.0)


def _precision_weights(variance: Floats) -> Floats:
    """Weights (rows, columns) by the variance of a node's own measurement, 0 where there is none."""
    return np.asarray(_MIN_ERROR_PX**2 / (variance + _MIN_ERROR_PX**2), np.float64)


def _local_median(values: Floats, known: NDArray[np.bool_]) -> Floats:
    """Median (rows, columns) of the known values within ``_NEIGHBOURHOOD_NODES`` nodes, 0 where there are none."""
    side = 2 * _NEIGHBOURHOOD_NODES + 1
    padded = np.pad(np.where(known, values, np.inf), _NEIGHBOURHOOD_NODES, constant_values=np.inf)
    windows = np.sort(sliding_window_view(padded, (side, side)).reshape(*values.shape, -1), axis=-1)
    middle = np.maximum(np.isfinite(windows).sum(axis=-1, keepdims=True) - 1, 0) // 2
    median = np.take_along_axis(windows, middle, axis=-1)[..., 0]
    return np.where(np.isfinite(median), median, 0.0)


def _pattern_share(total: Floats, pattern: Floats, variance: Floats, axis: int) -> float:
    """How much of the raster's pattern (rows, columns) the lines show beside what is smooth: 1 is all of it.

    By the median of each line: nodes weighted by how well they agree with others would favour those where the paper's
    own bends make up for the pattern.
    """
    both = np.stack([total, pattern], axis=-1)
    # Smoothing is linear, so the rest for any factor is a combination of these two.
    rough, ripple = np.moveaxis(both - smooth_lattice(both, _precision_weights(variance) + 1e-9, 30.0), -1, 0)
    known = np.isfinite(variance)
    if axis == 1:
        rough, ripple, known = rough.T, ripple.T, known.T  # lines across the second axis
    lines = known.sum(axis=0) >= 5
    shown, wanted = (median_of_known(np.where(known, part, np.nan)[:, lines], axis=0) for part in (rough, ripple))
    strength = float((wanted**2).sum())
    return float((shown * wanted).sum()) / strength if strength > 1e-12 else 0.0
