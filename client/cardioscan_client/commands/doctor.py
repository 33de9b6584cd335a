"""The command ``cardioscan doctor``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cardioscan_client.commands._shared import NOT_ALL, OK, tls_ca_option, triton_options


@click.command()
@click.option("--models", type=click.Path(file_okay=False, path_type=Path), help="Folder of the networks.")
@click.option("--server", metavar="HOST:PORT", help="Also try this Triton server.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=10, show_default=True, help="Seconds.")
@tls_ca_option
@click.option("--token", envvar="CARDIOSCAN_TOKEN", help="Password of the server. Default: $CARDIOSCAN_TOKEN.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per finding.")
def doctor(
    models: Path | None, server: str | None, timeout: float, tls_ca: str | None, token: str | None, as_json: bool
) -> None:
    """Look at the installation, the networks, this machine and a server, and say what to do.

    Exit status: 0 pages can be digitized, 1 something stands in the way.

    \b
    Examples:
      cardioscan doctor
      cardioscan doctor --server localhost:8001
      cardioscan doctor --json | grep trouble
    """
    from cardioscan_client.doctor import TROUBLE, examine

    troubled = False
    options = None if server is None else triton_options(server, timeout, tls_ca, token)
    for finding in examine(models, options):
        troubled |= finding.state == TROUBLE
        if as_json:
            click.echo(json.dumps(finding.to_json_dict()))
            continue
        click.echo(f"{finding.state:8}{finding.subject}: {finding.said}")
        if finding.advice:
            click.echo(f"{'':8}-> {finding.advice}")
    raise click.exceptions.Exit(NOT_ALL if troubled else OK)
