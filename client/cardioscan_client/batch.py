"""Digitizing many pages: one after another or in worker processes; one bad page never stops the others."""

from __future__ import annotations

import dataclasses
import logging
import os
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cardioscan.errors import CardioscanError, ImageError, PageRefusedError, RefusalCode
from cardioscan.images import count_pages, load_image
from cardioscan.record import EcgRecord, Outcome, Reason
from cardioscan_client.naming import page_name, printable, unique_stems
from cardioscan_client.overlay import write_overlay

if TYPE_CHECKING:
    from cardioscan.pipeline import Digitization, Digitizer

ALWAYS_WRITTEN: Final = ("csv", "json")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchOptions:
    """What every page of a batch shares. Travels to the worker processes, hence plain values only.

    Attributes:
        directory: existing folder that the files are written to.
        formats: names of further formats beside CSV and JSON.
        overlay: whether to write ``name.overlay.png``.
        page: page of each file to digitize, from 0; None for all pages.
        models: folder of the model repository; None for the usual places.
        pipeline: fields of ``DigitizerOptions`` that differ from its defaults.
        threads: CPU threads per process.
    """

    directory: Path
    formats: tuple[str, ...] = ()
    overlay: bool = False
    page: int | None = None
    models: Path | None = None
    pipeline: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 1


@dataclass(frozen=True)
class PageJob:
    """One page to digitize: its file, its page from 0, and the stem of its file's results."""

    source: Path
    stem: str
    page: int


@dataclass(frozen=True)
class PageResult:
    """What became of one page.

    Attributes:
        source: path of the input.
        page, n_pages: page from 0, and the number of pages in the file (1 where the file cannot be read).
        name: stem of the files written.
        outcome: digitized or refused.
        reasons: why it was refused; remarks on a digitized page.
        mean_confidence: mean over all samples read, 0 where there are none.
        heart_rate_bpm: None where it was not measured.
        files: the files written.
    """

    source: str
    page: int
    n_pages: int
    name: str
    outcome: Outcome
    reasons: tuple[Reason, ...] = ()
    mean_confidence: float = 0.0
    heart_rate_bpm: float | None = None
    files: tuple[Path, ...] = ()

    def to_json_dict(self) -> dict[str, Any]:
        """Plain JSON values; the page counts from 1 here, as on the command line."""
        return {
            "source": self.source,
            "page": self.page + 1,
            "pages": self.n_pages,
            "name": self.name,
            "outcome": self.outcome.value,
            "reasons": [dataclasses.asdict(reason) for reason in self.reasons],
            "mean_confidence": round(self.mean_confidence, 4),
            "heart_rate_bpm": self.heart_rate_bpm,
            "files": [printable(path) for path in self.files],
        }


def make_digitizer(options: BatchOptions) -> Digitizer:
    """The digitizer of a batch, in-process. Raises ``ModelError`` where a network is missing or damaged."""
    from cardioscan.pipeline import Digitizer, DigitizerOptions

    if options.models is not None:
        os.environ["CARDIOSCAN_MODELS"] = str(options.models)
    return Digitizer(options=DigitizerOptions(threads=options.threads, **options.pipeline))


DigitizerFactory = Callable[[BatchOptions], "Digitizer"]


class PageRunner:
    """Digitizes pages in this process; the networks are loaded at the first page that can be decoded."""

    def __init__(self, options: BatchOptions, factory: DigitizerFactory = make_digitizer) -> None:
        self.options = options
        self._factory = factory
        self._digitizer: Digitizer | None = None

    def run(self, job: PageJob) -> PageResult:
        """Digitize one page and write its files.

        Raises:
            CardioscanError: the call itself is wrong (a missing model or package); no other page would fare better.
        """
        n_pages = 1
        details: Digitization | None = None
        try:
            n_pages = count_pages(job.source)
            details = self._digitize(job, n_pages)
            record = details.record
        except PageRefusedError as error:
            record = EcgRecord.refused(job.stem, [Reason.from_error(error)])
        except CardioscanError:
            raise
        except Exception as error:  # whatever it is, it is the trouble of this page alone
            record = _failed(job, error)
        try:
            return write_page(job, n_pages, record, self.options, details)
        except OSError as error:
            _LOG.exception("%s cannot be written", job.source)
            reason = Reason(RefusalCode.INTERNAL_ERROR, f"its files cannot be written: {error}")
            name = page_name(job.stem, job.page, n_pages)
            return PageResult(printable(job.source), job.page, n_pages, name, Outcome.REFUSED, (reason,))

    def _digitize(self, job: PageJob, n_pages: int) -> Digitization:
        if job.page >= n_pages:
            raise ImageError(
                RefusalCode.PAGE_NOT_FOUND,
                f"{printable(job.source.name)} has no page {job.page + 1}; its last page is {n_pages}",
            )
        if self._digitizer is None:
            # A batch in which no picture can be decoded must say so, be there networks or not.
            load_image(job.source, job.page)
            self._digitizer = self._factory(self.options)
        return self._digitizer.digitize_with_details(job.source, job.page)


def write_page(
    job: PageJob, n_pages: int, record: EcgRecord, options: BatchOptions, details: Digitization | None = None
) -> PageResult:
    """Write the files of one page under its own name and sum it up.

    Raises:
        CardioscanError: a format needs a package that is not installed.
        OSError: a file cannot be written.
    """
    name = page_name(job.stem, job.page, n_pages)
    record = dataclasses.replace(record, name=name, source=printable(job.source.name))
    files = record.write(options.directory, (*ALWAYS_WRITTEN, *options.formats))
    if options.overlay and details is not None:
        overlay = write_overlay(details, options.directory / f"{name}.overlay.png")
        files = files if overlay is None else [*files, overlay]
    finite = np.isfinite(record.signals)
    return PageResult(
        source=printable(job.source),
        page=job.page,
        n_pages=n_pages,
        name=name,
        outcome=record.outcome,
        reasons=record.reasons,
        mean_confidence=float(record.confidence[finite].mean()) if finite.any() else 0.0,
        heart_rate_bpm=record.heart_rate_bpm,
        files=tuple(files),
    )


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

    def follow_up(job: PageJob, result: PageResult) -> None:
        # Only the first page of a file tells how many there are; the others follow it at once.
        if options.page is None and job.page == 0:
            queue.extendleft(dataclasses.replace(job, page=page) for page in range(result.n_pages - 1, 0, -1))

    if jobs <= 1:
        runner = PageRunner(options, factory)
        outcomes = ((job, runner.run(job)) for job in iter(lambda: queue.popleft() if queue else None, None))
    else:
        from cardioscan_client.pool import run_in_pool

        outcomes = run_in_pool(queue, options, jobs, factory)
    for job, result in outcomes:
        follow_up(job, result)
        yield result


def _failed(job: PageJob, error: Exception) -> EcgRecord:
    _LOG.debug("%s, page %d", job.source, job.page + 1, exc_info=error)
    trace = "".join(traceback.format_exception(error))
    detail = f"an unexpected error ended this page: {type(error).__name__}: {error}"
    reason = Reason(RefusalCode.INTERNAL_ERROR, printable(detail))
    return EcgRecord.refused(job.stem, [reason], diagnostics={"traceback": printable(trace)})
