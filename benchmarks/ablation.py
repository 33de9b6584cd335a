"""What each option of the pipeline is worth: every one changed alone, against the defaults, on the same pages.

python -m benchmarks.ablation --sets clean,photos -n 10

Networks are asked once for the same input: variants that change only what comes after a network share its answer, and
the time that the first asking took is counted for each of them. On a machine that does other work too, only the ratio
of processor times says anything.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import click
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from benchmarks.accuracy import Page, photographs, rendered_pages
from benchmarks.common import data_option, report, signals_of
from cardioscan import Digitizer, DigitizerOptions, EcgRecord
from cardioscan.arrays import Floats
from cardioscan.backends.inference import InferenceBackend, OnnxBackend, Tensors
from cardioscan.backends.specs import NAME_PLACES, RECTIFIER_WINDOW, SPECS
from cardioscan.errors import PageRefusedError
from cardioscan.evaluate.measure import PageScore, SetScore, compare
from cardioscan.flatten.window import warp_to_window, window_matrix
from cardioscan.imaging.images import load_image
from cardioscan.locate.locate import locate
from cardioscan.options import PROFILES
from cardioscan.page.read_page import ReadPage
from cardioscan.record import finite_or_none
from cardioscan.synthesis.recipes import RECIPES
from cardioscan.waveform.pen import Stroke, undo_pen


@dataclass(frozen=True)
class Variant:
    """One change of the pipeline.

    Attributes:
        options: fields of ``DigitizerOptions`` that differ from the default.
        constants: what stands in a module in place of what is there, by ``module:name``.
        window_scale: with a number, the picture is warped to the grid rectifier's window first, at so many px for a px
            of that window, and everything is read from there: two warps.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    window_scale: float | None = None


def middle_of_stroke(stroke: Stroke, radius: float) -> tuple[Floats, Floats, Floats]:
    """Stands in for ``undo_pen``: the middle of the stroke's edges, the pen left as it is."""
    x, _, torn = undo_pen(stroke, radius)
    seen = np.flatnonzero(np.isfinite(stroke.top))
    return x, np.interp(x, seen, stroke.centre[seen]), torn


def no_outline(image: NDArray[np.uint8]) -> None:
    """Stands in for ``find_outline``: no sheet is straightened."""


def no_bars(pixels: NDArray[np.uint8], page: ReadPage) -> Floats:
    """Stands in for ``measure_bars``: no bar is seen."""
    return np.full(0 if page.bars is None else len(page.bars.x), np.nan)


DEFAULT: Final = "default"
_ROUNDS: Final = "cardioscan.waveform.fit:ROUNDS"
_CONTRAST: Final = "cardioscan.waveform.pen:CONTRAST_PX"
VARIANTS: Final[Mapping[str, Variant]] = {
    DEFAULT: Variant(),
    "source_aware on": Variant({"source_aware": True}),
    "straightening off": Variant(constants={"cardioscan.locate.search:find_outline": no_outline}),
    "single lines off": Variant({"line_rounds": (0, 0)}),
    "lines only with the ink known": Variant({"line_rounds": (0, 2)}),
    "lines only before": Variant({"line_rounds": (2, 0)}),
    "lines not faded": Variant(constants={"cardioscan.waveform.extraction:FADING": (0.0, 0.0)}),
    "bars off": Variant(constants={"cardioscan.layout.rows:measure_bars": no_bars}),
    "crossing off": Variant({"crossing": False}),
    "profile fast": Variant(PROFILES["fast"]),
    "second_look off": Variant({"second_look": False}),
    "two warps": Variant(window_scale=1.0),
    "two warps at full size": Variant(window_scale=1 / RECTIFIER_WINDOW.scale),
    "pen not undone": Variant(constants={_ROUNDS: 0, "cardioscan.waveform.heights:undo_pen": middle_of_stroke}),
    "pen by discs alone": Variant(constants={_ROUNDS: 0}),
    "contrast over 3 px": Variant(constants={_CONTRAST: 3}),
    "contrast over 9 px": Variant(constants={_CONTRAST: 9}),
    "einthoven off": Variant({"einthoven": False}),
    "savitzky_golay on": Variant({"savitzky_golay": True}),
}
"""The defaults: a second look where nothing else tells ink from lines, one warp, five rounds of the fit, contrast over
5 px."""


def now() -> Floats:
    """(2,) seconds: the clock on the wall, and the processor time of this process over all its threads."""
    return np.array([time.perf_counter(), time.process_time()])


class RememberingBackend:
    """An inference backend that asks another one only once for the same input.

    Attributes:
        saved: (2,) seconds as of :func:`now` that asking again would have taken; who measures time adds them.
    """

    def __init__(self, backend: InferenceBackend) -> None:
        self._backend = backend
        self._answers: dict[str, tuple[dict[str, NDArray[Any]], Floats]] = {}
        self.saved = np.zeros(2)

    def infer(self, model: str, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """The answer to this input, remembered or new."""
        digest = hashlib.sha1(model.encode())
        for name, array in inputs.items():
            digest.update(f"{name}{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        key = digest.hexdigest()
        if key in self._answers:
            answer, seconds = self._answers[key]
            self.saved = self.saved + seconds
            return dict(answer)
        started = now()
        answer = self._backend.infer(model, inputs)
        for array in answer.values():
            array.flags.writeable = False  # it is handed out again
        self._answers[key] = (answer, now() - started)
        return dict(answer)

    def model_versions(self) -> dict[str, tuple[str, str]]:
        """Those of the backend that is asked."""
        return self._backend.model_versions()

    def warm_up(self) -> None:
        """Open every network, so that no page's time holds it."""
        for name, spec in SPECS.items():
            self._backend.infer(name, {t.name: np.zeros((1, *t.shape), t.dtype) for t in spec.inputs})

    def forget(self) -> None:
        """Drop all answers: the next page is another one."""
        self._answers.clear()


@contextmanager
def changed(variant: Variant) -> Iterator[None]:
    """Let the pipeline find the variant's constants."""
    with ExitStack() as changes:
        for place, value in variant.constants.items():
            module, name = place.split(":")
            changes.enter_context(patch.object(import_module(module), name, value))
        yield


def picture_in_window(image: NDArray[np.uint8], backend: InferenceBackend, scale: float) -> NDArray[np.uint8] | None:
    """A picture warped to the rectifier's window enlarged ``scale`` times; None where no page is found in it.

    It is digitized as a picture of its own: what two warps lose is resolution and a second interpolation.
    """
    try:
        located = locate(image, backend, NAME_PLACES)
    except PageRefusedError:
        return None
    window = RECTIFIER_WINDOW
    larger = replace(
        window,
        width=round(window.width * scale),
        height=round(window.height * scale),
        scale=window.scale * scale,
        offset_x=window.offset_x * scale,
        offset_y=window.offset_y * scale,
    )
    return warp_to_window(image, window_matrix(located.homography, larger), larger)


def digitize(backend: RememberingBackend, options: DigitizerOptions, variant: Variant, page: Page) -> EcgRecord:
    """Digitize a page as a variant does."""
    digitizer = Digitizer(backend, replace(options, **variant.options))
    source = page.source
    if variant.window_scale is not None:
        image = np.asarray(load_image(source, 0, options.limits).pixels)
        picture = picture_in_window(image, backend, variant.window_scale)
        source = source if picture is None else picture
    with changed(variant):
        return digitizer.digitize(source)


@dataclass
class Measured:
    """Scores and seconds (2,) of one variant, page by page."""

    scores: list[PageScore] = field(default_factory=list)
    seconds: list[Floats] = field(default_factory=list)


def variant_rows(name: str, measured: Mapping[str, Measured]) -> list[dict[str, object]]:
    """One line per variant of a set; the default must be among them."""
    default = measured[DEFAULT]
    default_db = SetScore.from_pages(default.scores).snr_db
    rows: list[dict[str, object]] = []
    for variant, result in measured.items():
        total = SetScore.from_pages(result.scores)
        wall, cpu = np.sum(result.seconds, axis=0) / np.sum(default.seconds, axis=0)
        rows.append(
            {
                "set": name,
                "variant": variant,
                "pages": total.n_pages,
                "digitized": sum(score.digitized for score in result.scores),
                "score dB": finite_or_none(total.snr_db),
                "against default": finite_or_none(total.snr_db - default_db),
                "median dB": finite_or_none(total.median_db),
                "p10 dB": finite_or_none(total.percentile_10_db),
                "time ratio": float(wall),
                "CPU ratio": float(cpu),
            }
        )
    return rows


def measure(
    pages: Iterator[Page] | Sequence[Page], variants: Sequence[str], backend: RememberingBackend, base: DigitizerOptions
) -> Iterator[tuple[Page, dict[str, tuple[PageScore, Floats]]]]:
    """Score and seconds (2,) of every variant on every page, page by page."""
    for page in pages:
        results = {}
        for name in variants:
            started, saved = now(), backend.saved
            record = digitize(backend, base, VARIANTS[name], page)
            seconds = now() - started + backend.saved - saved
            results[name] = (compare(np.array(record.signals), page.truth), seconds)
        backend.forget()
        yield page, results


def chosen_variants(names: str | None) -> list[str]:
    """The names of ``--variants``, the default first; all without it. Raises ``click.UsageError`` for unknown ones."""
    wanted = list(VARIANTS) if names is None else [name.strip() for name in names.split(",")]
    unknown = [name for name in wanted if name not in VARIANTS]
    if unknown:
        raise click.UsageError(f"unknown variant '{unknown[0]}'; known are {', '.join(VARIANTS)}")
    return list(dict.fromkeys([DEFAULT, *wanted]))


@click.command()
@data_option
@click.option("--sets", default="clean,photos", help=f"Of: photos, {', '.join(RECIPES)}; comma-separated.")
@click.option("-n", "count", default=10, help="Rendered pages per recipe.")
@click.option("--photos", type=int, help="Only so many photographs; all without it.")
@click.option("--variants", help="Only these beside the default, comma-separated.")
@click.option("--models", type=click.Path(path_type=Path), help="Another model repository.")
@click.option("--threads", default=0, help="Threads of the networks; 0 uses all cores.")
@click.option("--name", default="ablation", help="Name of the result files.")
def main(
    data: Path,
    sets: str,
    count: int,
    photos: int | None,
    variants: str | None,
    models: Path | None,
    threads: int,
    name: str,
) -> None:
    """Measure what each option is worth and print the table."""
    names = chosen_variants(variants)
    backend = RememberingBackend(OnnxBackend(models, threads))
    backend.warm_up()
    table: list[dict[str, object]] = []
    details: list[dict[str, object]] = []
    for chosen in sets.split(","):
        shots = list(photographs(data))[:photos] if chosen == "photos" else []
        pages = shots or rendered_pages(chosen, count, signals_of(data))
        measured = {variant: Measured() for variant in names}
        for page, results in track(
            measure(pages, names, backend, DigitizerOptions()), chosen, total=len(shots) or count
        ):
            for variant, (score, seconds) in results.items():
                measured[variant].scores.append(score)
                measured[variant].seconds.append(seconds)
                wall, cpu = seconds.tolist()
                decibels = finite_or_none(score.snr_db)
                details.append({"page": page.name, "variant": variant, "dB": decibels, "s": wall, "CPU s": cpu})
        table += variant_rows(chosen, measured)
    report(f"{name}-by-page", "Every variant by page", details)
    report(name, "One option changed at a time", table)


if __name__ == "__main__":
    main()
