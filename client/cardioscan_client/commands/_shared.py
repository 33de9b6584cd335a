"""What several commands share: exit statuses, and asking for a package before work begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from cardioscan.errors import MissingDependencyError

if TYPE_CHECKING:
    from cardioscan_client.connection import TritonOptions

OK, NOT_ALL, WRONG_CALL, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses: all is well; something is not (a page was refused, a finding); the call itself is wrong; Ctrl-C."""


def complete_files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What the Tab key offers for text that names files without being a ``click.Path``: the shell's own files."""
    return [CompletionItem(incomplete, type="file")]


PROFILES = ("fast", "balanced", "accurate")
"""Those of ``cardioscan.options``, which would bring NumPy with it; a test holds them together."""

profile_option = click.option(
    "--profile",
    type=click.Choice(PROFILES),
    default="balanced",
    show_default=True,
    help="How much work a page is worth; README tells what each costs and gains.",
)
"""The option ``--profile`` of every command that digitizes."""

arithmetic_option = click.option(
    "--arithmetic",
    type=click.Choice(["auto", "int8", "float", "float32"]),
    help="What OpenVINO computes in; docs/speed.md tells what each costs.  [default: auto, int8 on x86-64]",
)
"""The option ``--arithmetic`` of the commands that compute, or say how a server computes."""

served_profile_option = click.option(
    "--profile",
    type=click.Choice(PROFILES),
    default="balanced",
    show_default=True,
    help="Of ecg_digitizer, where a request names none.",
)
"""The option ``--profile`` of the commands that write a repository for Triton."""

digitizers_option = click.option(
    "--digitizers",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    help="Processes of ecg_digitizer; 0: none.",
)
"""The option ``--digitizers`` of the commands that write a repository for Triton."""


tls_ca_option = click.option(
    "--tls-ca",
    metavar="FILE",
    shell_complete=complete_files,
    help="Encrypt to the server; certificates (PEM) to trust.",
)
"""The option ``--tls-ca`` of commands that may ask a Triton server."""


def triton_options(
    server: str, timeout_s: float, ca_file: str | None, token: str | None, tls: bool = False
) -> TritonOptions:
    """How to reach a server that has ``timeout_s`` for a page."""
    from cardioscan_client.connection import TritonOptions

    # A page has a deadline; a single request needs none that is shorter.
    return TritonOptions(server, timeout_s, timeout_s, tls=tls, ca_file=ca_file, token=token)


class WrongCall(click.ClickException):
    """An error about the call: one sentence on stderr and exit status 2."""

    exit_code = WRONG_CALL


def require(module: str, extra: str, purpose: str, package: str = "") -> None:
    """Raise ``MissingDependencyError`` where a module cannot be found; ``package`` is its distribution's name.

    Nothing is imported.
    """
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise MissingDependencyError(package or module, extra, purpose)
