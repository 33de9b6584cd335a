"""What a page is refused for once it has been placed and read."""

from __future__ import annotations

import numpy as np
import pytest

from cardioscan.backends.specs import NAME_PLACES
from cardioscan.errors import RefusalCode, StageError
from cardioscan.evaluate.evaluation import only_printed
from cardioscan.locate.search import SURE_NAMES
from cardioscan.page.catalogue import find_layout
from cardioscan.page.leads import LEADS
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.postprocess.plausibility import (
    names_in_place,
    refuse_contradiction,
    refuse_guesses,
    refuse_names_out_of_place,
    refuse_unread,
    share_read,
)

LAYOUT = REFERENCE_PAGE.layout
NODES = 1.7 * REFERENCE_PAGE.sheet.lattice() + 100


def names_beside(n_names: int, beside_squares: float = 0.0) -> np.ndarray:
    """The first lead names, beside their nodes by part of a square: (n, 3) class id, x, y."""
    beside = 1.7 * REFERENCE_PAGE.sheet.pitch * beside_squares
    found = [(label.class_id, *(NODES[label.j, label.i] + (beside, 0))) for label in NAME_PLACES.classes[:n_names]]
    return np.array(found, np.float64).reshape(-1, 3)


def contradicting_signals() -> np.ndarray:
    """Twelve leads that have nothing to do with each other."""
    return np.random.default_rng(0).normal(0, 0.2, (len(LEADS), 5000))


def check(labels: np.ndarray, noise_mv: float) -> None:
    """What a page with these names and such signals goes through."""
    in_place = names_in_place(labels, NODES, NAME_PLACES)
    refuse_names_out_of_place(len(labels), in_place)
    refuse_contradiction(contradicting_signals(), noise_mv, in_place)


@pytest.mark.parametrize(
    ("names", "beside", "in_place"), [(0, 0.0, 0), (9, 0.0, 9), (9, 0.4, 9), (9, 0.6, 0), (13, -0.4, 13)]
)
def test_names_stand_at_their_nodes_or_not(names: int, beside: float, in_place: int) -> None:
    assert names_in_place(names_beside(names, beside), NODES, NAME_PLACES) == in_place


def test_a_name_of_another_place_is_not_in_place() -> None:
    labels = names_beside(13)
    labels[:, 0] = np.roll(labels[:, 0], 1)
    assert names_in_place(labels, NODES, NAME_PLACES) < SURE_NAMES


@pytest.mark.parametrize(
    ("names", "beside", "refused"), [(13, 0.0, False), (9, 0.3, False), (8, 0.0, True), (0, 0.0, True)]
)
def test_leads_that_contradict_are_refused_unless_the_page_is_surely_the_right_one(
    names: int, beside: float, refused: bool
) -> None:
    labels = names_beside(names, beside)
    if refused:
        with pytest.raises(StageError, match="contradict each other") as caught:
            check(labels, 0.3)
        assert caught.value.code == RefusalCode.ALIGNMENT_FAILED
    else:
        check(labels, 0.3)
    check(labels, 0.05)


@pytest.mark.parametrize("in_place", [0, 3, 6, 7, 13])
def test_names_beside_their_places_refuse_whatever_was_read(in_place: int) -> None:
    labels = names_beside(13)
    labels[in_place:] = names_beside(13, beside_squares=0.7)[in_place:]
    if in_place < 7:
        with pytest.raises(StageError, match=f"Only {in_place} of 13 lead names") as caught:
            check(labels, 0.0)
        assert caught.value.code == RefusalCode.ALIGNMENT_FAILED
    else:
        check(labels, 0.0)


def test_a_page_whose_names_nobody_looked_for_is_read() -> None:
    check(names_beside(0), 0.05)


def test_next_to_nothing_read_is_refused_wherever_the_names_are() -> None:
    signals = contradicting_signals()
    signals[:, 200:] = np.nan
    read = share_read(signals, LAYOUT)
    assert read == pytest.approx(12 * 200 / (11 * 1250 + 5000))
    with pytest.raises(StageError, match="only 13%") as caught:
        refuse_unread(read)
    assert caught.value.code == RefusalCode.TRACE_NOT_FOUND
    refuse_unread(0.25)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [("3x4+1", 37.5), ("3x4+1(V1)", 37.5), ("3x4+3", 52.5), ("6x2", 60.0), ("12x1", 120.0), ("II", 10.0)],
)
def test_the_share_read_is_of_what_the_layout_prints(name: str, seconds: float) -> None:
    layout = find_layout(name)
    signals = only_printed(contradicting_signals(), layout)
    assert share_read(signals, layout) == 1.0
    signals[:, 250:] = np.nan
    assert share_read(signals, layout) == pytest.approx(np.isfinite(signals).sum() / (500 * seconds))


@pytest.mark.parametrize(
    ("read", "best", "samples", "refused"),
    [
        (0.5, 0.05, 1000, True),
        (0.5, 0.3, 1000, False),
        (0.9, 0.05, 1000, False),
        (0.3, 0.0, 1000, True),
        (0.5, 0.6, 500, True),  # a piece of a lead proves nothing
    ],
)
def test_scattered_pieces_are_refused_unless_some_lead_can_be_believed(
    read: float, best: float, samples: int, refused: bool
) -> None:
    signals = contradicting_signals()
    signals[:, samples:] = np.nan
    signals[3] = np.nan
    confidence = np.where(np.isfinite(signals), 0.01, 0).astype(np.float32)
    confidence[7, :1000] = best
    if refused:
        with pytest.raises(StageError, match="shows a trace") as caught:
            refuse_guesses(signals, confidence, read, LAYOUT)
        assert caught.value.code == RefusalCode.TRACE_NOT_FOUND
    else:
        refuse_guesses(signals, confidence, read, LAYOUT)
