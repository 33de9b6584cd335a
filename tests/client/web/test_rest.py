"""REST, on a real server."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from typing import Any

import httpx
import numpy as np
import pytest

from cardioscan.errors import (
    CardioscanError,
    DeadlineExceededError,
    FormatError,
    ImageError,
    MissingDependencyError,
    ModelError,
    RefusalCode,
    ServerOverloadedError,
    ServerUnavailableError,
)
from cardioscan.evaluate.measure import compare
from cardioscan.formats import read_signals, writers
from cardioscan.page.leads import LEADS
from cardioscan_client.web.problems import problem_of


def blank_png(width: int, height: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "white").save(buffer, "PNG")
    return buffer.getvalue()


def pdf_of(pages: int) -> bytes:
    import pypdfium2

    document = pypdfium2.PdfDocument.new()
    for _ in range(pages):
        document.new_page(400, 300)
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def test_a_page_is_digitized_and_answered_with_its_samples(
    client: httpx.Client, photo: bytes, truth: dict[str, np.ndarray]
) -> None:
    answer = client.post("/v1/digitize", content=photo, headers={"x-file-name": "Herr%20M%C3%BCller.jpg"})
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
    page = answer.json()
    assert page["outcome"] == "digitized" and page["name"] == "Herr Müller" and page["edits"] == []
    signals = np.array([page["signals_mv"][lead] for lead in LEADS], np.float64)
    assert signals.shape == (12, 5000) and compare(signals, truth["signals"]).snr_db > 8
    assert all(value == 0 for value in np.array(page["confidence"]["I"])[np.isnan(signals[0])])


@pytest.mark.parametrize("name", [*writers(), "all"])
def test_every_format_is_answered(client: httpx.Client, photo: bytes, name: str) -> None:
    answer = client.post(
        "/v1/digitize", params={"format": name}, files={"file": ("folder/page 1.jpg", photo, "image/jpeg")}
    )
    assert answer.status_code == 200, answer.text
    if name == "json":
        assert len(answer.json()["signals_mv"]["II"]) == 5000
        return
    assert "page%201" in answer.headers["content-disposition"]
    if name in ("wfdb", "all"):
        names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
        assert any(entry.endswith(".hea") for entry in names) and any(entry.endswith(".dat") for entry in names)
        assert name == "wfdb" or {"page 1.csv", "page 1.json", "page 1.dcm"} <= set(names)


def test_a_csv_that_was_answered_reads_back(client: httpx.Client, photo: bytes, tmp_path: Any) -> None:
    content = client.post("/v1/digitize", params={"format": "csv"}, content=photo).content
    (tmp_path / "page.csv").write_bytes(content)
    assert np.isfinite(read_signals(tmp_path / "page.csv").signals[1]).sum() > 4900


def test_a_page_that_is_no_ecg_is_an_answer_not_an_error(client: httpx.Client, nameless: bytes) -> None:
    for name in ("json", "csv"):
        answer = client.post("/v1/digitize", params={"format": name}, content=nameless)
        page = answer.json()
        assert answer.status_code == 200 and page["outcome"] == "refused"
        assert page["reasons"][0]["code"] in ("no_labels_found", "alignment_failed") and page["reasons"][0]["detail"]


BAD: list[tuple[str, dict[str, Any], int, str]] = [
    ("empty", {"content": b""}, 400, "empty_file"),
    ("text", {"content": b"Dear colleague"}, 415, "not_an_image"),
    ("cut off", {"content": blank_png(500, 400)[:60]}, 422, "corrupt_image"),
    ("small", {"content": blank_png(100, 80)}, 422, "image_too_small"),
    ("many pixels", {"content": blank_png(9000, 6000)}, 413, "image_too_large"),
    ("many bytes", {"content": b"x" * (33 << 20)}, 413, "image_too_large"),
    ("many bytes in a form", {"files": {"file": ("a.png", b"x" * (33 << 20))}}, 413, "image_too_large"),
    ("no such page", {"content": pdf_of(2), "params": {"page": 3}}, 404, "page_not_found"),
    ("page 0", {"content": b"", "params": {"page": 0}}, 422, "invalid_request"),
    ("form without the file", {"files": {"picture": ("a.png", b"x")}}, 400, "no_file"),
    ("file as a field", {"data": {"file": "x"}, "files": {"other": b"x"}}, 400, "no_file"),
    ("two files", {"files": [("file", b"x"), ("file", b"y")]}, 400, "not_a_form"),
    ("no form", {"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "not_a_form"),
    (
        "broken form",
        {"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=b"}},
        400,
        "not_a_form",
    ),
]


@pytest.mark.parametrize(("request_", "status", "code"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_input_is_a_problem_document(
    client: httpx.Client, request_: dict[str, Any], status: int, code: str
) -> None:
    answer = client.post("/v1/digitize", **request_)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == status and problem["type"] == f"urn:cardioscan:problem:{code}"
    assert problem["title"] and problem["detail"].endswith(".")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/js/../../app.py", 404, "not_found"),
        ("GET", "/v1/digitize", 405, "method_not_allowed"),
        ("GET", "/v1/jobs/unknown/result", 404, "no_such_result"),
        ("POST", "/v1/digitize?format=docx", 404, "unknown_format"),
        ("PUT", "/v1/jobs/unknown/edits", 422, "invalid_request"),
    ],
)
def test_other_errors_are_problem_documents_too(
    client: httpx.Client, photo: bytes, method: str, path: str, status: int, code: str
) -> None:
    answer = client.request(method, path, content=photo if method == "POST" else None)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ServerUnavailableError("nobody answers"), 502, "server_unavailable"),
        (ServerOverloadedError("the queue is full"), 503, "server_overloaded"),
        (DeadlineExceededError("too late"), 504, "deadline_exceeded"),
        (MissingDependencyError("wfdb", "formats", "Writing WFDB"), 501, "not_installed"),
        (FormatError("EDF cannot hold 40 mV"), 422, "format_not_possible"),
        (ImageError(RefusalCode.CORRUPT_IMAGE, "bytes is damaged"), 422, "corrupt_image"),
        (ModelError("a network is missing"), 500, "not_possible"),
    ],
)
def test_errors_of_the_work_become_problems(error: CardioscanError, status: int, code: str) -> None:
    problem = problem_of(error)
    assert (problem.status, problem.code) == (status, code)
    assert problem.detail[0].isupper() and problem.detail.endswith(".") and "bytes" not in problem.detail
    assert ("retry-after" in problem.headers) is (status == 503)


def test_uploads_touch_no_disk(client: httpx.Client, photo: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object, **named: object) -> None:
        raise AssertionError("a temporary file was made")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", refuse)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", refuse)
    assert len(photo) > 100_000
    padded = photo + bytes(4 << 20)  # beyond what the form parser keeps in memory by itself
    answer = client.post("/v1/digitize", files={"file": ("page.jpg", padded)}, params={"page": 2})
    assert answer.json()["code"] == "page_not_found"


def test_the_interface_is_described(client: httpx.Client) -> None:
    described = client.get("/v1/openapi.json").json()
    post = described["paths"]["/v1/digitize"]["post"]
    assert {"application/octet-stream", "multipart/form-data"} <= set(post["requestBody"]["content"])
    assert "application/problem+json" in post["responses"]["415"]["content"]
    assert "signals_mv" in json.dumps(described["components"]["schemas"]["PageAnswer"])


def test_health_and_metrics(client: httpx.Client, photo: bytes) -> None:
    assert client.get("/health").json() == {"status": "ready"}
    assert client.get("/health/live").json() == {"status": "live"}
    client.post("/v1/digitize", content=photo)
    client.post("/v1/digitize", content=b"Dear colleague")
    text = client.get("/metrics").text
    assert 'cardioscan_pages_total{outcome="digitized",reason=""}' in text
    assert 'cardioscan_pages_total{outcome="invalid",reason="not_an_image"}' in text
    assert "cardioscan_page_duration_seconds_bucket" in text
