"""What the benchmarks share: tables, results and the shared data's place."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SHARED_DATA = ROOT.parent / "shared" / "data"
SIGNALS = SHARED_DATA / "signals" / "ptbxl_fold10_train.npz"


def data_option(function: Any) -> Any:
    """The option ``--data`` with the shared data as its default."""
    return click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        default=SHARED_DATA,
        help="Folder with signals/, photos/ and pages/.",
    )(function)


arithmetic_option = click.option(
    "--arithmetic", type=click.Choice(["auto", "int8", "float", "float32"]), help="Arithmetic other than the profile's."
)
"""The option ``--arithmetic`` of the benchmarks that digitize; None leaves it to the profile."""


def signals_of(data: Path) -> str | None:
    """The signal archive of a data folder, or None for the simulator where there is none."""
    path = data / "signals" / SIGNALS.name
    return str(path) if path.is_file() else None


def report(name: str, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as a table and write them to ``benchmarks/results/<name>.json``."""
    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column, justify="left" if isinstance(rows[0][column], str) else "right")
    for row in rows:
        table.add_row(*(_shown(value) for value in row.values()))
    Console(width=140).print(table)
    RESULTS.mkdir(parents=True, exist_ok=True)
    content = {"title": title, "machine": platform.machine(), "python": platform.python_version(), "rows": list(rows)}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
