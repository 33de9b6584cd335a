"""Errors as problem documents (RFC 9457): every one carries a code for programs and a sentence that says what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from cardioscan.errors import (
    CardioscanError,
    DeadlineExceededError,
    EditError,
    FormatError,
    MissingDependencyError,
    PageRefusedError,
    PlacementError,
    RefusalCode,
    ServerOverloadedError,
    ServingError,
)
from cardioscan.record import EcgRecord, Outcome

MEDIA_TYPE: Final = "application/problem+json"

FILE_ERROR_STATUS: Final[Mapping[str, int]] = {
    RefusalCode.EMPTY_FILE.value: 400,
    RefusalCode.PAGE_NOT_FOUND.value: 404,
    RefusalCode.IMAGE_TOO_LARGE.value: 413,
    RefusalCode.NOT_AN_IMAGE.value: 415,
    RefusalCode.CORRUPT_IMAGE.value: 422,
    RefusalCode.ENCRYPTED_DOCUMENT.value: 422,
    RefusalCode.IMAGE_TOO_SMALL.value: 422,
}
"""Refusals that are about the file that was sent, not about what the page shows: errors of the call in REST."""

_RETRY_S: Final = "5"
_ERRORS: Final[tuple[tuple[type[CardioscanError], int, str, str], ...]] = (
    (EditError, 422, "edit_not_possible", "The correction cannot be made"),
    (PlacementError, 422, "corners_not_possible", "The corners span no page"),
    (FormatError, 422, "format_not_possible", "This format cannot hold the page"),
    (MissingDependencyError, 501, "not_installed", "A package is missing on the server"),
    (DeadlineExceededError, 504, RefusalCode.DEADLINE_EXCEEDED.value, "The page took too long"),
    (ServerOverloadedError, 503, RefusalCode.SERVER_OVERLOADED.value, "The server of the networks is overloaded"),
    (ServingError, 502, "server_unavailable", "The server of the networks cannot be reached"),
    (CardioscanError, 500, "not_possible", "The page cannot be digitized here"),
)


class ProblemDocument(BaseModel):
    """What an error looks like."""

    type: str = Field(examples=["urn:cardioscan:problem:not_an_image"])
    title: str
    status: int
    detail: str = Field(description="A sentence for a person: what is wrong and what can be done.")
    code: str = Field(description="Stable for programs.", examples=["not_an_image"])


class Problem(Exception):
    """An error with its answer.

    Args:
        status: of HTTP.
        code: stable for programs.
        title: what kind of error it is.
        detail: what to do about it.
        headers: of the answer.
    """

    def __init__(
        self, status: int, code: str, title: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.title, self.detail = status, code, title, detail
        self.headers = dict(headers or {})
        if status == 503:
            self.headers.setdefault("retry-after", _RETRY_S)

    def to_json_dict(self) -> dict[str, Any]:
        """The document."""
        return {
            "type": f"urn:cardioscan:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(self.to_json_dict(), self.status, self.headers, MEDIA_TYPE)


def for_people(detail: str) -> str:
    """A sentence about an upload, which the reader of images knows as ``bytes``, with a capital and a full stop."""
    detail = re.sub(r"^bytes\b", "The file", detail.strip())
    return detail[:1].upper() + detail[1:] + ("" if detail.endswith(".") else ".")


def problem_of(error: CardioscanError) -> Problem:
    """The problem that an error of CardioScan becomes."""
    if isinstance(error, PageRefusedError):
        status = FILE_ERROR_STATUS.get(error.code.value, 422)
        return Problem(status, error.code.value, "The file cannot be digitized", for_people(error.detail))
    for kind, status, code, title in _ERRORS:
        if isinstance(error, kind):
            return Problem(status, code, title, for_people(str(error)))
    raise AssertionError("the table ends with the base of all errors")


def refused_file(record: EcgRecord) -> Problem | None:
    """The problem of a record that was refused because of its file; None for every other record."""
    if record.outcome is not Outcome.REFUSED or record.reasons[0].code not in FILE_ERROR_STATUS:
        return None
    reason = record.reasons[0]
    return Problem(FILE_ERROR_STATUS[reason.code], reason.code, "The file cannot be digitized", reason.detail)
