"""The code in README and docs runs.

An expression with ``# -> value`` behind it must have that value. Whatever is only looked at, and not run, stands in a
table below with the reason why.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from cardioscan.backends.specs import SPECS, find_model_file
from cardioscan.formats import format_names, read_signals, write_record
from cardioscan_client.cli import main
from tests.document_blocks import (
    BLOCKS,
    DOCUMENTS,
    LINES,
    PLACES_NOT_THERE,
    PYTHON,
    ROOT,
    SYNOPSES,
    Block,
    shell_lines,
    split,
)

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
        write_record(record, "out", format_names())
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
