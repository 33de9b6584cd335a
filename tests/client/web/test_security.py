"""Who is let in, what browsers are told, and what is kept for how long."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from cardioscan_client.web import app as web_app
from cardioscan_client.web.app import static_files
from cardioscan_client.web.options import WebOptions, is_local
from cardioscan_client.web.uploads import Upload

STATIC = Path(web_app.__file__).parent / "static"


@pytest.mark.parametrize("path", ["/", "/js/main.js", "/style.css", "/nothing", "/v1/about", "/health", "/metrics"])
def test_every_answer_carries_the_headers(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in headers and "server" not in headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "{url}"}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": "https://elsewhere.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"host": "elsewhere.example"}, 421),
        ({"host": "localhost:1"}, 200),
    ],
    ids=str,
)
def test_other_sites_are_turned_away(client: httpx.Client, url: str, headers: dict[str, str], status: int) -> None:
    answer = client.get("/v1/about", headers={name: value.format(url=url) for name, value in headers.items()})
    assert answer.status_code == status


def test_a_token_is_asked_for_where_there_is_one(serve: Any) -> None:
    with serve(token="geheim") as url, httpx.Client(base_url=url) as client:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic geheim"}):
            answer = client.get("/v1/about", headers=headers)
            assert answer.status_code == 401 and answer.json()["code"] == "token_needed"
            assert answer.headers["www-authenticate"].startswith("Bearer")
        assert client.get("/v1/about", headers={"authorization": "Bearer geheim"}).status_code == 200
        assert client.get("/").status_code == client.get("/health").status_code == 200


def test_names_of_uploads_and_addresses_of_results_are_not_logged(
    client: httpx.Client, photo: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        jobs = client.post("/v1/jobs", content=b"no picture", headers={"x-file-name": "Mustermann.jpg"}).json()["jobs"]
        client.get(f"/v1/jobs/{jobs[0]['id']}/result")
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert not any("Mustermann" in line or jobs[0]["id"] in line for line in ours)


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("192.0.2.1", False), ("::", False)],
)
def test_names_are_free_only_where_other_machines_are_let_in(host: str, local: bool) -> None:
    assert is_local(host) is local
    assert bool(WebOptions(host=host).hosts) is local
    assert WebOptions(host=host, allowed_hosts=("ECG.example",)).hosts == {"ecg.example"}


@pytest.mark.parametrize("path", sorted(path for path in STATIC.rglob("*.*")), ids=lambda path: path.name)
def test_the_page_asks_nobody_else_and_holds_nothing_inline(path: Path) -> None:
    text = path.read_text("utf-8")
    assert "https://" not in text and "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    if path.suffix == ".html":
        assert "style=" not in text and "onclick" not in text and text.count("<script") == text.count("src=")
    assert any(content == path.read_bytes() for content, _ in static_files().values())


@pytest.mark.parametrize(
    ("given", "name", "stem"),
    [
        ("page.jpg", "page.jpg", "page"),
        ("../../etc/passwd", "passwd", "passwd"),
        ("C:\\scans\\a b.tiff", "a b.tiff", "a b"),
        ("/", "page", "page"),
        ("..", "..", "page"),
        ("x" * 500 + ".png", "x" * 500 + ".png", "x" * 120),
    ],
)
def test_names_of_uploads_become_names_of_files(client: httpx.Client, given: str, name: str, stem: str) -> None:
    files = {"file": (given, b"no picture", "image/png")}
    (job,) = client.post("/v1/jobs", files=files).json()["jobs"]
    assert (job["file"], job["name"]) == (name, stem) == (name, Upload(b"", name).stem)


def test_pages_beyond_the_queue_are_turned_away_and_come_in_later(serve: Any, digitizer: Any, photo: bytes) -> None:
    digitizer.hold = threading.Event()
    try:
        with serve(queue=2) as url, httpx.Client(base_url=url, timeout=60) as client:
            answers = [client.post("/v1/jobs", content=photo) for _ in range(2)]
            while (
                client.get(f"/v1/jobs?ids={answers[0].json()['jobs'][0]['id']}").json()["jobs"][0]["state"] == "waiting"
            ):
                time.sleep(0.01)
            answers += [client.post("/v1/jobs", content=photo) for _ in range(2)]
            assert [answer.status_code for answer in answers] == [202, 202, 202, 503]
            assert (
                answers[-1].json()["code"] == "too_many_pages_waiting" and int(answers[-1].headers["retry-after"]) > 0
            )
            digitizer.hold.set()
    finally:
        digitizer.hold.set()
        digitizer.hold = None


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/digitize"])
def test_memory_for_what_arrives_and_waits_is_bounded(serve: Any, photo: bytes, path: str) -> None:
    for room in (100_000, len(photo) - 1):
        with serve(max_held_bytes=room) as url, httpx.Client(base_url=url, timeout=60) as client:
            for _ in range(2):  # what was turned away has left no trace
                answer = client.post(path, content=photo)
                assert (answer.status_code, answer.json()["code"]) == (503, "too_many_pages_waiting")
            assert client.post("/v1/jobs", content=b"no picture").status_code == 202


def test_results_are_forgotten(serve: Any, photo: bytes, finished: Any) -> None:
    with serve(max_results=2) as url, httpx.Client(base_url=url, timeout=60) as client:
        ids = []
        for _ in range(4):
            ids.append(client.post("/v1/jobs", content=b"no picture").json()["jobs"][0]["id"])
        (job,) = client.post("/v1/jobs", content=photo).json()["jobs"]
        finished(client, job["id"])
        statuses = [client.get(f"/v1/jobs/{name}/result").status_code for name in ids]
        assert statuses == [404, 404, 200, 200]
        assert client.delete(f"/v1/jobs/{ids[3]}").status_code == 204
        assert client.get(f"/v1/jobs/{ids[3]}/result").json()["code"] == "no_such_result"
        assert client.get("/v1/jobs", params={"ids": ",".join(ids), "wait": 20}).json()["gone"] == [*ids[:2], ids[3]]
    with serve(keep_s=0.0) as url, httpx.Client(base_url=url, timeout=60) as client:
        (job,) = client.post("/v1/jobs", content=b"no picture").json()["jobs"]
        time.sleep(0.01)
        client.post("/v1/jobs", content=photo)
        assert client.get(f"/v1/jobs/{job['id']}/result").status_code == 404
