"""Digitizing one page of a batch: what it is given, what becomes of it, and the files that are written."""

from __future__ import annotations

import dataclasses
import logging
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from cardioscan.errors import (
    CardioscanError,
    DeadlineExceededError,
    FormatError,
    ImageError,
    PageRefusedError,
    RefusalCode,
    ServerOverloadedError,
)
from cardioscan.formats import write_record
from cardioscan.imaging.images import count_pages
from cardioscan.pipeline import Digitization, Digitizer, DigitizerOptions, import_stages
from cardioscan.plots import overlay_of
from cardioscan.record import EcgRecord, Outcome, Reason
from cardioscan_client.connection import TritonOptions
from cardioscan_client.naming import page_name, printable
from cardioscan_client.triton import ServedDigitizer

ALWAYS_WRITTEN: Final = ("csv", "json")
MAX_OVERLAY_SIDE: Final = 2400
"""Longest side of ``name.overlay.png``, px: a larger page is scaled down."""

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
        profile: one of ``cardioscan.options.PROFILES``.
        pipeline: fields of ``DigitizerOptions`` that differ from the profile's.
        threads: CPU threads per process.
        server: the server that runs the networks; None runs them in each process.
    """

    directory: Path
    formats: tuple[str, ...] = ()
    overlay: bool = False
    page: int | None = None
    models: Path | None = None
    profile: str = "balanced"
    pipeline: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 1
    server: TritonOptions | None = None


@dataclass(frozen=True)
class PageJob:
    """One page to digitize.

    Attributes:
        source: its file.
        stem: stem of the files written for that file, different from every other one of the batch.
        page: the page, from 0.
        n_pages: number of pages in the file; None where it is not known yet.
    """

    source: Path
    stem: str
    page: int = 0
    n_pages: int | None = None

    @property
    def name(self) -> str:
        """Stem of the files written for this page."""
        return page_name(self.stem, self.page, self.n_pages or 1)


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
        not_written: a sentence for each further format that cannot hold this page.
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
    not_written: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the page was digitized and everything asked for was written."""
        return self.outcome is Outcome.DIGITIZED and not self.not_written

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
            "not_written": list(self.not_written),
        }


def make_digitizer(options: BatchOptions) -> Digitizer:
    """The digitizer of a batch; without a server, it begins to load the networks."""
    given = {"models": options.models, "threads": options.threads, **options.pipeline}
    pipeline = DigitizerOptions.of_profile(options.profile, **given)
    if options.server is not None:
        import_stages()  # not in the time of the first page
        return ServedDigitizer(options.server, pipeline)
    digitizer = Digitizer(options=pipeline)
    digitizer.open_ahead()
    import_stages(late=False)  # here, for where that fails it fails for every page
    return digitizer


DigitizerFactory = Callable[[BatchOptions], Digitizer]


class PageRunner:
    """Digitizes pages in this process, all with one digitizer."""

    def __init__(self, options: BatchOptions, factory: DigitizerFactory = make_digitizer) -> None:
        self.options = options
        self._factory = factory
        self._digitizer: Digitizer | None = None

    def run(self, job: PageJob) -> PageResult:
        """Digitize one page and write its files.

        Raises:
            CardioscanError: the call itself is wrong (a missing model, package or server); no other page would fare
                better.
        """
        details: Digitization | None = None
        try:
            if job.n_pages is None:
                job = dataclasses.replace(job, n_pages=count_pages(job.source))
            details = self._digitize(job)
            record = details.record
        except PageRefusedError as error:
            record = EcgRecord.refused(job.name, [Reason(error.code, printable(error.detail))])
        except (DeadlineExceededError, ServerOverloadedError) as error:  # the server still serves: so may the next page
            late = isinstance(error, DeadlineExceededError)
            code = RefusalCode.DEADLINE_EXCEEDED if late else RefusalCode.SERVER_OVERLOADED
            record = EcgRecord.refused(job.name, [Reason(code, printable(str(error)))])
        except CardioscanError:
            raise
        except Exception as error:  # whatever it is, it ends this page alone
            _LOG.debug("%s, page %d", job.source, job.page + 1, exc_info=True)
            record = _failed(job, error)
        return write_page(job, record, self.options, details)

    def _digitize(self, job: PageJob) -> Digitization:
        n_pages = job.n_pages or 1
        if job.page >= n_pages:
            raise ImageError(
                RefusalCode.PAGE_NOT_FOUND,
                f"{printable(job.source.name)} has no page {job.page + 1}; its last page is {n_pages}",
            )
        if self._digitizer is None:
            self._digitizer = self._start()
        return self._digitizer.digitize_with_details(job.source, job.page)

    def _start(self) -> Digitizer:
        try:
            return self._factory(self.options)
        except CardioscanError:
            raise
        except Exception as error:  # a broken installation fails every page alike
            raise CardioscanError(f"the digitizer cannot be started: {type(error).__name__}: {error}") from error


def write_page(
    job: PageJob, record: EcgRecord, options: BatchOptions, details: Digitization | None = None
) -> PageResult:
    """Write the files of one page under its own name and sum it up; a page that cannot be written is refused.

    Raises:
        CardioscanError: a format needs a package that is not installed.
    """
    record = dataclasses.replace(record, name=job.name, source=printable(job.source.name))
    files: list[Path] = []
    not_written: list[str] = []
    try:
        files += write_record(record, options.directory, ALWAYS_WRITTEN)
        for name in options.formats if record.outcome is Outcome.DIGITIZED else ():
            try:
                files += write_record(record, options.directory, (name,))
            except FormatError as error:  # a value that this format cannot hold
                not_written.append(str(error))
        if options.overlay and details is not None and details.image is not None:
            files.append(_write_overlay(details, options.directory / f"{job.name}.overlay.png"))
    except OSError as error:  # a full disk, a folder that has gone
        reason = Reason(RefusalCode.INTERNAL_ERROR, printable(f"its files cannot be written: {error}"))
        record = EcgRecord.refused(job.name, [reason])
    finite = np.isfinite(record.signals)
    return PageResult(
        source=printable(job.source),
        page=job.page,
        n_pages=job.n_pages or 1,
        name=job.name,
        outcome=record.outcome,
        reasons=record.reasons,
        mean_confidence=float(record.confidence[finite].mean()) if finite.any() else 0.0,
        heart_rate_bpm=record.heart_rate_bpm,
        files=tuple(files),
        not_written=tuple(not_written),
    )


def _failed(job: PageJob, error: Exception) -> EcgRecord:
    detail = f"an unexpected error ended this page: {type(error).__name__}: {error}"
    trace = "".join(traceback.format_exception(error))
    reason = Reason(RefusalCode.INTERNAL_ERROR, printable(detail))
    return EcgRecord.refused(job.name, [reason], diagnostics={"traceback": printable(trace)})


def _write_overlay(details: Digitization, path: Path) -> Path:
    overlay = overlay_of(details)
    scale = MAX_OVERLAY_SIDE / max(overlay.shape[:2])
    if scale < 1:
        size = (max(1, round(overlay.shape[1] * scale)), max(1, round(overlay.shape[0] * scale)))
        overlay = cv2.resize(overlay, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    # Not cv2.imwrite, which fails silently on some paths.
    path.write_bytes(cv2.imencode(".png", cv2.cvtColor(overlay, cv2.COLOR_RGB2BGR))[1].tobytes())
    return path
