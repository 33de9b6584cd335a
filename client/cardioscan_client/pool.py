"""Worker processes for a batch, and what to do when one of them dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Final, TypeAlias

import cv2

from cardioscan.errors import CardioscanError, RefusalCode
from cardioscan.record import EcgRecord, Reason
from cardioscan_client.naming import may_have_pages
from cardioscan_client.page_runner import BatchOptions, DigitizerFactory, PageJob, PageResult, PageRunner, write_page

Answer: TypeAlias = "PageResult | str"
"""What a worker sends back: a result, or the message of an error that ends the whole batch."""

MAX_SERVED_JOBS: Final = 8
"""Pages in work at once against a server unless more are asked for: its queues are bounded."""

_DOCUMENTS: Final = (".pdf", ".tif", ".tiff")
_runner: PageRunner | None = None  # one per worker process


def available_cpus() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_jobs(served: bool, files: Sequence[Path]) -> int:
    """How many pages to have in work at once.

    Embedded, one page takes all cores. Against a server, while one page waits for its answer another has the core, and
    requests of several pages fill the server's batches: one more than there are cores, so that none waits.
    """
    if not served:
        return 1
    documents = any(file.suffix.lower() in _DOCUMENTS or (not file.suffix and may_have_pages(file)) for file in files)
    return min(available_cpus() + 1, MAX_SERVED_JOBS, MAX_SERVED_JOBS if documents else max(1, len(files)))


def run_in_pool(
    queue: deque[PageJob], options: BatchOptions, jobs: int, factory: DigitizerFactory
) -> Generator[tuple[PageJob, PageResult], None, None]:
    """Run the jobs of ``queue``, which may grow meanwhile, in ``jobs`` processes; yield each with its result.

    A worker that dies (out of memory, a crash in native code) takes the whole pool with it and does not say over which
    page. So no more jobs are handed out than there are workers, and those in work at a death are run once more,
    each alone: only the one that kills its worker again is refused.

    Raises:
        CardioscanError: the call itself is wrong (a missing model or package).
    """
    suspects: deque[PageJob] = deque()
    while queue or suspects:
        alone = bool(suspects)
        source, workers = (suspects, 1) if alone else (queue, jobs)
        with _Pool(workers, options, factory) as pool:
            yield from pool.run(source)
        if alone and pool.lost:
            yield from ((job, _refused(job, options)) for job in pool.lost)
        else:
            suspects.extend(pool.lost)


class _Pool:
    """A pool that lives until its jobs are done or a worker dies. ``lost`` are the jobs in work at that death."""

    def __init__(self, workers: int, options: BatchOptions, factory: DigitizerFactory) -> None:
        self.workers = workers
        self.lost: list[PageJob] = []
        self._other_children = set(multiprocessing.active_children())
        self._executor = ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), _start_worker, (options, factory)
        )

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:  # interrupted or cancelled: the pages in work are not waited for
            for child in set(multiprocessing.active_children()) - self._other_children:
                child.terminate()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def run(self, queue: deque[PageJob]) -> Iterator[tuple[PageJob, PageResult]]:
        pending: dict[Future[Answer], PageJob] = {}
        while (queue or pending) and not self.lost:
            while queue and len(pending) < self.workers:
                try:
                    future = self._executor.submit(_work, queue[0])
                except BrokenProcessPool:
                    break
                pending[future] = queue.popleft()
            if not pending:
                return  # broken before it took a job; the caller makes another
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                yield from self._collect(pending.pop(future), future)
        for future, job in pending.items():
            yield from self._collect(job, future)

    def _collect(self, job: PageJob, future: Future[Answer]) -> Iterator[tuple[PageJob, PageResult]]:
        try:
            answer = future.result()
        except BrokenProcessPool:
            self.lost.append(job)
            return
        if isinstance(answer, str):
            raise CardioscanError(answer)
        yield job, answer


def _start_worker(options: BatchOptions, factory: DigitizerFactory) -> None:
    global _runner
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    cv2.setNumThreads(options.threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _runner = PageRunner(options, factory)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # a parent that was killed cannot end its workers, and a pool's worker never notices


def _work(job: PageJob) -> Answer:
    assert _runner is not None, "the pool starts its workers with _start_worker"
    try:
        return _runner.run(job)
    except CardioscanError as error:
        # As text: not every error survives pickling, and one that does not would break the pool.
        return str(error)


def _refused(job: PageJob, options: BatchOptions) -> PageResult:
    reason = Reason(
        RefusalCode.INTERNAL_ERROR,
        "the process that digitized this page died, for want of memory or in native code; the other pages are unharmed",
    )
    # If this was the first page, the number of pages of the file is not known: the others are not tried.
    return write_page(job, EcgRecord.refused(job.name, [reason]), options)
