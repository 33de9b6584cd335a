"""The way of a page through the stages, with the released networks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from cardioscan import Digitizer, stages
from cardioscan.errors import RefusalCode, StageError
from cardioscan.flatten.flatten import Flattened
from cardioscan.layout.rows import RowsFound
from cardioscan.locate.locate import Located
from cardioscan.options import DigitizerOptions
from cardioscan.postprocess.read import Read
from cardioscan.record import Digitization
from cardioscan.stages import Stage, walk
from cardioscan.stopwatch import Stopwatch, TimedBackend
from cardioscan.waveform.trace import Traced

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def digitizer() -> Digitizer:
    return Digitizer()


@pytest.fixture(scope="module")
def example(digitizer: Digitizer) -> Digitization:
    return digitizer.digitize_with_details(EXAMPLES / "page-photo.jpg")


@pytest.fixture(scope="module")
def told() -> list[str]:
    """What the walk through the stages told of its progress."""
    return []


@pytest.fixture(scope="module")
def walked(digitizer: Digitizer, example: Digitization, told: list[str]) -> list[Stage]:
    """The stages of the example page."""
    assert example.image is not None
    stopwatch = Stopwatch(told.append)
    backend = TimedBackend(digitizer.backend, stopwatch)
    return list(walk(example.image, backend, digitizer.options, None, stopwatch))


def test_a_page_goes_through_five_stages_each_of_which_holds_the_one_before(walked: list[Stage]) -> None:
    assert [type(stage) for stage in walked] == [Located, Flattened, RowsFound, Traced, Read]
    located, flattened, rows, traced, done = walked
    assert done.traced is traced and traced.rows is rows and rows.flattened is flattened
    assert flattened.located is located
    for before, after in pairwise(walked):
        assert before.diagnostics.items() <= after.diagnostics.items()


def test_the_walk_gives_what_the_digitizer_gives(walked: list[Stage], example: Digitization) -> None:
    done = walked[-1]
    assert isinstance(done, Read)
    np.testing.assert_array_equal(done.signals, example.record.signals)
    np.testing.assert_array_equal(done.confidence, example.record.confidence)
    np.testing.assert_array_equal(done.features, example.lead_features)


def test_progress_is_told_stage_by_stage_with_the_networks_in_between(walked: list[Stage], told: list[str]) -> None:
    order = ["alignment", "rectification", "layout", "waveform", "signal"]
    assert [name for name in told if name in order] == order
    following = dict(pairwise(told))
    assert following["alignment"] == "label_detector" and following["rectification"] == "grid_rectifier"
    assert following["waveform"] == "waveform_extractor"


@pytest.mark.parametrize("reached", range(6))
def test_a_refused_page_keeps_what_the_last_stage_knew(
    digitizer: Digitizer,
    walked: list[Stage],
    example: Digitization,
    reached: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: object) -> Iterator[Stage]:
        yield from walked[:reached]
        if reached < len(walked):
            raise StageError(RefusalCode.GRID_NOT_FOUND, "no further", tried=4)

    monkeypatch.setattr(stages, "walk", refused)
    found = digitizer.digitize_with_details(example.image)
    assert (found.record.outcome == "refused") == (reached < 5)
    known = (found.labels, found.lattice, found.page, found.row_coverage, found.lead_features)
    assert [what is not None for what in known] == [place < reached for place in range(5)]
    assert (found.flatten is not None) == (reached >= 2) and bool(found.traces) == (reached == 5)
    assert found.image is not None and (found.record.layout is not None) == (reached == 5)
    last = walked[reached - 1].diagnostics if reached else {}
    assert last.items() <= found.record.diagnostics.items()
    assert (found.record.diagnostics.get("tried") == 4) == (reached < 5)


@pytest.mark.parametrize(
    "source_aware",
    [
        False,
        True,
    ],
)
def test_a_page_that_is_not_flattened_keeps_its_names(
    digitizer: Digitizer, source_aware: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> Flattened:
        raise StageError(RefusalCode.GRID_NOT_FOUND, "no grid")

    monkeypatch.setattr(stages, "flatten", refused)
    monkeypatch.setattr(stages, "classify", lambda *_: ("0005", 0.9))
    aware = Digitizer(digitizer.backend, DigitizerOptions(source_aware=source_aware))
    assert aware.digitize_with_details(EXAMPLES / "page-photo.jpg").labels is not None


def test_a_fault_of_ours_ends_its_own_page_only(
    digitizer: Digitizer, walked: list[Stage], example: Digitization, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> Iterator[Stage]:
        yield walked[0]
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr(stages, "walk", failing)
    found = digitizer.digitize_with_details(example.image)
    assert (
        found.record.reasons[0].code == "internal_error"
        and "ZeroDivisionError: of ours" in found.record.reasons[0].detail
    )
    assert found.labels is not None and found.lattice is None


# --- time
