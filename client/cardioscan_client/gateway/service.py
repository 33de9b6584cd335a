"""``DigitizerService``: the calls of ``cardioscan.v1``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from typing import Any

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status

from cardioscan.errors import CardioscanError, ImageError, RefusalCode, ServerOverloadedError
from cardioscan_client.gateway.convert import to_message
from cardioscan_client.gateway.metrics import Metrics
from cardioscan_client.gateway.options import GatewayOptions
from cardioscan_client.gateway.pages import PageAnswer, PageCall
from cardioscan_client.gateway.queue import GatewayQueue, QueueFullError, StoppingError
from cardioscan_client.gateway.status import code_of, reason_of, status_of
from cardioscan_client.gateway.streams import answer_stream
from cardioscan_client.gateway.v1 import digitizer_pb2 as pb
from cardioscan_client.gateway.v1 import digitizer_pb2_grpc

_LOG = logging.getLogger(__name__)


class StreamsFullError(ServerOverloadedError):
    """So many streams are open that the gateway takes no further one."""


class DigitizerService(digitizer_pb2_grpc.DigitizerServiceServicer):
    """The two calls, with their limits, statuses, counters and log.

    Args:
        queue: does the work.
        options: the limits.
        metrics: counts.
    """

    def __init__(self, queue: GatewayQueue, options: GatewayOptions, metrics: Metrics) -> None:
        self._queue, self._options, self._metrics = queue, options, metrics
        self._streams = 0
        self._stop = asyncio.Event()

    @property
    def idle(self) -> bool:
        """Whether no stream is open and no page is here."""
        return self._streams == 0 and self._queue.idle

    def stop(self) -> None:
        """Take nothing new; streams end once what was read of them is answered."""
        self._stop.set()

    async def Digitize(self, request: pb.DigitizeRequest, context: Any) -> pb.DigitizeResponse:
        """Digitize one page; see the proto for what it answers."""
        number = uuid.uuid4().hex[:12]
        left = context.time_remaining()
        try:
            answer = await self._page("unary", number, request.image, request.page_index, left)
        except Exception as error:  # whatever it is, it becomes a status
            await self._abort(context, error, number)
            raise  # abort raises; this tells the type checker
        return pb.DigitizeResponse(record=to_message(answer.record), page_count=answer.n_pages)

    async def DigitizeStream(self, requests: Any, context: Any) -> None:
        """Digitize many pages; see the proto for what it answers."""
        number = uuid.uuid4().hex[:12]
        refusal = self._stream_refusal()
        if refusal is not None:
            self._metrics.rejected.labels(reason_of(refusal)).inc()
            await self._abort(context, refusal, number)
        complete = False

        async def read() -> pb.DigitizeStreamRequest | None:
            nonlocal complete
            message = await context.read()
            complete = message is grpc.aio.EOF
            return None if complete else message

        async def answer(request: pb.DigitizeStreamRequest) -> pb.DigitizeStreamResponse:
            return await self._stream_page(request, context.time_remaining())

        responses = answer_stream(read, answer, self._options.pages_per_stream, self._stop)
        self._streams += 1
        self._metrics.streams.inc()
        try:
            async with contextlib.aclosing(responses):
                async for response in responses:
                    await context.write(response)
        finally:
            self._streams -= 1
            self._metrics.streams.dec()
        if not complete:
            await self._abort(context, StoppingError(), number)

    def _stream_refusal(self) -> CardioscanError | None:
        if self._stop.is_set():
            return StoppingError()
        if self._streams >= self._options.streams:
            return StreamsFullError(f"{self._streams} streams are open, as many as this gateway serves at once")
        return None

    async def _stream_page(self, request: pb.DigitizeStreamRequest, left: float | None) -> pb.DigitizeStreamResponse:
        response = pb.DigitizeStreamResponse(page_id=request.page_id)
        number = uuid.uuid4().hex[:12]
        try:
            answer = await self._page("stream", number, request.image, request.page_index, left)
        except Exception as error:  # whatever it is, it ends this page alone
            response.error.CopyFrom(self._status(error, number))
        else:
            response.page_count = answer.n_pages
            response.record.CopyFrom(to_message(answer.record))
        return response

    async def _page(self, kind: str, number: str, image: bytes, page: int, left: float | None) -> PageAnswer:
        """Digitize a page, count it and write its line into the log: never a name, never anything of the picture."""
        began = time.monotonic()
        limit = self._options.page_timeout_s
        call = PageCall(limit if left is None else min(left, limit))
        outcome, reason, admitted = "cancelled", "", False
        self._metrics.page_bytes.observe(len(image))
        try:
            self._admit(kind, image)
            admitted = True
            answer = await self._queue.digitize(image, page, call, even_if_full=kind == "stream")
            record = answer.record
            outcome, reason = record.outcome.value, record.reasons[0].code if record.reasons else ""
            self._metrics.count_stages(record)
            return answer
        except asyncio.CancelledError:
            if call.deadline.remaining() <= 0:  # the caller's clock was a little faster than ours
                outcome, reason = "failed", RefusalCode.DEADLINE_EXCEEDED.value
            raise
        except Exception as error:
            outcome, reason = _outcome_of(error, admitted), reason_of(error)
            if not isinstance(error, CardioscanError):
                _LOG.exception("page failed", extra={"fields": {"request": number}})
            if outcome == "rejected":
                self._metrics.rejected.labels(reason).inc()
            raise
        finally:
            seconds = time.monotonic() - began
            self._metrics.count(outcome, reason, seconds)
            fields = {
                "request": number,
                "call": kind,
                "bytes": len(image),
                "outcome": outcome,
                "reason": reason,
                "seconds": round(seconds, 3),
            }
            _LOG.info("page", extra={"fields": fields})

    def _admit(self, kind: str, image: bytes) -> None:
        if self._stop.is_set() and kind == "unary":
            raise StoppingError()
        limit = self._options.limits.max_bytes
        if len(image) > limit:
            raise ImageError(
                RefusalCode.IMAGE_TOO_LARGE, f"the file has {len(image)} bytes; this gateway reads {limit} at most"
            )

    def _status(self, error: BaseException, number: str) -> status_pb2.Status:
        return status_of(error, number, self._queue.retry_after_s)

    async def _abort(self, context: Any, error: BaseException, number: str) -> None:
        status = rpc_status.to_status(self._status(error, number))
        await context.abort(status.code, status.details, status.trailing_metadata)


def _outcome_of(error: BaseException, admitted: bool) -> str:
    """The outcome, for the counters, of a page that ended in an error."""
    if isinstance(error, QueueFullError) or (isinstance(error, StoppingError) and not admitted):
        return "rejected"
    return "invalid" if code_of(error) is grpc.StatusCode.INVALID_ARGUMENT else "failed"
