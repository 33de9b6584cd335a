"""``cardioscan completion``: the Tab key for shells."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

PROGRAM = "cardioscan"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that lets the Tab key complete commands, options, their values and file names.

    It asks this program for what fits, so it need not be made anew for another release. Bash 4.4 or newer.

    \b
    To have it in every new shell:
      echo 'eval "$(cardioscan completion bash)"' >> ~/.bashrc
      echo 'eval "$(cardioscan completion zsh)"' >> ~/.zshrc        # below compinit
      cardioscan completion fish > ~/.config/fish/completions/cardioscan.fish
    """
    script = get_completion_class(shell)
    assert script is not None, "click knows the shells that are offered"
    # The name of the program, however it was started here: by a path, or as a module.
    click.echo(script(ctx.find_root().command, {}, PROGRAM, f"_{PROGRAM.upper()}_COMPLETE").source())
