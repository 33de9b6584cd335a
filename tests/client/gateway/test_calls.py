"""The calls over real gRPC: the same answer as embedded, and a status for all that can go wrong with a page."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from cardioscan.errors import (
    CardioscanError,
    DeadlineExceededError,
    ImageError,
    ModelContractError,
    RefusalCode,
    ServerOverloadedError,
    ServerUnavailableError,
    ServingError,
    StageError,
)
from cardioscan.imaging.images import ImageLimits
from cardioscan.pipeline import Digitizer, DigitizerOptions
from cardioscan.record import Outcome
from cardioscan_client.connection import TritonOptions
from cardioscan_client.gateway.pages import PageDigitizer
from cardioscan_client.gateway.status import detail
from cardioscan_client.gateway.v1 import digitizer_pb2 as pb
from cardioscan_client.gateway.v1 import digitizer_pb2_grpc
from cardioscan_client.serve import ServerOptions, TritonServer
from cardioscan_client.triton import TritonBackend

Start = Callable[..., Any]
Until = Callable[[Callable[[], bool]], None]


def status_of_call(address: str, request: pb.DigitizeRequest, timeout: float | None = None) -> Any:
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as caught:
        digitizer_pb2_grpc.DigitizerServiceStub(channel).Digitize(request, timeout=timeout)
    status = rpc_status.from_call(caught.value)
    assert status is not None, caught.value
    assert caught.value.code().value[0] == status.code
    return status


def pdf(n_pages: int) -> bytes:
    """A PDF of blank pages, 5 x 4 inches."""
    kids = " ".join(f"{number + 3} 0 R" for number in range(n_pages))
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] /Count {n_pages} >>"]
    objects += ["<< /Type /Page /Parent 2 0 R /MediaBox [0 0 360 288] >>"] * n_pages
    text, places = "%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(text))
        text += f"{number} 0 obj\n{body}\nendobj\n"
    entries = "".join(f"{place:010d} 00000 n \n" for place in places)
    size = len(objects) + 1
    tail = f"trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{len(text)}\n%%EOF\n"
    return (text + f"xref\n0 {size}\n0000000000 65535 f \n{entries}{tail}").encode()


# The same answer


def test_a_page_gives_the_same_signals_as_embedded(
    embedded: Any, server: TritonServer, start: Start, example: Path
) -> None:
    here = Digitizer(options=DigitizerOptions(threads=1)).digitize(example)
    work = PageDigitizer(TritonBackend(TritonOptions(server.grpc_address, request_timeout_s=600)), DigitizerOptions())
    over_triton = start(work, page_timeout_s=600)
    for running in (embedded, over_triton):
        with running.client(timeout_s=600) as client:
            found = client.digitize(example)
        assert found.outcome is Outcome.DIGITIZED
        np.testing.assert_allclose(found.signals, here.signals, atol=1e-3)
        np.testing.assert_allclose(found.confidence, here.confidence, atol=1e-3)
        assert found.heart_rate_bpm == pytest.approx(here.heart_rate_bpm, rel=1e-6)
        assert (found.models, found.calibration, found.reasons) == (here.models, here.calibration, here.reasons)
        assert (found.name, found.source, found.source_category) == ("page-photo", "page-photo", here.source_category)
        assert found.timings_s.keys() == here.timings_s.keys()
    for stage in here.timings_s:
        assert embedded.value("cardioscan_stage_duration_seconds_count", stage=stage) >= 1


def test_a_page_that_is_no_ecg_is_an_ok_answer(blank: Any, paper: bytes) -> None:
    with blank.client() as client:
        record = client.digitize(paper)
    assert (record.outcome, record.reasons[0].code) == (Outcome.REFUSED, "no_labels_found")
    assert blank.value("cardioscan_pages_total", outcome="refused", reason="no_labels_found") == 1


def test_the_number_of_pages_comes_along(blank: Any) -> None:
    with grpc.insecure_channel(blank.address) as channel:
        stub = digitizer_pb2_grpc.DigitizerServiceStub(channel)
        answers = [stub.Digitize(pb.DigitizeRequest(image=pdf(3), page_index=page)) for page in (0, 2)]
    assert [answer.page_count for answer in answers] == [3, 3]


# Statuses


@pytest.mark.parametrize(
    ("image", "page", "reason", "field"),
    [
        (b"", 0, "EMPTY_FILE", "image"),
        (b"not a picture at all", 0, "NOT_AN_IMAGE", "image"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 64, 0, "CORRUPT_IMAGE", "image"),
        ("paper", 1, "PAGE_NOT_FOUND", "page_index"),
        (pdf(2), 2, "PAGE_NOT_FOUND", "page_index"),
        ("small", 0, "IMAGE_TOO_SMALL", "image"),
        ("many px", 0, "IMAGE_TOO_LARGE", "image"),
        (b"\xff\xd8\xff" + b"\0" * 300_000, 0, "IMAGE_TOO_LARGE", "image"),
    ],
    ids=["empty", "no picture", "damaged", "no such page", "no such page of a PDF", "small", "many px", "many bytes"],
)
def test_a_file_that_cannot_be_read_is_the_callers_mistake(
    start: Start, blank_backend: Any, paper: bytes, image: bytes | str, page: int, reason: str, field: str
) -> None:
    import cv2

    pictures = {"paper": paper}
    for name, shape in (("small", (100, 500)), ("many px", (1000, 1100))):
        pictures[name] = cv2.imencode(".png", np.zeros(shape, np.uint8))[1].tobytes()
    limits = ImageLimits(max_bytes=200_000, max_pixels=1_000_000)
    running = start(PageDigitizer(blank_backend(), DigitizerOptions(limits=limits)), limits=limits)
    sent = pictures[image] if isinstance(image, str) else image
    status = status_of_call(running.address, pb.DigitizeRequest(image=sent, page_index=page))
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    info = detail(status, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == (reason, "cardioscan") and info.metadata["request"]
    (violation,) = detail(status, error_details_pb2.BadRequest).field_violations
    assert (violation.field, violation.description) == (field, status.message)
    assert running.value("cardioscan_pages_total", outcome="invalid", reason=reason.lower()) == 1
    with running.client() as client, pytest.raises(ImageError) as caught:
        client.digitize(sent, page)
    assert caught.value.code is RefusalCode[reason]


def test_more_bytes_than_a_message_may_have(start: Start, gate: Any) -> None:
    """gRPC itself turns these away, unread."""
    running = start(gate, limits=ImageLimits(max_bytes=1 << 20))
    with running.client() as client, pytest.raises(ImageError, match="larger than max") as caught:
        client.digitize(bytes(8 << 20))
    assert caught.value.code is RefusalCode.IMAGE_TOO_LARGE
    assert not gate.seen


FAILURES = [
    (ServerOverloadedError("its queue is full"), "RESOURCE_EXHAUSTED", "SERVER_OVERLOADED", ServerOverloadedError),
    (ServerUnavailableError("nobody answers"), "UNAVAILABLE", "SERVER_UNAVAILABLE", ServerUnavailableError),
    (DeadlineExceededError("too late"), "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", DeadlineExceededError),
    (ModelContractError("other weights"), "FAILED_PRECONDITION", "MODEL_CONTRACT", ModelContractError),
    (StageError(RefusalCode.INTERNAL_ERROR, "a fault"), "INTERNAL", "INTERNAL_ERROR", ServingError),
    (ServingError("something else"), "INTERNAL", "INTERNAL_ERROR", ServingError),
    (ValueError("secret of the picture"), "INTERNAL", "INTERNAL_ERROR", ServingError),
]


@pytest.mark.parametrize(("error", "code", "reason", "kind"), FAILURES, ids=[row[2] + row[1] for row in FAILURES])
def test_failures_have_their_status(
    start: Start, error: Exception, code: str, reason: str, kind: type[CardioscanError]
) -> None:
    def fail(image: bytes, page: int, call: object) -> Any:
        raise error

    running = start(fail)
    status = status_of_call(running.address, pb.DigitizeRequest(image=b"x"))
    assert status.code == grpc.StatusCode[code].value[0]
    assert detail(status, error_details_pb2.ErrorInfo).reason == reason
    told = detail(status, error_details_pb2.RetryInfo)
    assert (told is not None) == (code == "RESOURCE_EXHAUSTED")
    assert told is None or 0.5 <= told.retry_delay.ToMilliseconds() / 1000 <= 30
    if not isinstance(error, CardioscanError):
        assert "secret" not in status.message
    assert running.value("cardioscan_pages_total", outcome="failed", reason=reason.lower()) == 1
    with running.client(timeout_s=1.5) as client, pytest.raises(kind) as caught:
        client.digitize(b"x")
    assert type(caught.value) is kind


@pytest.mark.parametrize("whose", ["the caller's", "the gateway's"])
def test_a_deadline_ends_the_page(start: Start, gate: Any, until: Until, whose: str) -> None:
    """In the work too, which would go on for ever otherwise."""
    running = start(gate, **({} if whose == "the caller's" else {"page_timeout_s": 0.3}))
    with running.client(timeout_s=0.3 if whose == "the caller's" else None) as client:
        with pytest.raises(DeadlineExceededError):
            client.digitize(b"x")
    until(lambda: gate.ended == ["DeadlineExceededError"] or gate.ended == ["PageCancelledError"])
    until(lambda: running.value("cardioscan_pages_total", outcome="failed", reason="deadline_exceeded") == 1)
    until(lambda: running.value("cardioscan_pages_in_flight") == 0)


def test_the_deadline_reaches_every_stage(start: Start, blank_backend: Any, paper: bytes, until: Until) -> None:
    backend = blank_backend(delay_s=0.4)
    running = start(PageDigitizer(backend, DigitizerOptions()), page_timeout_s=0.6)
    status = status_of_call(running.address, pb.DigitizeRequest(image=paper))
    assert status.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    until(lambda: running.value("cardioscan_pages_in_flight") == 0)
    assert backend.calls <= 2, "no network is run after the deadline"


def test_a_caller_who_goes_away_stops_the_work(start: Start, gate: Any, until: Until) -> None:
    running = start(gate, jobs=1)
    with grpc.insecure_channel(running.address) as channel:
        stub = digitizer_pb2_grpc.DigitizerServiceStub(channel)
        calls = [stub.Digitize.future(pb.DigitizeRequest(image=b"%d" % number)) for number in range(2)]
        until(lambda: running.value("cardioscan_pages_waiting") == 1 and len(gate.seen) == 1)
        for call in calls:
            call.cancel()
        until(lambda: gate.ended == ["PageCancelledError"])
    until(lambda: running.value("cardioscan_pages_total", outcome="cancelled", reason="") == 2)
    assert len(gate.seen) == 1, "the page that waited was never begun"


def test_a_server_that_goes_away(
    start: Start, blank_repository: Callable[..., Path], any_ports: ServerOptions, paper: bytes
) -> None:
    with TritonServer(blank_repository(), any_ports) as triton:
        backend = TritonBackend(TritonOptions(triton.grpc_address, reconnect_s=0.5))
        running = start(PageDigitizer(backend, DigitizerOptions()))
        with running.client() as client:
            assert client.digitize(paper).reasons[0].code == "no_labels_found"
            triton.stop()
            with pytest.raises(ServerUnavailableError, match="UNAVAILABLE from 127.0.0.1"):
                client.digitize(paper)


def test_nobody_answers() -> None:
    from cardioscan_client.gateway.client import DigitizerClient

    with DigitizerClient("127.0.0.1:9", timeout_s=5) as client, pytest.raises(ServerUnavailableError):
        client.digitize(b"x")


# More than it can take


def test_what_exceeds_the_queue_is_turned_away(start: Start, gate: Any, until: Until) -> None:
    running = start(gate, jobs=1, queue=2)
    with grpc.insecure_channel(running.address) as channel:
        stub = digitizer_pb2_grpc.DigitizerServiceStub(channel)
        calls = [stub.Digitize.future(pb.DigitizeRequest(image=b"%d" % number)) for number in range(30)]
        until(lambda: sum(call.done() for call in calls) == 27)
        assert running.value("cardioscan_pages_in_flight") == 1 and running.value("cardioscan_pages_waiting") == 2
        for call in calls:
            if call.done():
                assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                status = rpc_status.from_call(call)
                assert detail(status, error_details_pb2.RetryInfo) is not None
                assert detail(status, error_details_pb2.ErrorInfo).reason == "QUEUE_FULL"
        gate.opened.set()
        assert sum(call.exception() is None for call in calls) == 3
    assert running.value("cardioscan_rejected_total", reason="queue_full") == 27
    assert running.value("cardioscan_pages_total", outcome="rejected", reason="queue_full") == 27


def test_the_client_comes_again_when_it_was_told_to(start: Start, gate: Any, until: Until) -> None:
    running = start(gate, jobs=1, queue=0)
    with running.client() as first, running.client() as second:
        holding = threading.Thread(target=first.digitize, args=(b"first",))
        holding.start()
        until(lambda: gate.seen == [b"first"])

        def make_room() -> None:
            until(lambda: running.value("cardioscan_rejected_total", reason="queue_full") >= 1)
            gate.opened.set()

        opening = threading.Thread(target=make_room)
        opening.start()
        assert second.digitize(b"second").outcome is Outcome.REFUSED
        holding.join()
        opening.join()
    assert gate.seen == [b"first", b"second"]
