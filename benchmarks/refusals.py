"""Whether pictures that are no standard 12-lead page are refused: the kinds of ``benchmarks.refusal_set``.

python -m benchmarks.refusals -n 60
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import mean_confidence
from benchmarks.common import report
from benchmarks.refusal_set import DISTRACTORS
from cardioscan import Digitizer, DigitizerOptions, EcgRecord, Outcome

Row = dict[str, object]


def kind_of(index: int) -> str:
    """The kind of the picture with this number: the kinds take turns."""
    kinds = list(DISTRACTORS)
    return kinds[index % len(kinds)]


def draw(index: int, seed: int) -> NDArray[np.uint8]:
    """The picture with this number, (H, W, 3) uint8 RGB."""
    return DISTRACTORS[kind_of(index)](np.random.default_rng([seed, index]))


def picture_row(index: int, record: EcgRecord) -> Row:
    """What became of one picture, and what the stages had found when it was decided."""
    found = record.diagnostics
    return {
        "picture": f"{index:03d}-{kind_of(index)}",
        "outcome": record.outcome.value,
        "reason": record.reasons[0].code if record.reasons else "",
        "confidence": mean_confidence(record),
        "labels_found": found.get("labels_found"),
        "alignment_score": found.get("alignment_score"),
        "lattice_score": found.get("lattice_score"),
    }


def kind_rows(rows: Sequence[Row]) -> list[Row]:
    """One line per kind: pictures, how many were refused, and for which reasons."""
    table: list[Row] = []
    for kind in DISTRACTORS:
        mine = [row for row in rows if str(row["picture"]).split("-", 1)[1] == kind]
        reasons = Counter(str(row["reason"]) for row in mine if row["reason"])
        if mine:
            told = ", ".join(f"{code} {count}" for code, count in reasons.most_common())
            table.append({"kind": kind, "pictures": len(mine), "refused": sum(reasons.values()), "reasons": told})
    table.append(
        {"kind": "all", "pictures": len(rows), "refused": sum(bool(row["reason"]) for row in rows), "reasons": ""}
    )
    return table


@click.command()
@click.option("-n", "count", default=60, help="Pictures; the kinds take turns.")
@click.option("--seed", default=5, help="Another seed draws other pictures.")
@click.option("--only", help="Only these kinds, comma-separated.")
@click.option("--pictures", type=click.Path(path_type=Path), help="Write the pictures that were not refused here.")
@click.option("--models", type=click.Path(path_type=Path), help="Another model repository.")
@click.option("--threads", default=0, help="Threads of the networks; 0 uses all cores.")
def main(count: int, seed: int, only: str | None, pictures: Path | None, models: Path | None, threads: int) -> None:
    """Digitize pictures that must be refused and print which were."""
    digitizer = Digitizer(options=DigitizerOptions(models=models, threads=threads))
    rows: list[Row] = []
    for index in range(count):
        if only and kind_of(index) not in only.split(","):
            continue
        picture = draw(index, seed)
        record = digitizer.digitize(picture)
        rows.append(picture_row(index, record))
        click.echo("  ".join(str(value) for value in rows[-1].values()))  # a run takes minutes: tell as it goes
        if pictures is not None and record.outcome is not Outcome.REFUSED:
            pictures.mkdir(parents=True, exist_ok=True)
            name = f"{rows[-1]['picture']}.png"
            cv2.imwrite(str(pictures / name), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not rows:
        raise click.UsageError(f"no such kind; known are {', '.join(DISTRACTORS)}")
    report("refusals-by-picture", "Every picture", rows)
    failures = [row for row in rows if row["outcome"] != Outcome.REFUSED.value]
    if failures:
        report("refusals-failed", "Not refused", failures)
    report("refusals", "Refused", kind_rows(rows))


if __name__ == "__main__":
    main()
