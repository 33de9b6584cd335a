"""The application: routes, errors, security, files of the page."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import resources
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from cardioscan import __version__
from cardioscan.errors import CardioscanError
from cardioscan.pipeline import Digitizer
from cardioscan_client.gateway.metrics import Metrics
from cardioscan_client.web.drain import Drain
from cardioscan_client.web.jobs import Jobs
from cardioscan_client.web.options import WebOptions
from cardioscan_client.web.page_routes import page_routes
from cardioscan_client.web.problems import Problem, problem_of
from cardioscan_client.web.rest import rest_routes
from cardioscan_client.web.security import SecurityMiddleware

STATIC_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
"""The only kinds of files that the page consists of, by ending."""

_LOG = logging.getLogger(__name__)
_SWEEP_S: Final = 15.0


def create_app(digitizer: Digitizer, options: WebOptions | None = None) -> Drain:
    """The application that serves the page and REST, for any ASGI server.

    Args:
        digitizer: digitizes the pages, from several threads; its own limits should be those of ``options``.
        options: see ``WebOptions``; its host says which names are let in, its port does not count here.
    """
    options = options or WebOptions()
    metrics = Metrics()
    jobs = Jobs(digitizer, options, metrics)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        sweeper = asyncio.create_task(_sweep(jobs))
        app.state.ready = True
        yield
        app.state.ready = False
        sweeper.cancel()
        await asyncio.to_thread(jobs.close)

    app = FastAPI(
        title="CardioScan",
        version=__version__,
        summary="Pictures of printed 12-lead ECGs as calibrated signals (mV, 500 Hz).",
        openapi_url="/v1/openapi.json",
        docs_url=None,  # it would load its scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.jobs, app.state.ready = jobs, False
    app.include_router(rest_routes(jobs))
    app.include_router(page_routes(jobs))
    _add_health(app, metrics)
    _add_errors(app)
    for path, (content, media_type) in static_files().items():
        app.add_api_route(path, _answer_with(content, media_type), methods=["GET", "HEAD"], include_in_schema=False)
    # Around everything, so that the answer to an unexpected error has its headers too.
    return Drain(SecurityMiddleware(app, options))


def static_files() -> dict[str, tuple[bytes, str]]:
    """Content and media type of the files of the page, by path."""
    root = resources.files("cardioscan_client.web") / "static"
    files: dict[str, tuple[bytes, str]] = {}
    for folder in (root, root / "js"):
        for entry in folder.iterdir():
            kind = STATIC_TYPES.get(entry.name.rpartition(".")[2])
            if entry.is_file() and kind:
                place = "/js/" if folder is not root else "/"
                files[place + entry.name] = entry.read_bytes(), kind
    files["/"] = files.pop("/index.html")
    return files


def _answer_with(content: bytes, media_type: str) -> Callable[[], Awaitable[Response]]:
    async def answer() -> Response:
        # Asked for again each time: a new release must not meet scripts of an old one.
        return Response(content, media_type=media_type, headers={"cache-control": "no-cache"})

    return answer


async def _sweep(jobs: Jobs) -> None:
    while True:
        await asyncio.sleep(_SWEEP_S)
        jobs.sweep()


def _add_health(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/health/live", tags=["health"])
    async def live() -> JSONResponse:
        """The process answers."""
        return JSONResponse({"status": "live"})

    @app.get("/health", tags=["health"])
    @app.get("/health/ready", tags=["health"], responses={503: {"description": "Starting or stopping."}})
    async def ready() -> JSONResponse:
        """Pages are taken."""
        up = bool(app.state.ready)
        return JSONResponse({"status": "ready" if up else "not ready"}, 200 if up else 503)

    @app.get("/metrics", tags=["health"], response_class=PlainTextResponse)
    async def metrics_page() -> Response:
        """Metrics in the text format of Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> Response:
        return error.response()

    @app.exception_handler(CardioscanError)
    async def typed(request: Request, error: CardioscanError) -> Response:
        return problem_of(error).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # Places and messages only: the values may be what was uploaded.
        message = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        return Problem(422, "invalid_request", "The request is not valid", f"{message}.").response()

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
        detail = f"{error.detail}. See /v1/openapi.json for what there is."
        return Problem(error.status_code, code, str(error.detail), detail, error.headers).response()

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        _LOG.error("%s %s failed: %s", request.method, request.url.path, type(error).__name__)
        detail = f"An unexpected error ({type(error).__name__}). Please report it."
        return Problem(500, "internal_error", "An unexpected error", detail).response()
