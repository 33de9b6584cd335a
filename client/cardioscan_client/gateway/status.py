"""Errors as gRPC statuses with ``google.rpc`` details, and back again."""

from __future__ import annotations

import re
from typing import Any, Final

import grpc
from google.rpc import error_details_pb2, status_pb2

from cardioscan.errors import (
    CardioscanError,
    DeadlineExceededError,
    ImageError,
    ModelContractError,
    PageCancelledError,
    PageRefusedError,
    RefusalCode,
    ServerOverloadedError,
    ServerUnavailableError,
    ServingError,
)
from cardioscan_client.gateway.pages import FILE_ERRORS

DOMAIN: Final = "cardioscan"
"""The ``domain`` of every ``ErrorInfo`` from here."""

_CODE_OF_TYPE: Final = (
    (ServerOverloadedError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (DeadlineExceededError, grpc.StatusCode.DEADLINE_EXCEEDED),
    (ServerUnavailableError, grpc.StatusCode.UNAVAILABLE),
    (ModelContractError, grpc.StatusCode.FAILED_PRECONDITION),
    (PageCancelledError, grpc.StatusCode.CANCELLED),
)
_TYPE_OF_CODE: Final[dict[grpc.StatusCode, type[ServingError]]] = {
    **{code: kind for kind, code in _CODE_OF_TYPE},
    grpc.StatusCode.UNAUTHENTICATED: ServerUnavailableError,
    grpc.StatusCode.PERMISSION_DENIED: ServerUnavailableError,
}
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


def code_of(error: BaseException) -> grpc.StatusCode:
    """The status code that an error becomes."""
    if isinstance(error, PageRefusedError) and error.code in FILE_ERRORS:
        return grpc.StatusCode.INVALID_ARGUMENT
    return next((code for kind, code in _CODE_OF_TYPE if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


def reason_of(error: BaseException) -> str:
    """The reason of an error, in lower case as it stands in ``page.json`` and in the metrics."""
    if isinstance(error, PageRefusedError):
        return error.code.value
    if code_of(error) is grpc.StatusCode.INTERNAL:
        return RefusalCode.INTERNAL_ERROR.value
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__.removesuffix("Error")).lower()


def status_of(error: BaseException, request: str, retry_after_s: float) -> status_pb2.Status:
    """The status of a call or page that failed, with ``ErrorInfo`` and what else belongs to its code.

    Args:
        error: what happened. The message of one that is not a ``CardioscanError`` is kept back: it may hold anything.
        request: number of the page in the gateway's log.
        retry_after_s: when to come again, for ``RESOURCE_EXHAUSTED``.
    """
    code, reason = code_of(error), reason_of(error)
    typed = isinstance(error, CardioscanError)
    message = str(error) if typed else f"a fault of the gateway; its log says more under {request}"
    message = re.sub(r"^bytes ", "the file ", message)  # the name that the pipeline has for a picture without one
    status = status_pb2.Status(code=code.value[0], message=message)
    info = error_details_pb2.ErrorInfo(reason=reason.upper(), domain=DOMAIN, metadata={"request": request})
    status.details.add().Pack(info)
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        field = "page_index" if reason == RefusalCode.PAGE_NOT_FOUND.value else "image"
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=message)
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        pause = error_details_pb2.RetryInfo()
        pause.retry_delay.FromMilliseconds(round(retry_after_s * 1000))
        status.details.add().Pack(pause)
    return status


def error_of(status: status_pb2.Status, address: str) -> CardioscanError:
    """The typed error of a status, as a client of the gateway raises it.

    Args:
        status: not OK.
        address: of the gateway, for the message.
    """
    code, info = _CODES.get(status.code, grpc.StatusCode.UNKNOWN), detail(status, error_details_pb2.ErrorInfo)
    from_gateway = info is not None and info.domain == DOMAIN
    if code is grpc.StatusCode.INVALID_ARGUMENT and from_gateway and info.reason in RefusalCode.__members__:
        return ImageError(RefusalCode[info.reason], status.message)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and info is None and "larger than max" in status.message:
        # From gRPC itself, which turns such messages away before the gateway sees them.
        return ImageError(RefusalCode.IMAGE_TOO_LARGE, f"{address} does not take files of this size: {status.message}")
    request = f", request {info.metadata['request']}" if info is not None and "request" in info.metadata else ""
    return _TYPE_OF_CODE.get(code, ServingError)(f"{status.message} ({code.name} from {address}{request})")


def retry_delay_s(status: status_pb2.Status) -> float | None:
    """Seconds to wait before a call is sent again, where the server tells."""
    pause = detail(status, error_details_pb2.RetryInfo)
    return None if pause is None else float(pause.retry_delay.ToMilliseconds()) / 1000


def detail(status: status_pb2.Status, kind: Any) -> Any:
    """The first detail of one kind of message; None where there is none."""
    for packed in status.details:
        if packed.Is(kind.DESCRIPTOR):
            message = kind()
            packed.Unpack(message)
            return message
    return None
