"""Digitizing one page in a thread of the gateway, for as long as its caller waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from numpy.typing import NDArray

from cardioscan.backends.inference import InferenceBackend, Tensors
from cardioscan.errors import ImageError, PageCancelledError, RefusalCode, StageError
from cardioscan.imaging.images import count_pages
from cardioscan.pipeline import Digitizer, DigitizerOptions, import_stages
from cardioscan.record import EcgRecord, Outcome
from cardioscan_client.deadline import Deadline, page_deadline

FILE_ERRORS: Final = frozenset(
    {
        RefusalCode.EMPTY_FILE,
        RefusalCode.PAGE_NOT_FOUND,
        RefusalCode.NOT_AN_IMAGE,
        RefusalCode.CORRUPT_IMAGE,
        RefusalCode.ENCRYPTED_DOCUMENT,
        RefusalCode.IMAGE_TOO_SMALL,
        RefusalCode.IMAGE_TOO_LARGE,
    }
)
"""Reasons that are about the file that was sent and not about what the page shows: the caller's mistake."""


class PageCall:
    """How long a caller waits for a page: until its time is over, or until the caller goes away.

    Args:
        seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self.deadline = Deadline(seconds)
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Nobody waits any more; may be called from any thread."""
        self._cancelled.set()

    def check(self, what: str) -> None:
        """Do nothing while ``what`` may still be done.

        Raises:
            DeadlineExceededError: the time is over.
            PageCancelledError: nobody waits for the page any more.
        """
        self.deadline.check(what)
        if self._cancelled.is_set():
            raise PageCancelledError(f"{what} was not done, for nobody waits for this page any more")


@dataclass(frozen=True)
class PageAnswer:
    """A page that was looked at: its record, and the number of pages in its file."""

    record: EcgRecord
    n_pages: int


PageFunction = Callable[[bytes, int, PageCall], PageAnswer]
"""Digitizes page ``int``, from 0, of the file ``bytes``; runs in any thread, and in several at once."""


class PageDigitizer:
    """A ``PageFunction``: the whole pipeline over a backend that all threads share.

    The call is asked before every network, so work whose caller has gone, or whose time is over, ends there; a backend
    over gRPC gives each of its requests what is left of the page's time.

    Args:
        backend: runs the networks.
        options: of the pipeline.
    """

    def __init__(self, backend: InferenceBackend, options: DigitizerOptions) -> None:
        self._backend, self._options = backend, options
        import_stages()

    def __call__(self, image: bytes, page: int, call: PageCall) -> PageAnswer:
        """Digitize a page.

        Raises:
            ImageError: the file cannot be read.
            StageError: with ``internal_error``: a fault of ours.
            ServingError: one of its kinds, from the backend or the call.
        """
        call.check("the page")
        with page_deadline(call.deadline.remaining()):
            n_pages = count_pages(image, self._options.limits)
            record = Digitizer(_CancellableBackend(self._backend, call), self._options).digitize(image, page)
        if record.outcome is Outcome.REFUSED:
            code, detail = RefusalCode(record.reasons[0].code), record.reasons[0].detail
            if code in FILE_ERRORS:
                raise ImageError(code, detail)
            if code is RefusalCode.INTERNAL_ERROR:
                raise StageError(code, detail)
        return PageAnswer(record, n_pages)


class _CancellableBackend:
    """A backend that runs a network only as long as somebody waits for the page."""

    def __init__(self, backend: InferenceBackend, call: PageCall) -> None:
        self._backend, self._call = backend, call

    def infer(self, model: str, inputs: Tensors) -> dict[str, NDArray[Any]]:
        self._call.check(model)
        return self._backend.infer(model, inputs)

    def model_versions(self) -> dict[str, tuple[str, str]]:
        return self._backend.model_versions()
