"""The command lines in README and docs can be given: commands, options, targets and modules exist."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import click
import pytest

from cardioscan_client.cli import main
from tests.document_blocks import LINES, ROOT, SYNOPSES, split


def parse(command: click.Command, words: list[str], name: str) -> None:
    """Fails where an option is unknown, lacks its value, or has one of the wrong kind."""
    context = click.Context(command, info_name=name)
    given, _, _ = command.make_parser(context).parse_args(list(words))
    for parameter in command.params:
        value = given.get(parameter.name or "")
        plain = parameter.type
        if isinstance(parameter, click.Option) and isinstance(value, str) and not isinstance(plain, click.Path):
            plain.convert(value, parameter, context)
        if isinstance(parameter, click.Argument) and isinstance(plain, click.Choice) and isinstance(value, str):
            if not value.strip("[]").isupper():
                plain.convert(value, parameter, context)


def makefile() -> tuple[set[str], set[str]]:
    """Targets and variables of the Makefile."""
    text = (ROOT / "Makefile").read_text("utf-8")
    names = re.search(r"^BENCHMARKS := (.*)$", text, re.MULTILINE)
    assert names
    targets = set(re.findall(r"^([a-z][a-z-]*):", text, re.MULTILINE)) | {f"bench-{n}" for n in names[1].split()}
    return targets, set(re.findall(r"^([A-Z]+) \?=", text, re.MULTILINE))


def parse_for_module(module: str, words: list[str], name: str) -> None:
    """Parse words as the module would: one that has to do without click builds its parser in ``options``."""
    found = importlib.import_module(module)
    command = next((value for value in vars(found).values() if isinstance(value, click.Command)), None)
    if command is not None:
        parse(command, words, name)
        return
    try:
        found.options().parse_args(words)
    except SystemExit as end:
        raise click.UsageError(f"{name} {' '.join(words)}") from end


def check(words: list[str]) -> None:
    """Fails where a command line could not be given."""
    program = Path(words[0]).name
    if program == "cardioscan" and len(words) > 1:
        if words[1] in ("COMMAND", "-h", "--help"):
            return
        assert words[1] in main.commands, f"no command {words[1]}"
        parse(main.commands[words[1]], words[2:], words[1])
    elif program == "python" and words[1] == "-m":
        if words[2].startswith("benchmarks."):
            parse_for_module(words[2], words[3:], words[2])
        else:
            assert importlib.util.find_spec(words[2]) is not None, f"no module {words[2]}"
    elif program == "python" and words[1].endswith(".py"):
        assert (ROOT / words[1]).is_file(), f"no file {words[1]}"
    elif program == "make":
        targets, variables = makefile()
        for word in words[1:]:
            name, _, value = word.partition("=")
            assert name in (variables if "=" in word else targets), f"make knows no {name}"
            if name == "ARGS" and words[1].startswith("bench-"):
                parse_for_module(f"benchmarks.{words[1][6:]}", shlex.split(value), words[1])


@pytest.mark.parametrize(("place", "line"), [pytest.param(*item, id=f"{item[0]} {item[1]}"[:90]) for item in LINES])
def test_command_lines_can_be_given(place: str, line: str) -> None:
    if line in SYNOPSES:
        return
    for words in split(line):
        try:
            check(words)
        except click.BadOptionUsage as error:
            # A sentence may name an option without its value; a block is to be copied.
            if ":" in place or error.option_name != words[-1]:
                raise


@pytest.mark.parametrize(
    "line",
    [
        "cardioscan digitise page.jpg -o out/",
        "cardioscan digitize page.jpg --outptu out/",
        "cardioscan digitize page.jpg --jobs many -o out/",
        "cardioscan digitize page.jpg -o",
        "cardioscan train labels",
        "cat page.jpg | cardioscan digitize - --bogus",
        "TOKEN=x cardioscan web --prot 9000",
        "python -m benchmarks.acuracy",
        "python -m benchmarks.accuracy --set clean",
        "python -m benchmarks.gpu --engine eager,",
        "python -m cardioscan_client.gateway.prob",
        "make bench-acuracy",
        "make digitize IMAG=page.jpg",
        "make bench-accuracy ARGS='--set clean'",
    ],
)
def test_a_wrong_command_line_is_noticed(line: str) -> None:
    with pytest.raises((AssertionError, click.UsageError, ImportError)):
        for words in split(line):
            check(words)
