"""The way of a page: Located -> Flattened -> RowsFound -> Traced -> Read.

Each stage is a function in a room of its own, from frozen results to one more; each result holds the one before it.
What is between them, and around them (time, refusals, the record), is here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np

from cardioscan.arrays import Floats, Image
from cardioscan.backends.inference import InferenceBackend
from cardioscan.backends.specs import NAME_PLACES, RECTIFIER_WINDOW
from cardioscan.errors import CardioscanError, PageRefusedError, RefusalCode, StageError
from cardioscan.flatten.flatten import Flattened, flatten
from cardioscan.imaging.images import ImageSource, load_image
from cardioscan.layout.rows import RowsFound, find_rows
from cardioscan.locate.locate import Located, locate
from cardioscan.options import DigitizerOptions
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.postprocess.read import Read, read
from cardioscan.record import Calibration, Digitization, EcgRecord, ModelUse, Outcome, Reason
from cardioscan.sources.classifier import classify
from cardioscan.sources.preprocessing import preprocess
from cardioscan.stopwatch import Stopwatch, TimedBackend
from cardioscan.waveform.extraction import row_coverage
from cardioscan.waveform.trace import Traced, trace

__all__ = ["Stage", "digitize_page", "onward", "record_of", "walk"]

Stage = Located | Flattened | RowsFound | Traced | Read
_LOG: Final = logging.getLogger(__name__)


def walk(
    image: Image,
    backend: InferenceBackend,
    options: DigitizerOptions,
    corners: Floats | None,
    stopwatch: Stopwatch,
    category: str | None = None,
) -> Iterator[Stage]:
    """Take a picture through the stages; gives each result as it is there.

    Args:
        image: (H, W, 3) uint8 RGB.
        backend: runs the networks.
        options: what is switched.
        corners: (4, 2) px set by a person, None to look for the page; see ``locate``.
        stopwatch: on which time is booked.
        category: source category; with one that has a branch, the picture preprocessed is looked at too.

    Raises:
        PageRefusedError: a stage found nothing that it could work with.
    """
    other = None
    if category is not None:
        with stopwatch("preprocessing"):
            other = preprocess(image, category)
    if other is not None:
        better: Stage | None = None
        for better in _better(image, other, backend, options, corners, stopwatch):
            yield better
        assert isinstance(better, Flattened)
        yield from onward(better, backend, options, stopwatch)
        return
    with stopwatch("alignment"):
        located = locate(image, backend, NAME_PLACES, corners)
    yield located
    yield from onward(located, backend, options, stopwatch)


def onward(stage: Stage, backend: InferenceBackend, options: DigitizerOptions, stopwatch: Stopwatch) -> Iterator[Stage]:
    """Take a page from one result through the stages that follow; arguments and errors as for :func:`walk`."""
    if isinstance(stage, Located):
        sheet = RECTIFIER_WINDOW.sheet
        ink = (lambda pixels: row_coverage(pixels, sheet, backend).max(axis=0)) if options.second_look else None
        with stopwatch("rectification"):
            stage = flatten(stage, backend, RECTIFIER_WINDOW, NAME_PLACES, options.line_rounds, ink)
        yield stage
    if isinstance(stage, Flattened):
        with stopwatch("layout"):
            stage = find_rows(stage, REFERENCE_PAGE)
        yield stage
    if isinstance(stage, RowsFound):
        with stopwatch("waveform"):
            stage = trace(stage, backend, options.crossing)
        yield stage
    if isinstance(stage, Traced):
        with stopwatch("signal"):
            stage = read(stage, NAME_PLACES, options.einthoven, options.savitzky_golay)
        yield stage


def _better(
    image: Image,
    other: Image,
    backend: InferenceBackend,
    options: DigitizerOptions,
    corners: Floats | None,
    stopwatch: Stopwatch,
) -> Iterator[Located | Flattened]:
    """The first two results of that of two pictures on which more lead names agree and more of the lattice is seen."""
    found: list[Flattened] = []
    located: list[Located] = []
    troubles: list[PageRefusedError] = []
    for candidate in (image, other):
        try:
            with stopwatch("alignment"):
                located.append(locate(candidate, backend, NAME_PLACES, corners))
            flattened = next(onward(located[-1], backend, options, stopwatch))
            assert isinstance(flattened, Flattened)
            found.append(flattened)
        except PageRefusedError as trouble:
            troubles.append(trouble)
    if not found:
        yield from located[:1]
        raise troubles[0]
    best = max(found, key=lambda flat: len(flat.located.names) / len(NAME_PLACES.classes) + flat.lattice_score)
    yield best.located
    yield best


def digitize_page(
    source: ImageSource,
    page: int,
    name: str,
    backend: InferenceBackend,
    options: DigitizerOptions,
    corners: Floats | None,
    stopwatch: Stopwatch,
) -> Digitization:
    """Read a picture and take it through the stages; a page that cannot be read gives a refused record.

    Args:
        source, page: see ``Digitizer.digitize``.
        name: of the record.
        backend, options, corners, stopwatch: see :func:`walk`.

    Raises:
        CardioscanError: the call is wrong: no networks, corners that span no page.
    """
    timed = TimedBackend(backend, stopwatch)
    image: Image | None = None
    stage: Stage | None = None
    kind: tuple[str | None, float] | None = None
    error: PageRefusedError | None = None
    try:
        with stopwatch("read"):
            image = np.asarray(load_image(source, page, options.limits).pixels)
        if options.source_aware:
            kind = classify(image, timed)
        try:
            for result in walk(image, timed, options, corners, stopwatch, None if kind is None else kind[0]):
                stage = result
                if isinstance(result, Traced):
                    # The largest network takes longest to open: it is asked when no other network waits for it.
                    kind = kind or classify(image, timed)
        except PageRefusedError as refusal:
            error = refusal
            kind = kind or classify(image, timed)
    except PageRefusedError as refusal:
        error = refusal
    except CardioscanError:
        raise
    except Exception as fault:  # a fault of ours on this page must not take other pages with it
        _LOG.exception("digitizing %s failed", name)
        detail = f"An unexpected error ended this page ({type(fault).__name__}: {fault}). Please report it."
        error = StageError(RefusalCode.INTERNAL_ERROR, detail)
    category, probability = kind or (None, None)
    found: dict[str, Any] = {} if probability is None else {"source_probability": round(probability, 4)}
    if stage is not None:
        found |= stage.diagnostics
    common: dict[str, Any] = {
        "name": name,
        "source": name,
        "source_category": category,
        "models": tuple(ModelUse(model, *use) for model, use in backend.model_versions().items()),
        "timings_s": stopwatch.timings_s(),
    }
    if error is None:
        assert isinstance(stage, Read)
        record = record_of(stage, common, found)
    else:
        record = EcgRecord.refused(reasons=(Reason.from_error(error),), diagnostics=found | error.found, **common)
    if corners is not None:
        record = replace(record, edits=({"kind": "corners", "corners": np.round(np.asarray(corners, float), 2)},))
    return _details(record, image, stage)


def record_of(done: Read, common: Mapping[str, Any], diagnostics: Mapping[str, Any]) -> EcgRecord:
    """The record of a page that is read, with what it has in ``common`` with refused ones: name, models, ..."""
    page = done.traced.rows.page
    return EcgRecord(
        signals=done.signals,
        confidence=done.confidence,
        outcome=Outcome.DIGITIZED,
        layout=page.layout,
        calibration=Calibration.of(page.scale),
        heart_rate_bpm=done.heart_rate_bpm,
        diagnostics=diagnostics,
        **common,
    )


def _details(record: EcgRecord, image: Image | None, stage: Stage | None) -> Digitization:
    """The record with what the last stage that was reached knows."""
    done = stage if isinstance(stage, Read) else None
    traced = done.traced if done is not None else stage if isinstance(stage, Traced) else None
    rows = traced.rows if traced is not None else stage if isinstance(stage, RowsFound) else None
    flattened = rows.flattened if rows is not None else stage if isinstance(stage, Flattened) else None
    located = flattened.located if flattened is not None else stage if isinstance(stage, Located) else None
    return Digitization(
        record,
        image,
        page=None if rows is None else rows.page,
        traces={} if done is None else _traces_on_picture(done),
        labels=None if located is None else located.names,
        lattice=None if flattened is None else flattened.nodes,
        # Not a method of the stage: it would keep all that was worked with.
        flatten=None if flattened is None else partial(flattened.page_map.sample, flattened.soft),
        row_coverage=None if traced is None else traced.coverage,
        lead_features=None if done is None else done.features,
        page_confidence=1.0 if flattened is None else flattened.confidence,
    )


def _traces_on_picture(done: Read) -> dict[str, Floats]:
    """The traces of a page, by name, in px of its picture."""
    flat = done.traced.decoded.traces
    ends = np.cumsum([len(points) for points in flat.values()])
    places = done.traced.rows.flattened.page_map.at(np.concatenate([*flat.values()]))
    return dict(zip(flat, np.split(places, ends[:-1]), strict=True))
