"""What the page in the browser asks for: jobs, results, pictures, corrections."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import cv2
import httpx
import numpy as np
import pypdfium2
import pytest

from cardioscan.evaluate.measure import compare
from cardioscan.page.leads import LEADS
from cardioscan_client.web.pictures import CAPTIONS


def signals_of(result: dict[str, Any]) -> np.ndarray:
    signals = np.full((12, 5000), np.nan)
    for row, lead in enumerate(LEADS):
        part = result["leads"][lead]
        values = np.array(part["mv"], np.float64)
        signals[row, part["first"] : part["first"] + len(values)] = values
    return signals


@pytest.fixture(scope="module")
def page(url: str, photo: bytes, finished: Any) -> str:
    """Name of a job that is done."""
    with httpx.Client(base_url=url, timeout=300) as client:
        (job,) = client.post("/v1/jobs", content=photo, headers={"x-file-name": "page.jpg"}).json()["jobs"]
        assert job["state"] in ("waiting", "working") and job["outcome"] is None
        done = finished(client, job["id"])
        assert done["outcome"] == "digitized" and done["stages"][0] == "read" and done["stages"][-1] == "signal"
        return str(job["id"])


def test_a_result_has_all_that_the_page_draws(client: httpx.Client, page: str, truth: dict[str, np.ndarray]) -> None:
    result = client.get(f"/v1/jobs/{page}/result").json()
    assert compare(signals_of(result), truth["signals"]).snr_db > 8
    assert result["pictures"] == list(CAPTIONS)
    geometry, nodes = result["geometry"], truth["nodes"]
    ends = np.array([nodes[0, 0], nodes[0, -1], nodes[-1, -1], nodes[-1, 0]])
    assert np.linalg.norm(np.array(geometry["corners"]) - ends, axis=1).max() < 15
    assert len(result["page"]["segments"]) == 13 and result["record"]["name"] == "page"
    assert {"csv", "dicom", "json"} <= set(result["formats"])


@pytest.mark.parametrize("name", CAPTIONS)
def test_every_stage_has_a_picture(client: httpx.Client, page: str, name: str) -> None:
    answer = client.get(f"/v1/jobs/{page}/pictures/{name}")
    assert answer.headers["content-type"] == "image/jpeg" and len(answer.content) < 2_000_000
    image = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None and min(image.shape[:2]) > 600


def test_measures_are_told(client: httpx.Client, page: str) -> None:
    pytest.importorskip("neurokit2", reason="the package neurokit2 is not installed")
    measures = client.get(f"/v1/jobs/{page}/measures").json()
    assert 30 < measures["heart_rate_bpm"] < 250 and set(measures["st_mv"]) == set(LEADS)


def test_edits_change_the_result_and_every_file_and_are_told(client: httpx.Client, page: str) -> None:
    before = client.get(f"/v1/jobs/{page}/result").json()
    edits = [
        {"kind": "redraw", "lead": "V1", "points": [[5.5, 0.5], [5.6, 0.75]]},
        {"kind": "erase", "lead": "aVR", "start_s": 3.0, "stop_s": 4.0},
    ]
    try:
        edited = client.put(f"/v1/jobs/{page}/edits", json={"edits": edits}).json()
        assert edited["record"]["edits"] == edits
        signals = signals_of(edited)
        assert signals[6, 2750] == 0.5 and signals[6, 2800] == 0.75 and np.isnan(signals[3, 1500:2000]).all()
        archive = zipfile.ZipFile(io.BytesIO(client.get(f"/v1/jobs/{page}/files/all").content))
        assert {"page.overlay.jpg", "page.rectified.jpg"} <= set(archive.namelist())
        assert json.loads(archive.read("page.json"))["edits"] == edits
        row = archive.read("page.csv").decode().splitlines()[2751].split(",")
        assert row[0] == "5.500" and row[7] == "0.5000"
        trouble = client.put(f"/v1/jobs/{page}/edits", json={"edits": [{**edits[0], "lead": "V9"}]})
        assert trouble.status_code == 422 and trouble.json()["code"] == "edit_not_possible"
        assert client.get(f"/v1/jobs/{page}/result").json() == edited
    finally:
        restored = client.put(f"/v1/jobs/{page}/edits", json={"edits": []}).json()
    assert restored == before


def test_a_page_without_lead_names_is_refused_and_read_once_it_is_placed(
    client: httpx.Client, nameless: bytes, corners: list[list[float]], truth: dict[str, np.ndarray], finished: Any
) -> None:
    (job,) = client.post("/v1/jobs", content=nameless).json()["jobs"]
    refused = finished(client, job["id"])
    assert refused["state"] == "done" and refused["outcome"] == "refused" and refused["reasons"][0]["detail"]
    start = client.get(f"/v1/jobs/{job['id']}/result").json()
    assert start["formats"] == ["json"] and "photo" in start["pictures"] and len(start["geometry"]["corners"]) == 4
    again = client.post(f"/v1/jobs/{job['id']}/corners", json={"corners": corners}).json()
    assert finished(client, again["id"])["outcome"] == "digitized"
    result = client.get(f"/v1/jobs/{again['id']}/result").json()
    assert compare(signals_of(result), truth["signals"]).snr_db > 5
    assert result["record"]["edits"] == [{"kind": "corners", "corners": corners}]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"corners": [[0, 0], [1000, 0], [0, 800], [1000, 800]]}, "corners_not_possible"),
        ({"corners": [[0, 0], [1000, 0]]}, "corners_not_possible"),
        ({"corners": "all"}, "invalid_request"),
        ({}, "invalid_request"),
    ],
)
def test_corners_that_span_no_page_are_problems(client: httpx.Client, page: str, body: Any, code: str) -> None:
    answer = client.post(f"/v1/jobs/{page}/corners", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)


def tiny_pdf(pages: int) -> bytes:
    """Pages too small to be digitized, so that none of them costs time."""
    document = pypdfium2.PdfDocument.new()
    for _ in range(pages):
        document.new_page(60, 40)
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def test_each_page_of_a_document_is_a_job(client: httpx.Client, finished: Any) -> None:
    named = {"x-file-name": "scan.pdf"}
    jobs = client.post("/v1/jobs", content=tiny_pdf(3), headers=named).json()["jobs"]
    assert [(job["name"], job["page"], job["n_pages"]) for job in jobs] == [(f"scan-p{n}", n, 3) for n in (1, 2, 3)]
    for job in jobs:
        assert finished(client, job["id"])["reasons"][0]["code"] == "image_too_small"
    trouble = client.post("/v1/jobs", content=tiny_pdf(51), headers=named)
    assert (trouble.status_code, trouble.json()["code"]) == (413, "too_many_pages")


def test_a_bad_file_is_named(client: httpx.Client) -> None:
    bad = client.post("/v1/jobs", content=b"Dear colleague", headers={"x-file-name": "letter.png"}).json()["jobs"]
    assert [(job["name"], job["outcome"], job["reasons"][0]["code"]) for job in bad] == [
        ("letter", "refused", "not_an_image")
    ]


def test_what_is_not_there_is_a_problem(client: httpx.Client, page: str) -> None:
    for path, code in (("pictures/moon", "no_such_picture"), ("files/docx", "unknown_format")):
        answer = client.get(f"/v1/jobs/{page}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, code)
