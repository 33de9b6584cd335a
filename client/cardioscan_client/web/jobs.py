"""Pages in work and results held: bounded, in memory, forgotten after a while."""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from cardioscan.arrays import Floats
from cardioscan.errors import CardioscanError, ImageError, RefusalCode
from cardioscan.imaging.images import count_pages
from cardioscan.pipeline import Digitization, Digitizer
from cardioscan.record import EcgRecord, Outcome, Reason
from cardioscan_client.gateway.metrics import Metrics
from cardioscan_client.naming import page_name
from cardioscan_client.page_queue import PageQueue
from cardioscan_client.web.options import WebOptions
from cardioscan_client.web.problems import FILE_ERROR_STATUS, Problem, problem_of
from cardioscan_client.web.results import HeldPage
from cardioscan_client.web.uploads import ArrivingBytes, Upload, no_room

WAITING, WORKING, DONE, FAILED = "waiting", "working", "done", "failed"
"""States of a job, in order; ``failed`` is a fault of the server, not of the page."""

_LOG = logging.getLogger(__name__)
_POLL_S: Final = 0.05


@dataclass(eq=False)
class Job:
    """One page, from upload to result.

    Attributes:
        id: unguessable; whoever knows it may see the result.
        upload: the file, held for running again with other corners.
        page, n_pages: page of the file, from 0, and how many it has.
        corners: (4, 2) px, set by a person; None looks for the page.
        pictures: whether anybody will look at its pictures.
        state: one of the four.
        stages: what has begun so far, see ``cardioscan.pipeline.Progress``.
        held: the result of a job that is done.
        problem: why it failed.
        version: number of the last change of any job.
    """

    id: str
    upload: Upload
    page: int
    n_pages: int
    corners: Floats | None = None
    pictures: bool = True
    state: str = WAITING
    stages: list[str] = field(default_factory=list)
    held: HeldPage | None = None
    problem: Problem | None = None
    version: int = 0
    made: float = field(default_factory=time.monotonic)
    touched: float = field(default_factory=time.monotonic)
    began: float | None = None
    ended: float | None = None
    future: Future[None] | None = None

    @property
    def name(self) -> str:
        """Stem of the files of this page."""
        return page_name(self.upload.stem, self.page, self.n_pages)

    @property
    def finished(self) -> bool:
        """Whether it is done or has failed."""
        return self.state in (DONE, FAILED)

    def to_json_dict(self) -> dict[str, Any]:
        """What the page in the browser shows of it."""
        record = self.held.record if self.held else None
        seconds = None if self.began is None else (self.ended or time.monotonic()) - self.began
        return {
            "id": self.id,
            "name": self.name,
            "file": self.upload.name,
            "page": self.page + 1,
            "n_pages": self.n_pages,
            "state": self.state,
            "stages": list(self.stages),
            "seconds": None if seconds is None else round(seconds, 2),
            "outcome": record.outcome.value if record else None,
            "reasons": [vars(reason) for reason in record.reasons] if record else [],
            "problem": self.problem.to_json_dict() if self.problem else None,
        }


class Jobs:
    """All jobs of a server. Threads digitize; everything else may be called from the event loop.

    Args:
        digitizer: digitizes the pages.
        options: bounds.
        metrics: counts the pages.
    """

    def __init__(self, digitizer: Digitizer, options: WebOptions, metrics: Metrics) -> None:
        self.digitizer, self.options, self.metrics = digitizer, options, metrics
        self.arriving = ArrivingBytes(options.max_held_bytes)
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._version = 0
        self._queue = PageQueue(options.jobs, options.queue)
        metrics.watch(lambda: self._queue.running, lambda: self._queue.waiting)

    def close(self) -> None:
        """Drop what waits and wait for what is in work, for the time of grace at most; forget everything."""
        working = [job.future for job in self._all() if job.state == WORKING and job.future]
        self._queue.close()
        for _ in wait(working, self.options.grace_s).not_done:
            _LOG.warning("a page was still in work when the time of grace was over")
        with self._lock:
            self._jobs.clear()

    def _all(self) -> list[Job]:
        with self._lock:
            return list(self._jobs.values())

    def pages_of(self, upload: Upload) -> tuple[int, Problem | None]:
        """Number of pages of a file (blocks while it is looked at), and what is wrong with it, if anything is.

        Raises:
            Problem: more pages than are taken at once.
        """
        try:
            n_pages = count_pages(upload.data, self.options.limits)
        except ImageError as error:
            return 1, problem_of(error)
        if n_pages > self.options.max_pages:
            raise Problem(
                413,
                "too_many_pages",
                "The document has too many pages",
                f"It has {n_pages} pages; at most {self.options.max_pages} are taken at once. Send it in parts.",
            )
        return n_pages, None

    def submit(
        self,
        upload: Upload,
        pages: Iterable[int],
        n_pages: int,
        corners: Floats | None = None,
        pictures: bool = True,
    ) -> list[Job]:
        """Queue pages of one upload; see ``Job`` for the arguments.

        Raises:
            Problem: there is no room.
        """
        wanted = list(pages)
        self.sweep()
        unfinished_bytes = len(upload.data) + sum(_size(job) for job in self._all() if not job.finished)
        if not self._queue.has_room(len(wanted)) or unfinished_bytes > self.options.max_held_bytes:
            refusal = no_room()
            self.metrics.rejected.labels(refusal.code).inc()
            raise refusal
        jobs = [Job(secrets.token_urlsafe(16), upload, page, n_pages, corners, pictures) for page in wanted]
        with self._lock:
            self._jobs |= {job.id: job for job in jobs}
        self.metrics.page_bytes.observe(len(upload.data))
        for job in jobs:
            self._change(job, WAITING)
            job.future = self._queue.submit(partial(self._run, job))
        return jobs

    def refuse(self, upload: Upload, code: str, detail: str) -> Job:
        """A job that is over before it began: the file holds nothing to digitize."""
        job = Job(secrets.token_urlsafe(16), upload, 0, 1)
        with self._lock:
            self._jobs[job.id] = job
        self._finish(job, Digitization(EcgRecord.refused("page", (Reason(code, detail),))))
        return job

    def get(self, job_id: str) -> Job:
        """The job of that name. Raises ``Problem`` where there is none (any more)."""
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None:
            raise Problem(
                404,
                "no_such_result",
                "There is no such result",
                f"It was forgotten, as every result is {self.options.keep_s / 60:g} minutes after it was last asked "
                "for, or when there is no more room. Send the page again.",
            )
        job.touched = time.monotonic()
        return job

    def knows(self, job_id: str) -> bool:
        """Whether there is a job of that name."""
        with self._lock:
            return job_id in self._jobs

    def page_of(self, job_id: str) -> HeldPage:
        """The result of a job. Raises ``Problem`` where there is none (yet, or any more)."""
        job = self.get(job_id)
        if job.problem is not None:
            raise job.problem
        if job.held is None:
            raise Problem(409, "not_done", "The page is not done", "Ask again when its job is done.")
        return job.held

    def hold(self, job_id: str, held: HeldPage) -> Job:
        """Put another result in the place of a job's own."""
        job = self.get(job_id)
        job.held = held
        self._change(job, DONE)
        return job

    def forget(self, job_id: str) -> None:
        """Drop a job and its result, if there is one; a page in work is finished and thrown away."""
        with self._lock:
            job = self._jobs.pop(job_id, None)
        if job is not None and job.future is not None:
            job.future.cancel()

    def sweep(self) -> None:
        """Forget results that nobody asked for in time, and the oldest ones where there are too many."""
        now = time.monotonic()
        with self._lock:
            finished = sorted((job for job in self._jobs.values() if job.finished), key=lambda job: job.touched)
            size = sum(_size(job) for job in finished)
            count = len(finished)
            for job in finished:
                expired = now - job.touched > self.options.keep_s
                if not expired and count <= self.options.max_results and size <= self.options.max_held_bytes:
                    break
                del self._jobs[job.id]
                size, count = size - _size(job), count - 1

    async def watch(self, ids: Sequence[str], since: int, seconds: float) -> tuple[int, list[Job]]:
        """The jobs of those names that changed after version ``since``, waiting for a change at most ``seconds``.

        Returns:
            The version to ask for next, and the jobs. Names of jobs that are no more are left out.
        """
        end = time.monotonic() + seconds
        while True:
            version = self._version
            with self._lock:
                known = [self._jobs[name] for name in ids if name in self._jobs]
            changed = [job for job in known if job.version > since]
            if changed or len(known) < len(ids) or time.monotonic() >= end:
                return version, changed
            await asyncio.sleep(_POLL_S)

    async def result(self, job: Job) -> HeldPage:
        """Wait for a job. Raises ``Problem`` where it fails; a job still waiting is dropped with its caller."""
        assert job.future is not None
        try:
            await asyncio.wrap_future(job.future)
        except asyncio.CancelledError:
            job.future.cancel()
            raise
        if job.problem is not None:
            raise job.problem
        assert job.held is not None
        return job.held

    def _change(self, job: Job, state: str) -> None:
        with self._lock:
            self._version += 1
            job.state, job.version = state, self._version

    def _run(self, job: Job) -> None:
        """Digitize in a thread of the pool."""
        job.began = time.monotonic()
        self._change(job, WORKING)

        def progress(stage: str) -> None:
            if stage not in job.stages:
                job.stages.append(stage)
                self._change(job, WORKING)

        try:
            details = self.digitizer.digitize_with_details(
                job.upload.data, job.page, corners=job.corners, progress=progress
            )
            self._finish(job, details)
        except CardioscanError as error:
            self._fail(job, problem_of(error))
        except Exception as error:  # whatever it is, the thread must go on to the next page
            # Not its text: it may quote what was uploaded.
            _LOG.error("a page failed: %s", type(error).__name__)
            detail = f"An unexpected error ended this page ({type(error).__name__}). Please report it."
            self._fail(job, Problem(500, RefusalCode.INTERNAL_ERROR.value, "An unexpected error", detail))

    def _finish(self, job: Job, details: Digitization) -> None:
        job.held = HeldPage.of(details, job.name, job.upload.name, job.pictures)
        job.touched = job.ended = time.monotonic()
        record = job.held.record
        reason = record.reasons[0].code if record.outcome is Outcome.REFUSED else ""
        outcome = "invalid" if reason in FILE_ERROR_STATUS else record.outcome.value
        self.metrics.count(outcome, reason, job.ended - job.made)
        self.metrics.count_stages(record)
        self._change(job, DONE)

    def _fail(self, job: Job, problem: Problem) -> None:
        job.problem = problem
        job.touched = job.ended = time.monotonic()
        self.metrics.count("failed", problem.code, job.ended - job.made)
        self._change(job, FAILED)


def _size(job: Job) -> int:
    return len(job.upload.data) // job.n_pages + (job.held.size if job.held else 0)
