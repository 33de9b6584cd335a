"""Who may call: TLS for the connection, a token for each call."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import grpc

from cardioscan.errors import ServerStartError
from cardioscan_client.gateway.metrics import Metrics
from cardioscan_client.gateway.options import GatewayOptions

_WITHOUT_TOKEN: Final = "/grpc.health.v1.Health/"
"""Methods that need no token: health checks should not have to hold the password."""


class TokenCheck(grpc.aio.ServerInterceptor):
    """Lets only calls with ``authorization: Bearer TOKEN`` pass, save those about health.

    Args:
        token: the only one that is right.
        metrics: counts those turned away.
    """

    def __init__(self, token: str, metrics: Metrics) -> None:
        self._wanted, self._metrics = f"Bearer {token}".encode(), metrics

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """The handler of a call: the real one, or one that says no."""
        call = handler_call_details
        if call.method.startswith(_WITHOUT_TOKEN) or self._has_token(call.invocation_metadata):
            return await continuation(call)
        self._metrics.rejected.labels("unauthenticated").inc()
        return grpc.unary_unary_rpc_method_handler(_deny)

    def _has_token(self, metadata: Any) -> bool:
        given = [value for key, value in metadata or () if key == "authorization"]
        # Compared in constant time: how long a "no" takes says nothing about the token.
        return len(given) == 1 and hmac.compare_digest(given[0].encode(), self._wanted)


async def _deny(request: object, context: Any) -> None:
    await context.abort(
        grpc.StatusCode.UNAUTHENTICATED, "send the token that the operator set, as authorization: Bearer TOKEN"
    )


def credentials(options: GatewayOptions) -> Any:
    """The TLS credentials of a server; None where it speaks without.

    Raises:
        ServerStartError: a file is missing, or only one of certificate and key was given.
    """
    if options.cert_file is None and options.key_file is None and options.client_ca_file is None:
        return None
    if options.cert_file is None or options.key_file is None:
        raise ServerStartError("TLS needs both a certificate (--tls-cert) and its key (--tls-key)")
    authority = None if options.client_ca_file is None else _read(options.client_ca_file)
    return grpc.ssl_server_credentials(
        [(_read(options.key_file), _read(options.cert_file))], authority, require_client_auth=authority is not None
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ServerStartError(f"cannot read {path}: {error.strerror}") from error
