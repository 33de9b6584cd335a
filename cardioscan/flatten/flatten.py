"""The stage from the picture of a page to the flat page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np

from cardioscan.arrays import Floats, Image, Mask
from cardioscan.backends.inference import InferenceBackend
from cardioscan.backends.specs import NamePlaces, RectifierWindow
from cardioscan.errors import RefusalCode, StageError
from cardioscan.flatten.first_lattice import FirstLattice, see_lattice, smooth_lattice_of
from cardioscan.flatten.lines import FlatPixels, LineReport, refine_lines
from cardioscan.flatten.page_map import PageMap, soften
from cardioscan.locate.locate import Located
from cardioscan.locate.search import SURE_NAMES
from cardioscan.page.reference import KNOWN_PAGE
from cardioscan.page.sheet import Sheet

__all__ = ["Flattened", "flatten", "flatten_by"]

_MIN_NAMES: Final = 6
_MIN_LATTICE_WITH_FEW_NAMES: Final = 0.7
_MIN_LATTICE_FOR_SECOND_LOOK: Final = 0.8
"""Where mould hides more of the grid, a second look has lost more on single pages (1.9 dB) than it gains on others."""
_MAX_GREY_CHROMA: Final = 3.0
"""Mean difference, grey levels, between the channels of a page without colour."""


@dataclass(frozen=True, eq=False)
class Flattened:
    """A flat page.

    Attributes:
        located: the picture and where the page lies in it.
        sheet: the ruled paper.
        nodes: (n_horizontal_lines, n_vertical_lines, 2) float64, (x, y) px of the picture.
        page_map: where each pixel of the flat page lies in the picture.
        soft: the picture made ready to be sampled, see ``soften``.
        lattice_score: 0 to 1, how much of the lattice the network saw.
        confidence: 0 to 1, of the place and the lattice.
        lines: what measuring single lines has done; None where they were not measured.
        diagnostics: what was found, up to here.
    """

    located: Located
    sheet: Sheet
    nodes: Floats
    page_map: PageMap
    soft: Image
    lattice_score: float
    confidence: float
    lines: LineReport | None
    diagnostics: Mapping[str, Any]

    @cached_property
    def pixels(self) -> Image:
        """The flat page (height, width, 3) uint8, sampled when it is first asked for."""
        return self.page_map.sample(self.soft)

    def inside(self) -> Mask:
        """(height, width) bool: which pixels of the flat page come from the picture."""
        return self.page_map.inside(self.soft.shape)

    @property
    def moved_px(self) -> float | None:
        """How far single lines moved the lattice, px of the reference frame; None where they could not."""
        return self.lines.moved_px if self.lines is not None and self.lines.applied else None

    @property
    def is_grey(self) -> bool:
        """Whether nothing but the extractor tells ink from lines: neither colour nor how dark they are."""
        if self.lines is None or not self.lines.ink_separable:
            return True
        sample = self.pixels[::8, ::8].astype(np.int16)
        return float((sample.max(axis=2) - sample.min(axis=2)).mean()) < _MAX_GREY_CHROMA


def flatten(
    located: Located,
    backend: InferenceBackend,
    window: RectifierWindow,
    places: NamePlaces,
    line_rounds: tuple[int, int],
    find_ink: Callable[[Image], Image] | None,
) -> Flattened:
    """Find the page's lattice and map the flat page to the picture.

    Args:
        located: the picture and where the page lies in it.
        backend: runs the grid rectifier.
        window: what it sees, and of which sheet.
        places: where each lead name stands on that sheet.
        line_rounds: how often single lines are measured at most, before the ink is known and with the ink left out.
        find_ink: gives the ink (height, width) uint8 of a flat page (height, width, 3). It is asked on pages on which
            nothing else tells ink from lines, as on scans without colour; None never.

    Raises:
        StageError: ``GRID_NOT_FOUND``, or ``ALIGNMENT_FAILED`` where only some names and part of the grid fit.
    """
    seen = see_lattice(located, backend, window, places)
    _refuse_other_layout(located, seen.score)
    first = smooth_lattice_of(seen, located, window.sheet, places)
    before_ink = flatten_by(located, window.sheet, first, line_rounds[0])
    if find_ink is None or not line_rounds[1] or first.score < _MIN_LATTICE_FOR_SECOND_LOOK or not before_ink.is_grey:
        return before_ink
    return _off_ink(before_ink, first, find_ink(before_ink.pixels), line_rounds[1])


def flatten_by(located: Located, sheet: Sheet, first: FirstLattice, rounds: int) -> Flattened:
    """The page flattened by its first lattice, which is moved onto the printed lines in up to so many rounds."""
    page_map = PageMap.of(first.nodes, sheet)
    soft = soften(located.image, page_map)
    flat = Flattened(
        located,
        sheet,
        first.nodes,
        page_map,
        soft,
        first.score,
        located.confidence * first.confidence,
        None,
        {**located.diagnostics, **first.diagnostics},
    )
    if not rounds:
        return flat
    nodes, report = refine_lines(soft, first.nodes, sheet, None, rounds)
    return _with_lines(replace(flat, nodes=nodes, page_map=PageMap.of(nodes, sheet)), report)


def _off_ink(flat: Flattened, first: FirstLattice, ink: Image, rounds: int) -> Flattened:
    """The page flattened by lines that are measured with the ink left out."""
    page = FlatPixels(flat.pixels, flat.inside())
    start_displacement = None if flat.lines is None else flat.lines.displacement
    nodes, report = refine_lines(flat.soft, first.nodes, flat.sheet, ink, rounds, page, start_displacement)
    if not report.applied:
        return _with_lines(flat, report)
    return _with_lines(replace(flat, nodes=nodes, page_map=PageMap.of(nodes, flat.sheet)), report)


def _with_lines(flat: Flattened, report: LineReport) -> Flattened:
    return replace(flat, lines=report, diagnostics={**flat.diagnostics, "lines": report.to_json_dict()})


def _refuse_other_layout(located: Located, lattice_score: float) -> None:
    """Refuse a page of which some lead names fall into place by chance, and so does half of the grid."""
    names = len(located.names)
    if located.by_hand or names >= SURE_NAMES or (names >= _MIN_NAMES and lattice_score >= _MIN_LATTICE_WITH_FEW_NAMES):
        return
    raise StageError(
        RefusalCode.ALIGNMENT_FAILED,
        f"Only {names} lead names and part of the grid fit the page layout that is known: {KNOWN_PAGE}.",
        lattice_score=round(lattice_score, 4),
    )
