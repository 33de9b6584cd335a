"""What the digitizer answers today, as hashes: two runs on one machine tell whether a change has changed any answer.

python -m benchmarks.answers --name before
python -m benchmarks.answers --name after --against before
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from benchmarks.accuracy import renderings
from benchmarks.common import RESULTS, ROOT, data_option, report, signals_of
from cardioscan import Digitization, Digitizer, DigitizerOptions
from cardioscan.synthesis.recipes import RECIPES

RENDERED = 12
PICTURES = (".jpg", ".png")


def pages(data: Path) -> Iterator[tuple[str, Path | NDArray[np.uint8]]]:
    """Photographs and pages of the data folder, the example, and rendered pages of every recipe in turn."""
    folders = [data / "photos", data / "pages", ROOT / "examples"]
    for folder in folders:
        for path in sorted(path for path in folder.glob("*") if path.suffix in PICTURES):
            yield f"{folder.name}/{path.name}", path
    signals = signals_of(data)
    recipes = list(RECIPES)
    for index in range(RENDERED):
        recipe, first = recipes[index % len(recipes)], index // len(recipes)
        name, rendered = next(iter(renderings(recipe, 1, signals, seed=21, first=first)))
        yield f"rendered/{index:02d}-{name}", rendered.image


def digest(*parts: bytes) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of all parts."""
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def answer_of(details: Digitization, source: Path | NDArray[np.uint8]) -> dict[str, str]:
    """Hashes of the picture, the signals, their confidence and their traces, and the outcome with its reason codes."""
    record, traces = details.record, sorted(details.traces.items())
    picture = source.read_bytes() if isinstance(source, Path) else np.ascontiguousarray(source).tobytes()
    return {
        "picture": digest(picture),
        "signals": digest(np.ascontiguousarray(record.signals, np.float64).tobytes()),
        "confidence": digest(np.ascontiguousarray(record.confidence, np.float32).tobytes()),
        "traces": digest(*(part for name, trace in traces for part in (name.encode(), trace.tobytes()))),
        "outcome": " ".join([record.outcome.value, *(str(reason.code) for reason in record.reasons)]),
    }


def differences(now: Mapping[str, Mapping[str, Any]], before: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One line for every page that differs, or that only one of two runs has."""
    lines = []
    for name in sorted(now.keys() | before.keys()):
        if name not in now or name not in before:
            lines.append(f"{name}: only {'before' if name in before else 'now'}")
            continue
        changed = [key for key in now[name] if now[name][key] != before[name].get(key)]
        if changed:
            lines.append(f"{name}: {', '.join(changed)}")
    return lines


@click.command()
@data_option
@click.option("--name", default="answers", help="Name of the result file.")
@click.option("--against", help="Name of the result file of an earlier run to compare with.")
@click.option("--only", default="", help="Only pages whose name contains this.")
def main(data: Path, name: str, against: str | None, only: str) -> None:
    """Digitize a fixed set of pages and write hashes of what comes out; exit with 1 where it differs from AGAINST."""
    digitizer = Digitizer(options=DigitizerOptions())
    answers = {
        page: answer_of(digitizer.digitize_with_details(source), source)
        for page, source in track(list(pages(data)), "pages")
        if only in page
    }
    report(name, "Answers", [{"page": page, **answer} for page, answer in answers.items()])
    if against is not None:
        rows = json.loads((RESULTS / f"{against}.json").read_text(encoding="utf-8"))["rows"]
        before = {row.pop("page"): row for row in rows}
        lines = differences(answers, {page: row for page, row in before.items() if only in page})
        click.echo("\n".join(lines) or f"all {len(answers)} answers as in {against}")
        if lines:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
