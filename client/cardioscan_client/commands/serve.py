"""``cardioscan serve``: a Triton server on this machine's CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cardioscan_client.commands._shared import arithmetic_option, digitizers_option, served_profile_option


@click.command()
@click.option(
    "--model-repository",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Repository of the flavour cpu. Default: written from the released networks to a temporary folder.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0: all.")
@click.option("--grpc-port", type=click.IntRange(0, 65535), default=8001, show_default=True, help="0: any free port.")
@click.option("--http-port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any free port.")
@click.option("--metrics-port", type=click.IntRange(0, 65535), default=8002, show_default=True, help="0: any free one.")
@click.option("--threads", type=click.IntRange(min=0), default=0, help="Threads per network; 0: all cores.")
@arithmetic_option
@digitizers_option
@served_profile_option
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), help="File for the server's log.")
@click.argument("arguments", nargs=-1, metavar="[-- TRITON_OPTIONS...]")
def serve(
    model_repository: Path | None,
    threads: int,
    arithmetic: str | None,
    digitizers: int,
    profile: str,
    log: Path | None,
    arguments: tuple[str, ...],
    **ports: Any,
) -> None:
    """Run a Triton server with the networks on this machine's CPU, until Ctrl-C.

    It also serves ecg_digitizer, the whole pipeline: one KServe v2 request per page, from any language.
    Needs the package nvidia-pytriton, no container and no GPU. What follows -- is passed on to tritonserver.

    \b
    Examples:
      cardioscan serve
      cardioscan serve --host 0.0.0.0 --grpc-port 9001 --log triton.log
      cardioscan serve -- --grpc-use-ssl=true --grpc-server-cert=server.pem --grpc-server-key=server.key
    """
    from tempfile import TemporaryDirectory

    from cardioscan_client.serve import ServerOptions, TritonServer, run_server

    server = ServerOptions(arguments=arguments, **ports)
    with TemporaryDirectory(prefix="cardioscan-models-") as folder:
        if model_repository is None:
            from cardioscan_export.repository import RepositoryOptions, write_repository

            options = RepositoryOptions(
                "cpu",
                arithmetic=arithmetic or "auto",
                threads=threads,
                digitizers=digitizers,
                profile=profile,
                link=True,
            )
            write_repository(folder, options)
        run_server(TritonServer(model_repository or Path(folder), server, log), click.echo)
