"""The command ``cardioscan``. Each command imports what it needs when it runs, so that ``--help`` is quick."""

from __future__ import annotations

import errno
from typing import Any

import click

from cardioscan import __version__
from cardioscan.errors import CardioscanError
from cardioscan_client.commands._shared import INTERRUPTED, WrongCall
from cardioscan_client.commands.calibrate import calibrate
from cardioscan_client.commands.completion import completion
from cardioscan_client.commands.digitize import digitize
from cardioscan_client.commands.doctor import doctor
from cardioscan_client.commands.evaluate import evaluate
from cardioscan_client.commands.export import export
from cardioscan_client.commands.gateway import gateway
from cardioscan_client.commands.lint_models import lint_models
from cardioscan_client.commands.repository import repository
from cardioscan_client.commands.serve import serve
from cardioscan_client.commands.synthesize import synthesize
from cardioscan_client.commands.train import train
from cardioscan_client.commands.web import web


class Program(click.Group):
    """The group of commands. A user's mistake ends in a sentence, never in a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn errors that have a sentence for the user into exit status 2."""
        try:
            return super().invoke(ctx)
        except CardioscanError as error:
            raise WrongCall(str(error)) from error
        except KeyboardInterrupt:
            click.echo("\ninterrupted; what was finished before stays on disk", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of our output has gone; click ends quietly
                raise
            raise WrongCall(str(error)) from error


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cardioscan")
def main() -> None:
    """Photographs, scans and PDFs of printed 12-lead ECGs as calibrated signals.

    \b
    Examples:
      cardioscan digitize page.jpg -o out/
      cardioscan digitize scans/ --format wfdb,dicom --overlay --jobs 4 -o out/
      cardioscan evaluate out/ truth/
      cardioscan synthesize -n 20 --recipe all -o pages/
    """


for command in (
    digitize, evaluate, synthesize, train, export, calibrate, repository, lint_models, serve, doctor, gateway, web,
    completion,
):  # fmt: skip
    main.add_command(command)
