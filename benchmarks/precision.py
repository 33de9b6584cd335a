"""What computing in float16 costs: tensors and decibels of the float16 variants against the released networks.

python -m benchmarks.precision --sets clean,phone_photo,bw_scan -n 1

Where ONNX Runtime has CUDA, it runs the float16 graphs as they are. Its CPU provider would leave the roundings out:
there, float32 graphs that round where a GPU would are run instead (``benchmarks.half``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from benchmarks.accuracy import Page, photographs, rendered_pages
from benchmarks.common import data_option, report, signals_of
from benchmarks.half import rounded
from cardioscan import Digitizer, DigitizerOptions
from cardioscan.backends.inference import InferenceBackend, OnnxBackend, Tensors
from cardioscan.backends.specs import SPECS, find_model_file
from cardioscan.evaluate.measure import compare
from cardioscan.record import finite_or_none
from cardioscan.synthesis.recipes import RECIPES
from cardioscan_export.variants import make_variant

Row = dict[str, Any]
UNITS = {
    "source_probability": "1",
    "orientation_probability": "1",
    "label_probability": "1/255",
    "point_probability": "1/255",
    "row_coverage": "1/255",
    "point_offset": "px",
    "lattice_coordinate": "squares",
}


@dataclass
class Distance:
    """Differences of a tensor over all calls.

    Attributes:
        calls: how often the network was asked.
        largest: of the absolute differences.
        mean: absolute difference, mean over all elements of all calls.
        changed: share of elements that differ at all.
    """

    calls: int = 0
    largest: float = 0.0
    mean: float = 0.0
    changed: float = 0.0

    def add(self, a: NDArray[Any], b: NDArray[Any]) -> None:
        """Take in one call: two arrays of the same shape; every call has the same number of elements."""
        difference = np.abs(a.astype(np.float64) - b.astype(np.float64))
        self.largest = max(self.largest, float(difference.max()))
        self.mean += (float(difference.mean()) - self.mean) / (self.calls + 1)
        self.changed += (float((difference > 0).mean()) - self.changed) / (self.calls + 1)
        self.calls += 1


class ComparingBackend:
    """Answers as one backend does, and measures by how much another one's answers to the same inputs differ."""

    def __init__(self, backend: InferenceBackend, other: InferenceBackend) -> None:
        self._backend, self._other = backend, other
        self.distances: dict[tuple[str, str], Distance] = {}

    def infer(self, model: str, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """The first backend's answer."""
        answer, other = self._backend.infer(model, inputs), self._other.infer(model, inputs)
        for name, array in answer.items():
            self.distances.setdefault((model, name), Distance()).add(array, other[name])
        return answer

    def model_versions(self) -> dict[str, tuple[str, str]]:
        """Those of the first backend."""
        return self._backend.model_versions()

    def rows(self) -> list[Row]:
        """A line per tensor."""
        return [
            {
                "network": model,
                "tensor": name,
                "unit": UNITS[name],
                "calls": distance.calls,
                "largest": f"{distance.largest:.3g}",
                "mean": f"{distance.mean:.2g}",
                "differing %": 100 * distance.changed,
            }
            for (model, name), distance in self.distances.items()
        ]


def write_half(folder: Path, models: Path | None, on_gpu: bool) -> None:
    """Write a model repository of float16 variants; without a GPU, of graphs that round like them."""
    for name, spec in SPECS.items():
        source = find_model_file(name, models)
        assert source is not None  # find_model_file raises unless missing_ok
        variant = make_variant(source, "float16", spec)
        path = folder / spec.file
        path.parent.mkdir(parents=True)
        onnx.save(variant if on_gpu else rounded(variant), path)


def page_row(page: Page, exact: NDArray[Any], half: NDArray[Any]) -> Row:
    """Decibels of one page in both precisions; (12, N) mV signals, NaN where nothing was read."""
    before, after = (finite_or_none(compare(signals, page.truth).snr_db) for signals in (exact, half))
    both = np.isfinite(exact) & np.isfinite(half)
    difference = 1000 * np.abs(exact - half)[both]
    return {
        "page": page.name,
        "float32 dB": before,
        "float16 dB": after,
        "difference dB": None if before is None or after is None else round(after - before, 4),
        "samples differ µV, mean": float(difference.mean()) if both.any() else None,
        "99th percentile µV": float(np.percentile(difference, 99)) if both.any() else None,
        "largest µV": float(difference.max()) if both.any() else None,
        "read by one only": int((np.isfinite(exact) != np.isfinite(half)).sum()),
    }


def pages_of(sets: str, count: int, data: Path) -> Iterator[Page]:
    """The pages of all sets in turn."""
    for chosen in sets.split(","):
        if chosen == "photos":
            yield from list(photographs(data))[:count]
        elif chosen in RECIPES:
            yield from rendered_pages(chosen, count, signals_of(data))
        else:
            raise click.UsageError(f"no set '{chosen}'; known are photos, {', '.join(RECIPES)}")


@click.command()
@data_option
@click.option("--sets", default="clean,phone_photo,bw_scan", help=f"Of: photos, {', '.join(RECIPES)}; comma-separated.")
@click.option("-n", "count", default=1, help="Pages per set.")
@click.option("--models", type=click.Path(path_type=Path), help="Another model repository.")
@click.option("--threads", default=0, help="Threads of the networks; 0 uses all cores.")
def main(data: Path, sets: str, count: int, models: Path | None, threads: int) -> None:
    """Digitize pages in both precisions and print what differs."""
    on_gpu = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    rows: list[Row] = []
    with TemporaryDirectory(prefix="cardioscan-float16-") as folder:
        write_half(Path(folder), models, on_gpu)
        half = OnnxBackend(folder, threads, verify=False)
        comparing = ComparingBackend(OnnxBackend(models, threads, verify=models is None), half)
        options = DigitizerOptions(threads=threads)
        for page in pages_of(sets, count, data):
            signals = [
                np.array(Digitizer(backend, options).digitize(page.source).signals) for backend in (comparing, half)
            ]
            rows.append(page_row(page, *signals))
            click.echo("  ".join(f"{key} {value}" for key, value in rows[-1].items()))  # a page takes a minute on a CPU
    how = "on the GPU" if on_gpu else "rounded on the CPU as a GPU would"
    report("precision-tensors", f"Float16 ({how}) against float32: tensors", comparing.rows())
    report("precision", f"Float16 ({how}) against float32: pages", rows)


if __name__ == "__main__":
    main()
