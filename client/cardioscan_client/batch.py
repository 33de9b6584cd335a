"""Digitizing many pages: one after another or in worker processes; one bad page never stops the others."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import numpy as np

from cardioscan.page.leads import LEADS, RECORD_SAMPLES
from cardioscan.record import EcgRecord
from cardioscan_client.naming import unique_stems
from cardioscan_client.page_runner import (
    ALWAYS_WRITTEN,
    BatchOptions,
    DigitizerFactory,
    PageJob,
    PageResult,
    PageRunner,
    make_digitizer,
)
from cardioscan_client.pool import run_in_pool


def check_formats(names: Sequence[str]) -> tuple[str, ...]:
    """The names of further formats, each once, without those always written.

    Raises:
        FormatError: a name is unknown.
        MissingDependencyError: a format needs a package that is not installed.
    """
    from cardioscan.formats import select_writers

    # An hour into a batch is too late to learn of a missing package: a record is encoded here and now.
    shape = (len(LEADS), RECORD_SAMPLES)
    probe = EcgRecord("probe", np.zeros(shape), np.ones(shape, np.float32))
    chosen = [writer for writer in select_writers((*ALWAYS_WRITTEN, *names)) if writer.name not in ALWAYS_WRITTEN]
    for writer in chosen:
        writer.files(probe)
    return tuple(writer.name for writer in chosen)


def run_batch(
    files: Sequence[Path], options: BatchOptions, jobs: int = 1, factory: DigitizerFactory = make_digitizer
) -> Iterator[PageResult]:
    """Digitize every page of every file; results come as pages are done, in order where ``jobs`` is 1.

    Args:
        files: inputs; each page of a PDF or TIFF becomes a result of its own.
        options: what all pages share.
        jobs: worker processes; 1 works in this process. Workers are spawned, so ``factory`` must be importable.
        factory: makes the digitizer, once per process.

    Raises:
        CardioscanError: the call itself is wrong (a missing model or package).
    """
    stems = unique_stems(files)
    queue = deque(PageJob(file, stem, options.page or 0) for file, stem in zip(files, stems, strict=True))
    outcomes = run_in_pool(queue, options, jobs, factory) if jobs > 1 else _run_here(queue, options, factory)
    with contextlib.closing(outcomes):
        for job, result in outcomes:
            # Only the first page of a file tells how many there are; the others follow it at once.
            if job.n_pages is None and options.page is None:
                rest = range(result.n_pages - 1, 0, -1)
                queue.extendleft(dataclasses.replace(job, page=page, n_pages=result.n_pages) for page in rest)
            yield result


def _run_here(
    queue: deque[PageJob], options: BatchOptions, factory: DigitizerFactory
) -> Generator[tuple[PageJob, PageResult], None, None]:
    runner = PageRunner(options, factory)
    while queue:
        job = queue.popleft()
        yield job, runner.run(job)
