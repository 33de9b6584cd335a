"""``DigitizerClient``: a gateway from Python, with the records and errors of ``cardioscan``."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np
from google.rpc import status_pb2
from grpc_status import rpc_status

from cardioscan.errors import CardioscanError, ImageError, RefusalCode, ServerUnavailableError
from cardioscan.record import EcgRecord
from cardioscan_client.deadline import Deadline
from cardioscan_client.faults import MAX_RETRIES
from cardioscan_client.gateway.convert import from_message
from cardioscan_client.gateway.status import error_of, retry_delay_s
from cardioscan_client.gateway.v1 import digitizer_pb2 as pb
from cardioscan_client.gateway.v1 import digitizer_pb2_grpc
from cardioscan_client.naming import safe_stem
from cardioscan_client.steps import Steps, run_steps, with_retries

PageSource = str | os.PathLike[str] | bytes
"""A path, or the bytes of a file."""

_MESSAGE_BYTES: Final = 64 << 20
_CHANNEL: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


@dataclass(frozen=True)
class StreamedPage:
    """What became of one page of a stream.

    Attributes:
        page_id: as the caller named the page.
        record: of a page that was looked at, digitized or refused; None where there is an error.
        error: why the page was not looked at, as ``DigitizerClient.digitize`` would have raised it.
        n_pages: pages in its file; 0 where it could not be opened.
    """

    page_id: str
    record: EcgRecord | None
    error: CardioscanError | None
    n_pages: int


class DigitizerClient:
    """A client of the service ``cardioscan.v1``, over one channel that threads may share.

    Args:
        address: ``HOST:PORT`` of the gateway.
        timeout_s: time for a page with its repetitions, unless a call says otherwise; None sets no limit.
        tls: encrypt.
        ca_file: PEM certificates to trust; None trusts those of gRPC. Giving one implies ``tls``.
        cert_file, key_file: this client's own PEM certificate and key, where the gateway asks for one.
        token: sent as ``authorization: Bearer TOKEN``.
        rng: source of the jitter of repetitions; None makes one.

    All methods raise ``ServerUnavailableError`` (nobody answers there, it is being stopped, or the token is wrong),
    ``ServerOverloadedError``, ``DeadlineExceededError``, ``ModelContractError`` and ``ServingError``.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float | None = 120.0,
        tls: bool = False,
        ca_file: str | Path | None = None,
        cert_file: str | Path | None = None,
        key_file: str | Path | None = None,
        token: str | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.address, self.timeout_s = address, timeout_s
        self._rng = rng or np.random.default_rng()
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        if tls or ca_file is not None:
            trust = grpc.ssl_channel_credentials(_pem(ca_file), _pem(key_file), _pem(cert_file))
            self._channel = grpc.secure_channel(address, trust, _CHANNEL)
        else:
            self._channel = grpc.insecure_channel(address, _CHANNEL)
        self._stub = digitizer_pb2_grpc.DigitizerServiceStub(self._channel)

    def __enter__(self) -> DigitizerClient:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        self._channel.close()

    def digitize(self, source: PageSource, page: int = 0, timeout_s: float | None = None) -> EcgRecord:
        """Digitize one page.

        A gateway that is full says when to come again; the page is then sent again, at most twice, in its time.

        Args:
            source: a path, or the bytes of a file.
            page: which page of a PDF or TIFF, from 0.
            timeout_s: time for all of it; None takes the client's.

        Returns:
            The record, digitized or refused.

        Raises:
            ImageError: the file cannot be read; ``code`` says why.
            ServingError: one of its kinds, see the class.
        """
        name, image = _read(source)
        request = pb.DigitizeRequest(image=image, page_index=page)
        seconds = self.timeout_s if timeout_s is None else timeout_s
        deadline = None if seconds is None else Deadline(seconds)

        def send() -> Steps[EcgRecord]:
            left = None if deadline is None else max(deadline.remaining(), 1e-3)
            answer = yield partial(self._stub.Digitize, request, timeout=left, metadata=self._metadata)
            return from_message(answer.record, name, name)

        def prepare(error: grpc.RpcError, retries: int) -> Steps[None]:
            status = _status(error)
            pause = retry_delay_s(status)
            late = deadline is not None and pause is not None and pause >= deadline.remaining()
            if pause is None or late or retries >= MAX_RETRIES:
                raise error_of(status, self.address) from error
            yield partial(time.sleep, pause * float(self._rng.uniform(1.0, 1.5)))

        return run_steps(with_retries(send, grpc.RpcError, prepare))

    def digitize_stream(
        self, pages: Iterable[tuple[str, PageSource] | tuple[str, PageSource, int]], timeout_s: float | None = None
    ) -> Iterator[StreamedPage]:
        """Digitize many pages over one stream; the results come as they are done.

        ``pages`` is read in another thread, only as fast as the gateway takes pages in. Leaving the loop early, or
        closing the iterator, cancels what is under way.

        Args:
            pages: (page_id, source), or (page_id, source, page), with names of the caller's choice.
            timeout_s: time for the whole stream; None sets no limit. Each page has the gateway's own besides.

        Raises:
            ServingError: the stream ended early; what was not answered until then has to be sent again.
        """
        unreadable: deque[StreamedPage] = deque()
        failed: list[BaseException] = []
        requests = _requests(pages, unreadable, failed)
        call = self._stub.DigitizeStream(requests, timeout=timeout_s, metadata=self._metadata)
        try:
            for response in call:
                yield self._page(response)
                while unreadable:
                    yield unreadable.popleft()
        except grpc.RpcError as error:
            if failed:  # in the caller's own iterator, of which gRPC only says that it has raised
                raise failed[0] from error
            raise error_of(_status(error), self.address) from error
        finally:
            call.cancel()
        while unreadable:
            yield unreadable.popleft()

    def _page(self, response: pb.DigitizeStreamResponse) -> StreamedPage:
        name = safe_stem(Path(response.page_id or "page"))
        if response.WhichOneof("result") == "error":
            error = error_of(response.error, self.address)
            return StreamedPage(response.page_id, None, error, response.page_count)
        return StreamedPage(response.page_id, from_message(response.record, name), None, response.page_count)


def _requests(
    pages: Iterable[Any], unreadable: deque[StreamedPage], failed: list[BaseException]
) -> Iterator[pb.DigitizeStreamRequest]:
    """The requests for pages, drawn in gRPC's thread; files that cannot be opened here go to ``unreadable``."""
    try:
        for page_id, source, *page in pages:
            try:
                _, image = _read(source)
            except ImageError as error:
                unreadable.append(StreamedPage(page_id, None, error, 0))
                continue
            yield pb.DigitizeStreamRequest(page_id=page_id, image=image, page_index=page[0] if page else 0)
    except Exception as error:
        failed.append(error)
        raise


def _read(source: PageSource) -> tuple[str, bytes]:
    if isinstance(source, bytes):
        return "page", source
    path = Path(source)
    try:
        return safe_stem(path), path.read_bytes()
    except OSError as error:
        raise ImageError(RefusalCode.FILE_NOT_FOUND, f"{path} cannot be opened: {error.strerror}") from error


def _status(error: Any) -> status_pb2.Status:
    """The status of a call that failed, with its details where the server sent some."""
    status = rpc_status.from_call(error)
    return status or status_pb2.Status(code=error.code().value[0], message=error.details() or "no answer")


def _pem(file: str | Path | None) -> bytes | None:
    if file is None:
        return None
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ServerUnavailableError(f"the certificate file {file} cannot be read: {error.strerror}") from error
