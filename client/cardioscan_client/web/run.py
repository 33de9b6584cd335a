"""Running the page: a socket, uvicorn, and what ends them."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
from collections.abc import Callable

import uvicorn

from cardioscan.errors import ServerStartError
from cardioscan.pipeline import Digitizer
from cardioscan_client.ports import port_message
from cardioscan_client.web.app import create_app
from cardioscan_client.web.options import WebOptions, is_local


def run_web(digitizer: Digitizer, options: WebOptions, echo: Callable[[str], None]) -> None:
    """Serve the page until SIGINT or SIGTERM.

    Args:
        digitizer: digitizes the pages.
        options: see ``WebOptions``.
        echo: told the address, and who can reach it.

    Raises:
        ServerStartError: the port cannot be used.
    """
    with contextlib.closing(listen(options)) as sock:
        echo(f"CardioScan: {address_of(sock)}  (Ctrl-C stops it)")
        if not is_local(options.host):
            password = "" if options.token else " without a password (--token sets one)"
            echo(f"Other machines can reach it{password}. It speaks plain HTTP: put a proxy with TLS before it.")
        # uvicorn sends the signal that ended it once more when it is done: that is no error.
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        with contextlib.suppress(KeyboardInterrupt):
            make_server(digitizer, options).run(sockets=[sock])


def make_server(digitizer: Digitizer, options: WebOptions) -> uvicorn.Server:
    """The server, to be run on a socket of ``listen``."""
    # Whatever a program sets up for its logs: addresses of results are as good as the results.
    logging.getLogger("uvicorn.access").disabled = True
    return uvicorn.Server(
        uvicorn.Config(
            create_app(digitizer, options),
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=max(1, round(options.grace_s)),
            lifespan="on",
        )
    )


def listen(options: WebOptions) -> socket.socket:
    """A socket on the address of ``options``. Raises ``ServerStartError``, with what to do, where there can be none."""
    host = options.host.strip("[]")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, options.port), family=family, backlog=128)
    except OSError as error:
        raise ServerStartError(port_message(error, host, options.port, "--port")) from error


def address_of(sock: socket.socket) -> str:
    """The address as a browser on this machine asks for it."""
    host, port = sock.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
