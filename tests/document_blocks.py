"""README and docs taken apart: their code blocks, their command lines, and the words of these.

Blocks are fenced (``python``, ``sh``) or, in older documents, indented by four spaces; an indented block that Python
can parse is Python, and of any other one the lines that begin with a program of ours are looked at.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
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
