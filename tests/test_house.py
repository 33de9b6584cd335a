"""The house rules: imports run one way, heavy packages stay out until they are needed, extras exist."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "cardioscan": ROOT / "cardioscan",
    "cardioscan_client": ROOT / "client" / "cardioscan_client",
    "cardioscan_export": ROOT / "export" / "cardioscan_export",
}
MAY_IMPORT = {
    "cardioscan": {"cardioscan"},
    "cardioscan_client": {"cardioscan", "cardioscan_client", "cardioscan_export"},
    "cardioscan_export": {"cardioscan", "cardioscan_export"},
}
# The rooms of the core, from the ground up: each may import what stands before it, and nothing else.
FLOORS = (
    ("arrays", "errors"),
    ("page",),
    ("record",),
    ("imaging",),
    ("backends",),
    ("options", "stopwatch"),
    ("locate",),
    ("flatten",),
    ("layout",),
    ("waveform",),
    ("postprocess", "sources"),
    ("stages",),
    ("pipeline", "plots"),
    ("formats",),
    ("evaluate",),
    ("networks", "synthesis"),
    ("training",),
    ("__init__",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
LONGEST_FILE = 400
# The parts that draw and train: they may need whatever the extra `train` installs.
WITH_TORCH = {"cardioscan/networks", "cardioscan/training"}
# The gRPC service: nothing outside of it imports it before it is used.
WITH_GRPC = {"client/cardioscan_client/gateway"}
HEAVY = {"torch", "torchvision", "timm", "onnx", "onnxscript", "grpc", "tritonclient"}
SOURCES = sorted(path for folder in PACKAGES.values() for path in folder.rglob("*.py"))


def imports(tree: ast.AST, *, at_import_only: bool) -> Iterator[str]:
    """Modules named by import statements; with ``at_import_only`` those that run when the module is imported."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            yield node.module or ""
        elif at_import_only and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        elif at_import_only and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from imports(ast.Module(node.orelse, []), at_import_only=True)
        else:
            yield from imports(node, at_import_only=at_import_only)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_run_one_way(path: Path) -> None:
    package = next(name for name, folder in PACKAGES.items() if folder in path.parents)
    ours = {name.split(".")[0] for name in imports(ast.parse(path.read_text("utf-8")), at_import_only=False)}
    assert ours & (PACKAGES.keys() | {"benchmarks", "tests"}) <= MAY_IMPORT[package]


def core_modules() -> dict[str, Path]:
    return {module_name(path): path for path in PACKAGES["cardioscan"].rglob("*.py")}


def core_imports(path: Path) -> set[str]:
    """The modules of the core that a file names anywhere, in functions and under TYPE_CHECKING too."""
    modules, found = core_modules(), set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.split(".")[0] == "cardioscan":
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & modules.keys()
            found |= inner or {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "cardioscan"}
    return found


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def test_every_room_has_its_floor() -> None:
    assert {room_of(module) for module in core_modules()} == FLOOR.keys()


@pytest.mark.parametrize("path", sorted(PACKAGES["cardioscan"].rglob("*.py")), ids=relative)
def test_rooms_import_what_stands_below_them(path: Path) -> None:
    here = room_of(module_name(path))
    others = {room_of(module) for module in core_imports(path)} - {here}
    assert {room for room in others if FLOOR[room] >= FLOOR[here]} == set()


def test_no_modules_import_each_other_in_a_circle() -> None:
    waiting = {module: core_imports(path) - {module} for module, path in core_modules().items()}
    while free := {module for module, needs in waiting.items() if not needs & waiting.keys()}:
        waiting = {module: needs for module, needs in waiting.items() if module not in free}
    assert waiting == {}


def code_files() -> list[Path]:
    folders = ["benchmarks", "cardioscan", "client", "docs", "examples", "export", "tests"]
    written = (
        path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".js", ".md"}
    )
    generated = ROOT / "client" / "cardioscan_client" / "gateway" / "v1"
    return sorted(path for path in written if generated not in path.parents and "node_modules" not in path.parts)


def test_files_stay_small() -> None:
    lengths = {relative(path): len(path.read_text("utf-8").splitlines()) for path in code_files()}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_no_page_is_a_default() -> None:
    """Neither a page, a sheet, a layout nor a scale stands for an argument that nobody gave."""
    pages = {"REFERENCE_PAGE", "NAME_PLACES", "RECTIFIER_WINDOW", "EXTRACTION_PLACES", "find_layout", "Scale", "Layout"}
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                defaults = [value for value in (*node.args.defaults, *node.args.kw_defaults) if value is not None]
                names = {part.id for value in defaults for part in ast.walk(value) if isinstance(part, ast.Name)}
                found += [f"{relative(path)}:{node.lineno}"] if names & pages else []
    assert found == []


def test_the_client_knows_the_export_by_its_commands_only() -> None:
    """Those that write or check networks, and ``serve``, which writes what it serves; and they import it when run."""

    def users(*, at_import_only: bool) -> set[str]:
        found = {
            path: imports(ast.parse(path.read_text("utf-8")), at_import_only=at_import_only)
            for path in PACKAGES["cardioscan_client"].rglob("*.py")
        }
        return {
            path.relative_to(PACKAGES["cardioscan_client"]).as_posix()
            for path, names in found.items()
            if any(name.startswith("cardioscan_export") for name in names)
        }

    commands = {"calibrate", "export", "lint_models", "repository", "serve"}
    assert users(at_import_only=False) == {f"commands/{name}.py" for name in commands}
    assert users(at_import_only=True) == set()


HEAVY_FOLDERS = WITH_TORCH | WITH_GRPC
LIGHT = [path for path in SOURCES if not any(relative(path).startswith(folder + "/") for folder in HEAVY_FOLDERS)]
LIGHT = [path for path in LIGHT if PACKAGES["cardioscan_export"] not in path.parents]


@pytest.mark.parametrize("path", LIGHT, ids=relative)
def test_heavy_packages_are_imported_inside_functions(path: Path) -> None:
    names = {name.split(".")[0] for name in imports(ast.parse(path.read_text("utf-8")), at_import_only=True)}
    assert not names & HEAVY


def run_python(code: str) -> str:
    places = os.pathsep.join(str(folder.parent) for folder in PACKAGES.values())
    environment = {**os.environ, "PYTHONPATH": places}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def module_name(path: Path) -> str:
    package = next(name for name, folder in PACKAGES.items() if folder in path.parents)
    parts = path.relative_to(PACKAGES[package].parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_light_module_loads_a_heavy_package() -> None:
    modules = [module_name(path) for path in LIGHT if path.name != "__main__.py"]
    loaded = run_python(
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        f"print(*sorted({HEAVY!r} & sys.modules.keys()))"
    )
    assert loaded == ""


@pytest.mark.parametrize("module", ["cardioscan", "cardioscan_client.cli"])
def test_first_imports_are_light(module: str) -> None:
    """``import cardioscan`` and ``cardioscan --help`` wait for no array library."""
    loaded = run_python(
        f"import sys, {module}\nprint(*sorted({{'numpy', 'cv2', 'scipy', 'rich', 'onnxruntime'}} & sys.modules.keys()))"
    )
    assert loaded == ""


def test_networks_can_be_opened_before_the_stages_are_imported() -> None:
    """SciPy takes half a second to import, and what is needed at the end of a page as long again."""
    begun = run_python(
        "import sys\n"
        "from cardioscan.pipeline import Digitizer\n"
        "from cardioscan_client.batch import run_batch\n"
        "Digitizer()\n"
        "print(*{name.split('.')[0] for name in sys.modules} & {'scipy', 'onnxruntime', 'openvino'})"
    )
    assert begun == ""
    stages = run_python("import sys, cardioscan.stages\nprint('scipy.signal' in sys.modules)")
    assert stages == "False"


def test_public_names_exist() -> None:
    import cardioscan

    for name in cardioscan.__all__:
        assert getattr(cardioscan, name) is not None, name
    assert set(cardioscan.__all__) <= set(dir(cardioscan))
    assert cardioscan.EcgRecord.__module__ == "cardioscan.record"


def test_unknown_names_are_attribute_errors() -> None:
    import cardioscan

    with pytest.raises(AttributeError, match="no attribute 'digitise'"):
        _ = cardioscan.digitise


def test_errors_name_extras_that_exist() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    section = text.split("[project.optional-dependencies]")[1].split("\n[")[0]
    extras = set(re.findall(r"^(\w+) =", section, re.MULTILINE))
    named = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"MissingDependencyError", "require"}:
                if isinstance(node.args[1], ast.Constant):
                    named.add((relative(path), node.args[1].value))
    assert named
    assert {(path, extra) for path, extra in named if extra not in extras} == set()
