"""The error families of CardioScan.

Two kinds of trouble are kept apart. A *refusal* is about one page ("this picture holds no ECG"): it carries a
:class:`RefusalCode`, ends that page with outcome ``refused`` and never stops a batch. Every other
:class:`CardioscanError` is about the call itself (a missing model, a wrong option) and stops it with a sentence that
says what to do.
"""

from __future__ import annotations

from enum import Enum


class RefusalCode(str, Enum):
    """Why a page was refused. The value is what stands in ``page.json`` under ``reasons``."""

    FILE_NOT_FOUND = "file_not_found"
    EMPTY_FILE = "empty_file"
    PAGE_NOT_FOUND = "page_not_found"
    NOT_AN_IMAGE = "not_an_image"
    CORRUPT_IMAGE = "corrupt_image"
    ENCRYPTED_DOCUMENT = "encrypted_document"
    IMAGE_TOO_SMALL = "image_too_small"
    IMAGE_TOO_LARGE = "image_too_large"
    NO_LABELS_FOUND = "no_labels_found"
    ALIGNMENT_FAILED = "alignment_failed"
    GRID_NOT_FOUND = "grid_not_found"
    TRACE_NOT_FOUND = "trace_not_found"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    SERVER_OVERLOADED = "server_overloaded"
    INTERNAL_ERROR = "internal_error"


class CardioscanError(Exception):
    """Base of every error that CardioScan raises on purpose."""


class PageRefusedError(CardioscanError):
    """One page cannot be read.

    Attributes:
        code: the reason, stable for programs.
        detail: a sentence for a person: what is wrong and what can be done.
        found: what was measured and speaks for the refusal, by name; it goes into the record's diagnostics.
    """

    def __init__(self, code: RefusalCode, detail: str, **found: float) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.found = found


class ImageError(PageRefusedError):
    """The input file could not be turned into a picture worth digitizing."""


class StageError(PageRefusedError):
    """A stage of the pipeline found nothing that it could work with."""


class ModelError(CardioscanError):
    """A network's file is missing, damaged, or does not match its ``NetworkSpec``."""


class EngineError(CardioscanError):
    """TensorRT or its GPU is not here, or it did not build a plan."""


class ServingError(CardioscanError):
    """Base of everything that goes wrong between a client and a server of models."""


class ServerStartError(ServingError):
    """The server that was to be started here did not start, or ended by itself."""


class ServerUnavailableError(ServingError):
    """No server answers, it is stopping, its models are not loaded, or it does not let this client in."""


class ServerOverloadedError(ServingError):
    """The server has more requests than it can take and rejected this one; it can be sent again later."""


class DeadlineExceededError(ServingError):
    """The time for a page or a request was over before the answer came."""


class PageCancelledError(ServingError):
    """Nobody waits for this page any more."""


class ModelContractError(ServingError):
    """The server's models are not those that this client was made for: names, versions, tensors or weights differ."""


class InvalidRecordError(CardioscanError, ValueError):
    """Signals, confidences or times that contradict each other; raised by ``EcgRecord``."""


class LayoutError(CardioscanError, ValueError):
    """A layout that is not in the catalogue, or that contradicts itself."""


class PlacementError(CardioscanError, ValueError):
    """Corners given by hand do not span a page."""


class EditError(CardioscanError, ValueError):
    """A correction by hand that cannot be made: an unknown lead, or times or voltages that are none."""


class FormatError(CardioscanError):
    """A file of signals cannot be read or written in the format asked for."""


class SignalSourceError(CardioscanError):
    """An archive or folder of ECG signals for rendering is missing or malformed."""


class MissingDependencyError(CardioscanError, ImportError):
    """An optional package is needed; the message names the extra, or the command, that installs it."""

    def __init__(self, package: str, extra: str, purpose: str, command: str = "") -> None:
        command = command or f"pip install 'cardioscan[{extra}]'"
        super().__init__(f"{purpose} needs the package '{package}', which is not installed. Install it with: {command}")
        self.package = package
        self.extra = extra
