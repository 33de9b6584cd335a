"""What a page costs outside the networks: they answer from memory, in the order in which they were asked.

python -m benchmarks.outside -n 3 [page.jpg ...]
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.common import ROOT, data_option, report
from cardioscan import Digitizer, DigitizerOptions
from cardioscan.backends.inference import InferenceBackend, OnnxBackend, Tensors
from cardioscan.backends.threads import use_one_picture_thread
from cardioscan.options import PROFILES

_NETWORKS = ("source_classifier", "label_detector", "grid_rectifier", "waveform_extractor")


@dataclass(eq=False)
class ReplayingBackend:
    """Passes questions on the first time, and answers the same sequence of questions from memory afterwards.

    The question itself is not looked at, which would cost time: whoever replays must ask the same again.
    """

    backend: InferenceBackend
    answers: list[tuple[str, dict[str, NDArray[Any]]]] = field(default_factory=list)
    place: int | None = None

    def replay(self) -> None:
        """Begin again with the first answer."""
        self.place = 0

    def infer(self, model: str, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """The network's answer, from memory after ``replay``; LookupError where another question came then."""
        if self.place is None:
            self.answers.append((model, dict(self.backend.infer(model, inputs))))
            return self.answers[-1][1]
        if self.place == len(self.answers) or self.answers[self.place][0] != model:
            raise LookupError(f"question {self.place + 1} was not about {model} the first time")
        self.place += 1
        return self.answers[self.place - 1][1]

    def model_versions(self) -> Mapping[str, tuple[str, str]]:
        """Those of the backend behind it."""
        return self.backend.model_versions()


def measure_outside(source: Path, networks: InferenceBackend, options: DigitizerOptions, count: int) -> dict[str, Any]:
    """Least CPU and wall seconds of ``count`` digitizations of a page with the networks' answers at hand."""
    backend = ReplayingBackend(networks)
    digitizer = Digitizer(backend, options)
    outcome = digitizer.digitize(source).outcome.value
    busy, passed, stages = [], [], []
    for _ in range(count):
        backend.replay()
        processor, started = time.process_time(), time.perf_counter()
        record = digitizer.digitize(source)
        busy.append(time.process_time() - processor)
        passed.append(time.perf_counter() - started)
        stages.append(record.timings_s)
        if record.outcome.value != outcome:
            raise click.ClickException(f"{source.name}: {outcome} at first, then {record.reasons}")
    quickest = stages[int(np.argmin(passed))]
    return {
        "page": source.stem,
        "outcome": outcome,
        "threads": cv2.getNumThreads(),
        "CPU s": min(busy),
        "s": min(passed),
        **{stage: seconds for stage, seconds in quickest.items() if stage not in _NETWORKS},
    }


@click.command()
@click.argument("images", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-n", "count", default=3, help="Digitizations of each page, of which the quickest counts.")
@click.option("--profile", type=click.Choice(list(PROFILES)), default="balanced", help="Profile of the digitizer.")
@click.option("--threads", default=1, help="Threads of OpenCV; with more than one they wait for each other busily.")
@data_option
def main(images: tuple[Path, ...], count: int, profile: str, threads: int, data: Path) -> None:
    """Measure pages (the example, two photographs and a black-and-white scan if none are named) and print the table."""
    default = [ROOT / "examples" / "page-photo.jpg", *sorted((data / "photos").glob("*.jpg"))[:2]]
    pages = images or (*default, *sorted((data / "pages").glob("*-0004.png"))[:1])
    options = DigitizerOptions.of_profile(profile)
    networks = OnnxBackend(options.models, engine=options.engine, arithmetic=options.arithmetic)
    use_one_picture_thread()  # what is set afterwards stays
    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        rows = [measure_outside(page, networks, options, count) for page in pages]
    finally:
        cv2.setNumThreads(before)
    mean = {"page": "mean", "outcome": "", "threads": threads}
    mean |= {name: float(np.mean([row[name] for row in rows])) for name in rows[0] if name not in mean}
    report("outside", f"A page outside the networks, seconds, {profile}", [*rows, mean])


if __name__ == "__main__":
    main()
