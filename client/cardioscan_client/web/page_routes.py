"""What the page in the browser asks for: jobs and their progress, results, pictures, corrections, files."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from cardioscan.errors import EditError
from cardioscan.locate.corners import checked_corners
from cardioscan.postprocess.clinical import measure_clinical
from cardioscan.postprocess.editing import edit_from_json
from cardioscan.record import Outcome
from cardioscan_client.web.jobs import Jobs
from cardioscan_client.web.pictures import CAPTIONS
from cardioscan_client.web.problems import Problem
from cardioscan_client.web.rest import UPLOAD_BODY, download, problems
from cardioscan_client.web.uploads import read_upload

MAX_EDITS = 500
MAX_WAIT_S = 25.0


class Corners(BaseModel):
    """Corners of the sheet, set by hand."""

    corners: list[tuple[float, float]] = Field(
        description="(x, y) px of the picture: upper left, upper right, lower right, lower left of the sheet as read."
    )


class Edits(BaseModel):
    """All corrections of a result, in order; they replace those made before."""

    edits: list[dict[str, Any]] = Field(
        max_length=MAX_EDITS,
        description=(
            '{"kind": "redraw", "lead": "V1", "points": [[s, mV], ...]} or '
            '{"kind": "erase", "lead": "V1", "start_s": 1, "stop_s": 2}'
        ),
    )


def page_routes(jobs: Jobs) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["page"], prefix="/v1")

    @router.post("/jobs", status_code=202, responses=problems(400, 401, 403, 413, 503), openapi_extra=UPLOAD_BODY)
    async def submit(request: Request) -> JSONResponse:
        """Take an upload; each of its pages becomes a job."""
        upload = await read_upload(request, jobs.options.limits.max_bytes, jobs.arriving)
        n_pages, problem = await asyncio.to_thread(jobs.pages_of, upload)
        if problem is not None:
            made = [jobs.refuse(upload, problem.code, problem.detail)]
        else:
            made = jobs.submit(upload, range(n_pages), n_pages)
        return JSONResponse({"jobs": [job.to_json_dict() for job in made]}, 202)

    @router.get("/jobs", responses=problems(401, 403))
    async def watch(
        ids: Annotated[str, Query(description="Names of jobs, with commas between.", max_length=20_000)],
        since: Annotated[int, Query(ge=-1, description="Version of the last answer; -1: none yet.")] = -1,
        wait: Annotated[float, Query(ge=0, le=MAX_WAIT_S, description="Seconds to wait for a change.")] = 0,
    ) -> JSONResponse:
        """The jobs that changed since; waits for a change. ``gone`` are names that are known no more."""
        names = [name for name in ids.split(",") if name]
        version, changed = await jobs.watch(names, since, wait)
        gone = [name for name in names if not jobs.knows(name)]
        return JSONResponse({"version": version, "jobs": [job.to_json_dict() for job in changed], "gone": gone})

    @router.delete("/jobs/{job_id}", status_code=204, responses=problems(401, 403, 404))
    async def forget(job_id: str) -> Response:
        """Forget a job and all that is held of it, now."""
        jobs.forget(job_id)
        return Response(status_code=204)

    @router.post("/jobs/{job_id}/corners", status_code=202, responses=problems(401, 403, 404, 422, 503))
    async def place(job_id: str, body: Corners) -> JSONResponse:
        """Digitize the page of a job again, with the corners of its sheet as given; a new job."""
        job = jobs.get(job_id)
        corners = checked_corners(body.corners)
        (again,) = jobs.submit(job.upload, [job.page], job.n_pages, corners)
        return JSONResponse(again.to_json_dict(), 202)

    @router.get("/jobs/{job_id}/result", responses=problems(401, 403, 404, 409))
    async def result(job_id: str) -> JSONResponse:
        """The result of a job that is done."""
        held = jobs.page_of(job_id)
        return JSONResponse(await asyncio.to_thread(held.to_json_dict))

    @router.put("/jobs/{job_id}/edits", responses=problems(401, 403, 404, 409, 422))
    async def edit(job_id: str, body: Edits) -> JSONResponse:
        """Make these corrections to the result as it was digitized, in place of earlier ones."""
        held = jobs.page_of(job_id)
        edits = [edit_from_json(value) for value in body.edits]
        edited = await asyncio.to_thread(held.edited, edits)
        jobs.hold(job_id, edited)
        return JSONResponse(await asyncio.to_thread(edited.to_json_dict))

    @router.get("/jobs/{job_id}/measures", responses=problems(401, 403, 404, 409, 501))
    async def measures(job_id: str) -> JSONResponse:
        """Heart rate, intervals and ST levels; null where not measured."""
        held = jobs.page_of(job_id)
        if held.record.outcome is Outcome.REFUSED:
            raise EditError("a refused page has nothing to measure")
        measured = await asyncio.to_thread(measure_clinical, held.record.signals)
        return JSONResponse(measured.to_json_dict())

    @router.get("/jobs/{job_id}/pictures/{name}", responses=problems(401, 403, 404, 409))
    async def picture(job_id: str, name: str) -> Response:
        """A picture of the page, JPEG."""
        pictures = jobs.page_of(job_id).pictures
        if name not in pictures:
            shown = ", ".join(pictures) or "none"
            raise Problem(404, "no_such_picture", "There is no such picture", f"This page has {shown}.")
        return Response(pictures[name], media_type="image/jpeg")

    @router.get("/jobs/{job_id}/files/{name}", responses=problems(401, 403, 404, 409, 422, 501))
    async def file(job_id: str, name: str) -> Response:
        """The result as a file: a format, or ``all`` as a ZIP."""
        held = jobs.page_of(job_id)
        return download(await asyncio.to_thread(held.file, name))

    @router.get("/about")
    async def about() -> JSONResponse:
        """What this server takes, and what its pictures show."""
        limits = jobs.options.limits
        return JSONResponse(
            {
                "max_bytes": limits.max_bytes,
                "max_pixels": limits.max_pixels,
                "max_pages": jobs.options.max_pages,
                "keep_s": jobs.options.keep_s,
                "captions": CAPTIONS,
            }
        )

    return router
