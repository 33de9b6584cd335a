"""``cardioscan gateway``: the service ``cardioscan.v1`` over gRPC."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cardioscan_client.commands._shared import NOT_ALL, OK, arithmetic_option, complete_files, profile_option, require

_PEM = click.Path(dir_okay=False, path_type=Path)
_EMBEDDED_JOBS, _SERVED_JOBS = 1, 4
_POLL_S = 2.0
_RECONNECT_S = 5.0
"""How long a page waits for a server that went away: its caller is told soon, and may wait himself."""


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0: all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8090, show_default=True, help="0: any free port.")
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="Address for Prometheus.")
@click.option(
    "--metrics-port", type=click.IntRange(-1, 65535), default=8091, show_default=True, help="0: any free one; -1: none."
)
@click.option("--server", metavar="HOST:PORT", help="Run the networks on this Triton server instead of here.")
@click.option("--jobs", type=click.IntRange(min=1), help="Pages in work at once.  [default: 1, with --server 4]")
@click.option("--queue", type=click.IntRange(min=0), default=16, show_default=True, help="Calls that may wait.")
@click.option("--streams", type=click.IntRange(min=0), default=8, show_default=True, help="Streams at once.")
@click.option(
    "--pages-per-stream", type=click.IntRange(min=1), default=4, show_default=True, help="Unanswered pages per stream."
)
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), default=120, show_default=True, help="Seconds per page."
)
@click.option("--max-mib", type=click.IntRange(1, 1024), default=64, show_default=True, help="Largest file, MiB.")
@click.option("--max-megapixels", type=click.IntRange(1, 400), default=100, show_default=True, help="Largest picture.")
@click.option(
    "--grace", type=click.FloatRange(min=0), default=30, show_default=True, help="Seconds to finish in after SIGTERM."
)
@click.option("--tls-cert", "cert_file", type=_PEM, help="Certificate chain (PEM) of this gateway.")
@click.option("--tls-key", "key_file", type=_PEM, help="Its key (PEM).")
@click.option("--tls-client-ca", "client_ca_file", type=_PEM, help="Ask callers for certificates of this authority.")
@click.option("--token", envvar="CARDIOSCAN_GATEWAY_TOKEN", help="Password.  [default: $CARDIOSCAN_GATEWAY_TOKEN]")
@click.option("--token-file", type=_PEM, help="File that holds the password, such as a mounted secret.")
@click.option(
    "--server-wait", type=click.FloatRange(min=0), default=0, help="Seconds to wait for --server at the start."
)
@click.option("--server-tls", is_flag=True, help="Encrypt the connection to --server.")
@click.option(
    "--server-tls-ca",
    metavar="FILE",
    shell_complete=complete_files,
    help="Certificates (PEM) to trust there; implies --server-tls.",
)
@click.option("--server-token", envvar="CARDIOSCAN_TOKEN", help="Password of --server.  [default: $CARDIOSCAN_TOKEN]")
@profile_option
@click.option("--models", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of the networks.")
@click.option("--threads", type=click.IntRange(min=0), default=0, help="Threads per network here; 0: all cores.")
@arithmetic_option
@click.option(
    "--log-level", type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]), default="INFO", show_default=True
)
def gateway(
    jobs: int | None,
    timeout: float,
    max_mib: int,
    max_megapixels: int,
    grace: float,
    metrics_port: int,
    token: str | None,
    token_file: Path | None,
    profile: str,
    models: Path | None,
    threads: int,
    arithmetic: str | None,
    log_level: str,
    **others: Any,
) -> None:
    """Serve digitizing over gRPC (cardioscan.v1), until SIGTERM or Ctrl-C. Needs the extra 'gateway'.

    Pictures come in as bytes, records go out; nothing is written to disk. The log, one JSON object a line, goes to
    stderr. SIGTERM finishes the pages under way first, for --grace seconds at most; a second one does not.

    Exit status: 0 all pages under way were finished, 1 some were not, 2 the call is wrong.

    \b
    Examples:
      cardioscan gateway
      cardioscan gateway --server localhost:8001 --jobs 8
      cardioscan gateway --host 0.0.0.0 --tls-cert chain.pem --tls-key key.pem --token-file /run/secrets/token
    """
    import asyncio
    import contextlib

    for module, package in (
        ("grpc", "grpcio"),
        ("grpc_health", "grpcio-health-checking"),
        ("grpc_reflection", "grpcio-reflection"),
        ("grpc_status", "grpcio-status"),
        ("prometheus_client", "prometheus-client"),
    ):
        require(module, "gateway", "Serving over gRPC", package)

    from cardioscan.imaging.images import ImageLimits
    from cardioscan.pipeline import DigitizerOptions
    from cardioscan_client.gateway.log import log_to_stderr
    from cardioscan_client.gateway.options import GatewayOptions
    from cardioscan_client.gateway.pages import PageDigitizer
    from cardioscan_client.gateway.server import Gateway, run_gateway

    log_to_stderr(log_level)
    upstream = {
        key: others.pop(key) for key in ("server", "server_wait", "server_tls", "server_tls_ca", "server_token")
    }
    limits = ImageLimits(max_bytes=max_mib << 20, max_pixels=max_megapixels * 1_000_000)
    options = GatewayOptions(
        jobs=jobs or (_SERVED_JOBS if upstream["server"] else _EMBEDDED_JOBS),
        page_timeout_s=timeout,
        limits=limits,
        grace_s=grace,
        metrics_port=None if metrics_port < 0 else metrics_port,
        token=_secret(token_file) if token_file else token,
        **others,
    )
    chosen = {"arithmetic": arithmetic} if arithmetic else {}
    pipeline = DigitizerOptions.of_profile(profile, models=models, threads=threads, limits=limits, **chosen)
    click.echo("loading the networks ..." if not upstream["server"] else f"looking for {upstream['server']} ...")
    backend = _backend(upstream, timeout, pipeline)
    work = PageDigitizer(backend, pipeline)

    def ready(started: Gateway) -> None:
        click.echo(f"gRPC     {options.host}:{started.port}")
        if started.metrics_port is not None:
            click.echo(f"metrics  http://{options.metrics_host}:{started.metrics_port}/metrics")
        click.echo("ready; stop with Ctrl-C")

    with contextlib.ExitStack() as stack:
        if upstream["server"]:
            stack.callback(backend.close)
        watched = backend.ready if upstream["server"] else None
        finished = asyncio.run(run_gateway(Gateway(work, options, watched), ready))
    click.echo("stopped" if finished else "stopped; some pages under way were not finished")
    raise click.exceptions.Exit(OK if finished else NOT_ALL)


def _secret(path: Path) -> str:
    """The first line of a file; raises ``click.UsageError`` where there is none."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    if not lines or not lines[0].strip():
        raise click.UsageError(f"the token file {path} is missing or empty")
    return lines[0].strip()


def _backend(upstream: dict[str, Any], timeout: float, pipeline: Any) -> Any:
    """What runs the networks: here, loaded and tried once, or on a server that is asked for its models."""
    if upstream["server"]:
        from cardioscan_client.connection import TritonOptions

        options = TritonOptions(
            upstream["server"],
            request_timeout_s=timeout,
            reconnect_s=_RECONNECT_S,
            tls=upstream["server_tls"],
            ca_file=upstream["server_tls_ca"],
            token=upstream["server_token"],
        )
        return _connected(options, upstream["server_wait"])
    import numpy as np

    from cardioscan.backends.inference import OnnxBackend
    from cardioscan.backends.specs import SPECS

    backend = OnnxBackend(pipeline.models, pipeline.threads, engine=pipeline.engine, arithmetic=pipeline.arithmetic)
    for name, spec in SPECS.items():  # a missing file should show now, and not at the first page
        blank = {tensor.name: np.zeros((1, *tensor.shape), tensor.dtype) for tensor in spec.inputs}
        backend.infer(name, blank)
    return backend


def _connected(options: Any, wait_s: float) -> Any:
    """A backend over a server, which may take ``wait_s`` to be there; raises the last reason why it is not."""
    import logging
    import time

    from cardioscan.errors import ServerUnavailableError
    from cardioscan_client.deadline import Deadline
    from cardioscan_client.triton import TritonBackend

    end, told = Deadline(wait_s), ""
    while True:
        try:
            return TritonBackend(options)
        except ServerUnavailableError as error:
            if end.remaining() <= _POLL_S:
                raise
            if str(error) != told:  # each reason once, not every two seconds
                told = str(error)
                logging.getLogger(__name__).warning("waiting for the server", extra={"fields": {"reason": told}})
            time.sleep(_POLL_S)
