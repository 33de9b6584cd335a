"""What a page is refused for that seemed to be one: another layout, leads that cannot be, traces that are none.

A page in the wrong place gives clean traces of wrong signals, and grain gives pieces of anything. Each check raises a
:class:`cardioscan.errors.StageError` whose text says what was seen; docs/refusals.md has what pages that pass show.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cardioscan.arrays import Floats
from cardioscan.backends.specs import NamePlaces
from cardioscan.errors import RefusalCode, StageError
from cardioscan.locate.search import SURE_NAMES
from cardioscan.page.layout import Layout
from cardioscan.page.leads import LEAD_INDEX, LEADS, SAMPLING_RATE_HZ
from cardioscan.page.reference import KNOWN_PAGE

__all__ = [
    "names_in_place",
    "refuse_contradiction",
    "refuse_guesses",
    "refuse_names_out_of_place",
    "refuse_unread",
    "share_read",
]

_MIN_SHARE_READ: Final = 0.2
_SCATTERED_SHARE: Final = 0.6
"""Where less than this is read, and no lead for the most part with ``_MIN_LEAD_CONFIDENCE``, it is no trace."""
_MIN_LEAD_CONFIDENCE: Final = 0.1
_MIN_LEAD_SHARE: Final = 0.5
_MAX_NOISE_TO_RMS: Final = 1.0
"""Limb leads that contradict each other by so many times their own rms are not limb leads."""


def share_read(signals: Floats, layout: Layout) -> float:
    """Share of the printed samples that were read in ``signals`` (12, N) mV, NaN where nothing was."""
    printed = sum(round(length * SAMPLING_RATE_HZ) for length in layout.lead_seconds().values())
    return float(np.isfinite(signals).sum()) / printed


def refuse_unread(read: float) -> None:
    """Refuse a page of which next to nothing was read.

    Raises:
        StageError: trace_not_found.
    """
    if read < _MIN_SHARE_READ:
        raise _no_trace(read)


def names_in_place(names: Floats, nodes: Floats, places: NamePlaces) -> int:
    """How many of the lead names found stand within half a square of their node on the settled lattice.

    Args:
        names: (n, 3) float64, class id, x, y in px of the picture.
        nodes: (n_horizontal_lines, n_vertical_lines, 2) float64, (x, y) px of the picture.
        places: the node of each class.
    """
    steps = [np.linalg.norm(np.diff(nodes, axis=axis), axis=-1).ravel() for axis in (0, 1)]
    reach = float(np.median(np.concatenate(steps))) / 2
    at = {label.class_id: nodes[label.j, label.i] for label in places.classes}
    return sum(
        round(class_id) in at and bool(np.linalg.norm(at[round(class_id)] - point) < reach)
        for class_id, *point in names
    )


def refuse_names_out_of_place(found: int, in_place: int) -> None:
    """Refuse a page of whose lead names most stand beside their places.

    Args:
        found: how many lead names were found.
        in_place: how many of them stand where the grid has them, see :func:`names_in_place`.

    Raises:
        StageError: alignment_failed.
    """
    if 2 * in_place < found:
        raise StageError(
            RefusalCode.ALIGNMENT_FAILED,
            f"Only {in_place} of {found} lead names stand where the grid has them on the page layout "
            f"that is known: {KNOWN_PAGE}.",
        )


def refuse_contradiction(signals: Floats, noise_mv: float, in_place: int) -> None:
    """Refuse a page whose leads cannot be what they are called.

    Where nine names and more stand in place it is the right page, of which some leads are spoilt.

    Args:
        signals: (12, N) float64, mV, NaN where nothing was read.
        noise_mv: by how much redundant limb leads contradict each other, mV.
        in_place: how many lead names stand where the grid has them, see :func:`names_in_place`.

    Raises:
        StageError: alignment_failed.
    """
    limb = [np.nanstd(row) for row in signals[: LEAD_INDEX["V1"]] if np.isfinite(row).any()]
    if limb and noise_mv > _MAX_NOISE_TO_RMS * float(np.median(limb)) and in_place < SURE_NAMES:
        raise StageError(
            RefusalCode.ALIGNMENT_FAILED,
            "The limb leads contradict each other by more than they hold: the traces are not the leads of the page "
            f"layout that is known: {KNOWN_PAGE}.",
        )


def refuse_guesses(signals: Floats, confidence: NDArray[np.float32], read: float, layout: Layout) -> None:
    """Refuse pieces of which none can be believed: what grain and words on a page without traces look like.

    Args:
        signals: (12, N) mV, NaN where nothing was read.
        confidence: (12, N) float32, 0 to 1.
        read: from :func:`share_read`.
        layout: says how long each lead is printed.

    Raises:
        StageError: trace_not_found.
    """
    there = np.isfinite(signals)
    # A piece of a lead may look like anything; of a page that is hidden in part some leads are there whole.
    printed = [layout.lead_seconds().get(lead, np.inf) * SAMPLING_RATE_HZ for lead in LEADS]
    sure = [
        float(row[seen].mean())
        for row, seen, samples in zip(confidence, there, printed, strict=True)
        if seen.sum() >= _MIN_LEAD_SHARE * samples
    ]
    if read < _SCATTERED_SHARE and max(sure, default=0.0) < _MIN_LEAD_CONFIDENCE:
        raise _no_trace(read)


def _no_trace(read: float) -> StageError:
    return StageError(
        RefusalCode.TRACE_NOT_FOUND,
        f"Of the {len(LEADS)} leads only {read:.0%} shows a trace; take the picture closer, sharper, in even light.",
    )
