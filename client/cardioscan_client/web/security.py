"""Who may ask what: headers of every answer, host, origin and token of every request."""

from __future__ import annotations

import hmac
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cardioscan_client.web.options import WebOptions
from cardioscan_client.web.problems import Problem

HEADERS: Final = {
    # Nothing inline and nothing from elsewhere; pictures and downloads are blobs, since a token cannot travel in links.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "geolocation=(), microphone=()",
}
"""What every answer says to a browser."""

TOKEN_PATHS: Final = "/v1/"
"""Paths below it need the token; the page itself, health and metrics hold no results."""

_WITHOUT_TOKEN: Final = frozenset(("/v1/openapi.json",))


class SecurityMiddleware:
    """ASGI middleware: turns away who may not ask, and adds ``HEADERS`` to every answer.

    A browser names the page that asks (``Origin``, ``Sec-Fetch-Site``): other sites' pages are turned away. Programs
    name none. The token is compared in constant time.
    """

    def __init__(self, app: ASGIApp, options: WebOptions) -> None:
        self.app, self.options = app, options
        self._token = None if options.token is None else options.token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith(TOKEN_PATHS):
                    headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(scope["path"], Headers(scope=scope))
        await (refusal.response() if refusal else self.app)(scope, receive, send_with_headers)

    def _refusal(self, path: str, headers: Headers) -> Problem | None:
        host = headers.get("host", "").lower()
        allowed = self.options.hosts
        if allowed and _without_port(host) not in allowed:
            return Problem(
                421,
                "unknown_host",
                "Not a name of this server",
                f"This server answers to {', '.join(sorted(allowed))} only. --allowed-host NAME adds others.",
            )
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc.lower() != host
        if foreign or headers.get("sec-fetch-site") == "cross-site" and path.startswith(TOKEN_PATHS):
            return Problem(
                403, "foreign_origin", "Asked by another site", "Only this server's own page and programs may ask."
            )
        if self._token is not None and path.startswith(TOKEN_PATHS) and path not in _WITHOUT_TOKEN:
            kind, _, given = headers.get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token):
                return Problem(
                    401,
                    "token_needed",
                    "A token is needed",
                    "Send the token that the server was started with, as 'Authorization: Bearer TOKEN'.",
                    {"www-authenticate": 'Bearer realm="cardioscan"'},
                )
        return None


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
