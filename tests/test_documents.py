"""What README and docs say is true: code runs, command lines parse, links and paths lead somewhere.

Blocks are fenced (``python``, ``sh``) or, in older documents, indented by four spaces; an indented block that Python
can parse is Python, and of any other one the lines that begin with a program of ours are looked at. An expression with
``# -> value`` behind it must have that value. Whatever is only looked at, and not run, stands in a table below with the
reason why.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

from cardioscan.backends.specs import SPECS, find_model_file
from cardioscan.errors import RefusalCode
from cardioscan.formats import format_names, read_signals
from cardioscan_client.cli import main

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])

RUN = ("docs/quickstart.md", "README.md", "docs/formats.md", "docs/command-line.md", "docs/extending.md")
"""Documents whose Python is run, in this order and in one folder with ``page.jpg``; each in a namespace of its own."""

PYTHON_NOT_RUN = {
    "docs/grpc.md": "needs a gateway that is running; tests/client/gateway does that",
    "docs/serving.md": "needs a Triton server; tests/client does that",
    "docs/web.md": "serves until it is stopped; tests/client/web does that",
}

COMMANDS_RUN = ("digitize", "evaluate", "doctor", "completion")
COMMANDS_NOT_RUN = {
    "calibrate": "renders for minutes",
    "export": "needs a checkpoint of a training run",
    "gateway": "runs until it is stopped",
    "lint-models": "half a minute for eight graphs",
    "repository": "copies 170 MB",
    "serve": "runs until it is stopped",
    "synthesize": "renders for minutes",
    "train": "takes an hour",
    "web": "runs until it is stopped",
}
WORDS_NOT_RUN = {
    "--jobs": "worker processes would digitize the page once more",
    "--server": "needs a Triton server",
    "|": "standard input: tests/client/test_stdin.py",
    ">>": "would write to the shell's own files",
    "~": "would write to the shell's own files",
    "report.pdf": "there is no such file",
}
PROGRAMS_NOT_RUN = {
    "cp": "the test lays out its folder itself",
    "curl": "fetches",
    "echo": "writes to the shell's own files",
    "make": "installs and builds",
    "pip": "installs",
    "python": "benchmarks take minutes",
    "scanimage": "needs a scanner",
    "source": "a builtin of the shell",
}
SYNOPSES = {
    "cardioscan repository --flavour onnxruntime|tensorrt|cpu -o served/ [--precision float16] [--link]": "a synopsis",
}
PLACES_NOT_THERE = {
    "data/pages": "measuring data, beside the repository",
    "benchmarks/results/": "made by the first benchmark that is run",
}


OURS = re.compile(r"(\w+=\S+ )*(cardioscan|make|python|pip)\b")
"""How a command line begins in a block that does not say what it is: diagrams, YAML and JavaScript are indented too."""


@dataclass(frozen=True)
class Block:
    """A code block: where it begins, and its text without indentation."""

    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path) -> Iterator[Block]:
    """Every fenced and every indented block of a document."""
    lines = path.read_text("utf-8").splitlines()
    place = 0
    while place < len(lines):
        fence = re.fullmatch(r"```(\w*)", lines[place])
        start = place + 1
        if fence:
            stop = lines.index("```", start)
            yield Block(relative(path), start + 1, fence[1], "\n".join(lines[start:stop]))
            place = stop + 1
        elif lines[place].startswith("    ") and (place == 0 or lines[place - 1] == ""):
            stop = place
            while stop < len(lines) and (lines[stop].startswith("    ") or lines[stop] == ""):
                stop += 1
            text = "\n".join(line[4:] for line in lines[place:stop]).rstrip()
            yield Block(relative(path), place + 1, "python" if is_python(text) else "", text)
            place = stop
        else:
            place += 1


def is_python(text: str) -> bool:
    try:
        tree = compile(text, "-", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError:
        return False
    # A lone name, as in `make`, is Python too.
    return any(not isinstance(node, ast.Expr) for node in ast.walk(tree) if isinstance(node, ast.stmt))


BLOCKS = [block for path in DOCUMENTS for block in blocks(path)]
PYTHON = [block for block in BLOCKS if block.language == "python"]


def shell_lines(text: str) -> Iterator[str]:
    """Command lines of a block, without comments; a backslash or an open quotation mark joins lines."""
    joined = ""
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        joined += line
        try:
            shlex.split(joined, comments=True)
        except ValueError:
            joined += "\n"
            continue
        without = re.sub(r"(^|\s)#\s.*$", "", joined).rstrip()
        joined = ""
        if without:
            yield without


def command_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Place and text of every command line in a document: of blocks, and between backticks in a sentence."""
    for block in blocks(path):
        if block.language not in ("python", ""):
            assert block.language == "sh", f"{block}: blocks are python or sh, not {block.language}"
        if block.language != "python":
            for line in shell_lines(block.text):
                if block.language == "sh" or OURS.match(line):
                    yield str(block), line
    prose = re.sub(r"(?ms)^```.*?^```$|^    .*?$", "", path.read_text("utf-8"))
    for code in re.findall(r"(?s)`([^`]+)`", prose):
        words = " ".join(code.split())
        if re.match(r"(cardioscan|make|python) \S|make$", words) and words not in SYNOPSES:
            yield relative(path), words


LINES = [(place, line) for path in DOCUMENTS for place, line in command_lines(path)]


def split(line: str) -> list[list[str]]:
    """Words of each command of a line: pipes and lists taken apart, variables before a command left out."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&<>()")
    lexer.whitespace_split = True
    commands: list[list[str]] = [[]]
    redirected = False
    for word in lexer:
        if word in ("|", "&&", "||", ";", "&", "(", ")"):
            commands.append([])
        elif word in (">", ">>", "<"):
            redirected = True
        elif redirected:
            redirected = False
        elif commands[-1] or not re.fullmatch(r"[A-Z_]+=.*", word):
            commands[-1].append(word)
    return [command for command in commands if command]


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


def test_what_is_checked_is_what_is_written() -> None:
    """The tables hold nothing that the documents do not, and the search for command lines finds them."""
    seen = {words[0] for _, line in LINES for words in split(line)}
    assert {"cardioscan", "make", "python", "pip"} <= seen
    assert len(LINES) > 100 and len(PYTHON) > 20
    assert set(SYNOPSES) <= {line for _, line in LINES}
    assert COMMANDS_NOT_RUN.keys() | set(COMMANDS_RUN) == main.commands.keys()
    assert set(PYTHON_NOT_RUN) | set(RUN) == {block.document for block in PYTHON}
    run = [line for block in BLOCKS if block.language == "sh" for line in shell_lines(block.text)]
    assert {block.document for block in BLOCKS if block.language == "sh"} <= set(RUN)
    assert set(PROGRAMS_NOT_RUN) == {split(line)[0][0] for line in run} - {"cardioscan"}
    assert [mark for mark in WORDS_NOT_RUN if not any(mark in line for line in run)] == []
    assert all(any(place in path.read_text("utf-8") for path in DOCUMENTS) for place in PLACES_NOT_THERE)


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


# --- links, anchors, paths


def slug(heading: str) -> str:
    """The anchor that a heading has on GitHub."""
    plain = re.sub(r"`|\*|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def prose(path: Path) -> str:
    return re.sub(r"(?ms)^```.*?^```$", "", path.read_text("utf-8"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        place = (path.parent / name).resolve() if name else path
        assert place.exists(), f"{target} is not there"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", place.read_text("utf-8"), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, f"{target}: no such heading"


def home(place: str) -> bool:
    """Whether a path of the documents exists: from the top, or within the folder of a package."""
    return any((ROOT / folder / place).exists() for folder in (".", "client", "export", "cardioscan"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_paths_exist(path: Path) -> None:
    tops = {item.name for item in ROOT.iterdir() if not item.name.startswith(".")}
    tops |= {"cardioscan_client", "cardioscan_export", "data", "node_modules"}
    found = re.findall(r"`([\w.-]+(?:/[\w.-]+)+/?)`", prose(path)) + re.findall(r"\bdocs/[\w/-]+\.md\b", prose(path))
    for place in found:
        parts = place.strip("/").split("/")
        # Results of a user, and placeholders such as NETWORK, are no files of ours.
        if parts[0] not in tops - {"out", "runs"} or any(part.isupper() for part in parts) or place in PLACES_NOT_THERE:
            continue
        assert home(place), f"{place} is not there"


# --- what documents must name


def table_codes(document: str, heading: str) -> list[str]:
    text = (ROOT / "docs" / document).read_text("utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE)


def test_the_table_of_reasons_is_whole() -> None:
    assert table_codes("limits.md", "When a page is refused") == [code.value for code in RefusalCode]


def test_every_format_and_every_command_has_its_line() -> None:
    formats = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "formats.md").read_text("utf-8").split("\n## ")[0], re.M)
    assert formats == list(format_names())
    commands = re.findall(
        r"^\| `([\w-]+)` \|", (ROOT / "docs" / "command-line.md").read_text("utf-8").split("\n## ")[0], re.M
    )
    assert sorted(commands) == sorted(main.commands)


def test_readme_leads_to_every_document() -> None:
    linked = set(re.findall(r"\]\((docs/[\w/-]+\.md)\)", (ROOT / "README.md").read_text("utf-8")))
    assert linked >= {relative(path) for path in DOCUMENTS} - {"README.md"}


# --- code that is run


@pytest.mark.parametrize("block", [block for block in PYTHON if block.document not in RUN], ids=str)
def test_code_that_is_not_run_names_what_exists(block: Block) -> None:
    """Its imports; and the document is in the table that says why it is not run."""
    assert PYTHON_NOT_RUN[block.document]
    for node in ast.walk(compile(block.text, "-", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0].startswith("cardioscan"):
            module = importlib.import_module(str(node.module))
            missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            assert missing == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder as the documents have it; a page is digitized once, whoever asks for it."""
    for package in ("pandas", "wfdb", "pyarrow", "edfio", "pydicom", "matplotlib", "jinja2"):
        pytest.importorskip(package, reason=f"the documents use {package} (extras 'formats' and 'plot')")
    if any(find_model_file(name, missing_ok=True) is None for name in SPECS):
        pytest.skip("needs the released networks in model_repository")
    from cardioscan.pipeline import Digitizer

    place = tmp_path_factory.mktemp("documents")
    shutil.copy(ROOT / "examples" / "page-photo.jpg", place / "page.jpg")
    (place / "truth").mkdir()
    with np.load(ROOT / "examples" / "page-photo.npz") as truth:
        np.savez(place / "truth" / "page.npz", **{key: truth[key] for key in truth if key != "names"}, names=["page"])
    real, done = Digitizer.digitize_with_details, {}

    def once(self: Digitizer, source: Any, page: int = 0, **options: Any) -> Any:
        key = hashlib.sha256(Path(source).read_bytes()).hexdigest()
        if key not in done:
            done[key] = real(self, source, page, **options)
        return done[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Digitizer, "digitize_with_details", once)
        patch.chdir(place)
        yield place


def run_line(line: str) -> None:
    """Run a line of a shell block in this process, or leave it for a reason that a table gives."""
    words = split(line)[0]
    if words[0] != "cardioscan":
        assert words[0] in PROGRAMS_NOT_RUN, f"{words[0]}: neither run nor in the table of what is not"
        return
    if words[1] in COMMANDS_NOT_RUN or any(mark in line for mark in WORDS_NOT_RUN):
        return
    assert words[1] in COMMANDS_RUN, words[1]
    result = CliRunner().invoke(main, words[1:])
    assert result.exit_code == 0, f"{line}: {result.output}"
    written = re.search(r"(?<!>)> (\S+)$", line)
    if written:
        Path(written[1]).write_text(result.stdout)


def run_python(block: Block, namespace: dict[str, Any]) -> None:
    """Run a block; an expression with ``# -> value`` behind it must have that value."""
    lines = block.text.splitlines()
    for node in ast.parse(block.text).body:
        promised = re.search(r"# -> (.*)$", lines[(node.end_lineno or 1) - 1])
        code = ast.Module([node], [])
        if isinstance(node, ast.Expr) and promised:
            value = eval(compile(ast.Expression(node.value), str(block), "eval"), namespace)
            assert repr(value) == promised[1], f"{block}: {ast.unparse(node)}"
        else:
            assert not promised, f"{block}: only an expression has a value"
            exec(compile(code, str(block), "exec"), namespace)


@pytest.mark.parametrize("document", RUN)
def test_documents_run(document: str, folder: Path) -> None:
    """All blocks of a document, one after the other."""
    namespace: dict[str, Any] = {}
    if document == "docs/formats.md":
        namespace["cardioscan"] = importlib.import_module("cardioscan")
        record = namespace["cardioscan"].Digitizer().digitize("page.jpg")
        record.write("out", format_names())
    for block in (block for block in BLOCKS if block.document == document):
        if block.language == "sh":
            for line in shell_lines(block.text):
                run_line(line)
        elif block.language == "python":
            namespace.pop("signals", None)
            run_python(block, namespace)
            if document == "docs/formats.md" and "signals" in namespace:
                expected = read_signals("out/page.npz").signals
                np.testing.assert_allclose(namespace["signals"], expected, atol=0.00051, err_msg=str(block))
