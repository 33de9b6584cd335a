"""REST for programs: ``POST /v1/digitize``."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from cardioscan.errors import RefusalCode
from cardioscan.page.leads import LEADS
from cardioscan.record import EcgRecord, Outcome
from cardioscan_client.web.jobs import Jobs
from cardioscan_client.web.problems import MEDIA_TYPE, ProblemDocument, refused_file
from cardioscan_client.web.results import File, known_format, record_file
from cardioscan_client.web.uploads import NAME_HEADER, read_upload

PICTURE: Final = {"schema": {"type": "string", "format": "binary"}}
UPLOAD_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": (
            "A picture (PNG, JPEG, TIFF, BMP, WebP, HEIC) or a PDF: the body itself, its name percent-encoded in "
            f"'{NAME_HEADER}', or the part 'file' of a form."
        ),
        "content": {
            "application/octet-stream": PICTURE,
            "image/*": PICTURE,
            "application/pdf": PICTURE,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
        },
    }
}
"""How uploads are described in OpenAPI."""


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How these errors are described in OpenAPI."""
    described = {"model": ProblemDocument, "content": {MEDIA_TYPE: {}}}
    return {status: described for status in statuses}


class ReasonAnswer(BaseModel):
    """Why a page was refused."""

    code: str
    detail: str


class PageAnswer(BaseModel):
    """A digitized or refused page: the content of ``page.json`` with the samples. Further fields: see docs/web.md."""

    outcome: Outcome
    reasons: list[ReasonAnswer]
    sampling_rate_hz: int
    samples: int
    heart_rate_bpm: float | None
    lead_confidence: dict[str, float]
    signals_mv: dict[str, list[float | None]] = Field(description="mV by lead, 5000 samples; null where not read.")
    confidence: dict[str, list[float]] = Field(description="0..1 by lead and sample; 0 where not read.")


def rest_routes(jobs: Jobs) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["digitize"])

    @router.post(
        "/v1/digitize",
        response_model=PageAnswer,
        responses=problems(400, 401, 403, 404, 413, 415, 422, 500, 501, 502, 503, 504),
        openapi_extra=UPLOAD_BODY,
        summary="Digitize one page",
    )
    async def digitize(
        request: Request,
        page: Annotated[int, Query(ge=1, description="Page of a PDF or TIFF, from 1.")] = 1,
        format: Annotated[
            str,
            Query(description="json (with samples), csv, wfdb, npz, parquet, edf, dicom, fhir, aecg, pdf, ... or all."),
        ] = "json",
    ) -> Response:
        """Digitize one page and answer with its record.

        A picture that shows no readable ECG is no error: the answer is 200 with the outcome ``refused`` and its
        reasons, always as JSON. Errors are problem documents (RFC 9457) whose ``code`` says what is wrong.
        """
        known_format(format)  # better missed now than after the work
        upload = await read_upload(request, jobs.options.limits.max_bytes, jobs.arriving)
        (job,) = jobs.submit(upload, [page - 1], 1, pictures=False)
        try:
            held = await jobs.result(job)
        finally:
            jobs.forget(job.id)
        problem = refused_file(held.record)
        if problem is not None:
            if problem.code == RefusalCode.PAGE_NOT_FOUND.value:  # pages count from 0 inside
                problem.detail = f"The file has no page {page}; pages count from 1."
            raise problem
        if format == "json" or held.record.outcome is Outcome.REFUSED:
            return JSONResponse(await asyncio.to_thread(page_answer, held.record))
        return download(await asyncio.to_thread(record_file, held.record, format))

    return router


def page_answer(record: EcgRecord) -> dict[str, Any]:
    """The record with its samples as plain JSON values."""
    signals = np.round(record.signals, 4).astype(object)
    signals[np.isnan(record.signals)] = None
    confidence = np.round(record.confidence.astype(np.float64), 4)
    return {
        **record.to_json_dict(),
        "signals_mv": dict(zip(LEADS, signals.tolist(), strict=True)),
        "confidence": dict(zip(LEADS, confidence.tolist(), strict=True)),
    }


def download(file: File) -> Response:
    """A file as an answer that browsers save."""
    disposition = f"attachment; filename*=UTF-8''{quote(file.name, safe='')}"
    return Response(file.content, media_type=file.media_type, headers={"content-disposition": disposition})
