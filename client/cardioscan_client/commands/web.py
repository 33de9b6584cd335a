"""The command ``cardioscan web``."""

from __future__ import annotations

from pathlib import Path

import click

from cardioscan_client.commands._shared import arithmetic_option, profile_option, require, tls_ca_option, triton_options

_NEEDED = {
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "python_multipart": "python-multipart",
    "prometheus_client": "prometheus-client",
}


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0: all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any free port.")
@click.option(
    "--allowed-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="Name by which browsers ask for this server; may be repeated.  [default: this machine's, with --host any]",
)
@click.option(
    "--token", envvar="CARDIOSCAN_WEB_TOKEN", help="Password for callers. Default: $CARDIOSCAN_WEB_TOKEN, else none."
)
@click.option("--max-mb", type=click.IntRange(1, 256), default=32, show_default=True, help="Largest upload, MiB.")
@click.option("--max-megapixels", type=click.IntRange(1, 100), default=50, show_default=True, help="Largest picture.")
@click.option("--keep-minutes", type=click.FloatRange(min=1), default=30, show_default=True, help="Results are held.")
@click.option("--max-results", type=click.IntRange(min=1), default=100, show_default=True, help="Results held at once.")
@click.option("--queue", type=click.IntRange(min=1), default=100, show_default=True, help="Pages that may wait.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Pages in work at once.")
@profile_option
@arithmetic_option
@click.option("--models", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of the networks.")
@click.option("--server", metavar="HOST:PORT", help="Run the networks on this server (see 'cardioscan serve').")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=120,
    show_default=True,
    help="Seconds per page on the server.",
)
@tls_ca_option
@click.option("--server-token", envvar="CARDIOSCAN_TOKEN", help="Password of the server. Default: $CARDIOSCAN_TOKEN.")
def web(
    host: str,
    port: int,
    allowed_hosts: tuple[str, ...],
    token: str | None,
    max_mb: int,
    max_megapixels: int,
    keep_minutes: float,
    max_results: int,
    queue: int,
    jobs: int,
    profile: str,
    arithmetic: str | None,
    models: Path | None,
    server: str | None,
    timeout: float,
    tls_ca: str | None,
    server_token: str | None,
) -> None:
    """Serve the web page and REST on this machine, until Ctrl-C. Needs the extra 'web'.

    Uploads and results stay in memory and are forgotten after a while. Without --host only this machine can reach it.

    \b
    Examples:
      cardioscan web
      cardioscan web --port 9000 --server localhost:8001
      cardioscan web --host 0.0.0.0 --allowed-host ecg.example.org --token SECRET
    """
    for module, package in _NEEDED.items():
        require(module, "web", "The web page", package)
    from cardioscan.backends.specs import SPECS, find_model_file
    from cardioscan.imaging.images import ImageLimits
    from cardioscan.pipeline import Digitizer, DigitizerOptions, import_stages
    from cardioscan_client.web.options import WebOptions
    from cardioscan_client.web.run import run_web

    limits = ImageLimits(max_bytes=max_mb << 20, max_pixels=max_megapixels * 1_000_000, max_side=20_000)
    options = WebOptions(
        host=host,
        port=port,
        allowed_hosts=allowed_hosts,
        token=token,
        limits=limits,
        jobs=jobs,
        queue=queue,
        max_results=max_results,
        keep_s=60 * keep_minutes,
    )
    chosen = {"arithmetic": arithmetic} if arithmetic else {}
    pipeline = DigitizerOptions.of_profile(profile, models=models, limits=limits, **chosen)
    digitizer: Digitizer
    if server is None:
        for name in SPECS:
            find_model_file(name, models)  # better missed now than at the first page
        digitizer = Digitizer(options=pipeline)
        digitizer.open_ahead()
    else:
        from cardioscan_client.triton import ServedDigitizer

        digitizer = ServedDigitizer(triton_options(server, timeout, tls_ca, server_token), pipeline)
    import_stages()
    run_web(digitizer, options, click.echo)
