"""The least time that each network can take on a machine, beside what it was measured to take on this one.

python -m benchmarks.roofline -n 3

The floor is the longer of two times: the operations at the machine's highest rate for that precision, and the bytes
that fused kernels must move (``benchmarks.cost``) at its memory bandwidth. GPUs: the rates that NVIDIA publishes,
without sparsity; they were entered from memory and have yet to be held against the data sheets that they name. This
machine's processor: a matrix product and a copy, measured in the same run. Where ONNX Runtime has TensorRT or CUDA, the
networks are measured there too, tensors staying on the GPU.
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import click
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from benchmarks.common import report
from benchmarks.cost import Cost, cost_of
from cardioscan.backends.specs import SPECS, NetworkSpec, find_model_file
from cardioscan_export.variants import write_variant

Row = dict[str, Any]
PRECISIONS: Final = ("float32", "float16")
PROVIDERS: Final = {"TensorrtExecutionProvider": "TensorRT", "CUDAExecutionProvider": "CUDA"}
"""ONNX Runtime's providers for NVIDIA GPUs, and what they are called here."""


@dataclass(frozen=True)
class Machine:
    """Highest rates of a machine.

    Attributes:
        name: of the GPU or processor.
        rates: operations per second by precision; a precision that is not named gives no floor.
        bandwidth: bytes per second from and to memory.
        source: where the figures are from.
        cpu_rate: float32 operations per second of processor time; None for GPUs. On a busy machine it says more.
    """

    name: str
    rates: dict[str, float]
    bandwidth: float
    source: str
    cpu_rate: float | None = None

    def floor_s(self, cost: Cost, precision: str) -> float | None:
        """The least time for one picture, seconds."""
        if precision not in self.rates:
            return None
        return max(cost.operations / self.rates[precision], cost.fused_bytes / self.bandwidth)

    def bound(self, cost: Cost, precision: str) -> str:
        """What the floor is due to."""
        if precision not in self.rates:
            return ""
        by_memory = cost.fused_bytes / self.bandwidth > cost.operations / self.rates[precision]
        return "memory" if by_memory else "arithmetic"


def _gpu(name: str, half: float, single: float, bandwidth: float, source: str) -> Machine:
    """A GPU by its data sheet: TFLOP/s of the tensor cores in float16 and of the CUDA cores in float32, and GB/s."""
    return Machine(name, {"float16": half * 1e12, "float32": single * 1e12}, bandwidth * 1e9, source)


GPUS: Final = (
    _gpu("T4", 65, 8.1, 320, "NVIDIA T4 data sheet (2019): 65 and 8.1 TFLOPS; 256-bit GDDR6 at 10 Gbit/s"),
    _gpu(
        "L4", 121, 30.3, 300, "NVIDIA L4 data sheet (2023): 242 TFLOPS with sparsity, half of it dense; 30.3; 300 GB/s"
    ),
    _gpu("A10", 125, 31.2, 600, "NVIDIA A10 data sheet (2021): 125 TFLOPS (250 with sparsity); 31.2; 600 GB/s"),
    _gpu("H100", 989.5, 67, 3350, "NVIDIA H100 data sheet, SXM (2023): 1,979 with sparsity, half dense; 67; 3.35 TB/s"),
)
"""float16 products are summed up in float32, as TensorRT does it. TF32 is not counted as float32: where a runtime uses
it, as ONNX Runtime's CUDA provider does unless told otherwise, float32 may come out below its floor."""


def this_machine(repeats: int = 5, side: int = 2048, copied: int = 256 << 20) -> Machine:
    """Measure this processor with NumPy, the best of several runs each.

    Args:
        repeats: runs.
        side: of the float32 matrices that are multiplied.
        copied: bytes that are copied in memory, more than the caches hold.
    """
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((side, side), dtype=np.float32) for _ in range(2))
    product = np.empty_like(a)
    operations = 2 * side**3
    wall, processor = _fastest(lambda: np.matmul(a, b, out=product), repeats)
    source = np.ones(copied, np.uint8)
    target = np.empty_like(source)
    copying, _ = _fastest(lambda: np.copyto(target, source), repeats)
    return Machine(
        f"here ({platform.machine()}, {_cores()} cores)",
        {"float32": operations / wall},
        2 * copied / copying,
        "measured in this run with NumPy",
        operations / processor,
    )


def gpu_called(name: str) -> Machine | None:
    """The GPU of the table that the driver calls so ("Tesla T4", "NVIDIA L4"); None for others."""
    words = name.replace("-", " ").split()
    known = next((gpu for gpu in GPUS if gpu.name in words), None)
    return None if "PCIe" in words and known is GPUS[-1] else known  # another H100, with other rates


def gpu_here() -> Machine | None:
    """The first GPU of this machine, if it is in the table."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        names = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    return gpu_called(names[0]) if names else None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _fastest(run: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Least seconds, and least seconds of processor time over all threads, of several runs after a first."""
    times = _timed(run, repeats)
    return float(times[:, 0].min()), float(times[:, 1].min())


def _timed(run: Callable[[], object], repeats: int) -> NDArray[np.float64]:
    """Seconds on the wall and of this process's processor time, (repeats, 2), after a run that warms up."""
    run()
    times = []
    for _ in range(repeats):
        started = time.perf_counter(), time.process_time()
        run()
        times.append((time.perf_counter() - started[0], time.process_time() - started[1]))
    return np.array(times)


def measured_s(
    file: Path, spec: NetworkSpec, providers: Sequence[str], repeats: int, threads: int = 0
) -> tuple[float, float]:
    """Median seconds for one picture with ONNX Runtime, and of processor time; tensors stay where the arithmetic is."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=list(providers))
    if session.get_providers()[0] != providers[0]:
        raise click.ClickException(f"ONNX Runtime lists {providers[0]} but cannot use it: its libraries are missing")
    device = "cpu" if providers[0] == "CPUExecutionProvider" else "cuda"
    binding = session.io_binding()
    for tensor in spec.inputs:
        picture = np.random.default_rng(0).integers(0, 256, (1, *tensor.shape)).astype(tensor.dtype)
        binding.bind_ortvalue_input(tensor.name, onnxruntime.OrtValue.ortvalue_from_numpy(picture, device, 0))
    for tensor in spec.outputs:
        binding.bind_output(tensor.name, device)

    def run() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    wall, processor = np.median(_timed(run, repeats), axis=0)
    return float(wall), float(processor)


def floor_rows(costs: dict[tuple[str, str], Cost], machines: Iterable[Machine]) -> list[Row]:
    """A line per network and precision, and one for a page, which each network sees once: floors in ms."""
    machines = list(machines)
    rows: list[Row] = []
    for precision in dict.fromkeys(kind for _, kind in costs):
        mine = {name: cost for (name, kind), cost in costs.items() if kind == precision}
        for name, cost in mine.items():
            rows.append(_cost_row(name, precision, cost))
            rows[-1] |= {machine.name: _ms(machine.floor_s(cost, precision)) for machine in machines}
            rows[-1]["bound on T4"] = GPUS[0].bound(cost, precision)
        rows.append({**_cost_row("all", precision, *mine.values()), "network": "a page, each once"})
        for machine in machines:
            floors = [machine.floor_s(cost, precision) for cost in mine.values()]
            rows[-1][machine.name] = _ms(None if None in floors else sum(floor for floor in floors if floor))
        rows[-1]["bound on T4"] = ""
    return rows


def _cost_row(name: str, precision: str, *costs: Cost) -> Row:
    return {
        "network": name,
        "precision": precision,
        "GFLOP": sum(cost.operations for cost in costs) / 1e9,
        "weights MB": sum(cost.weight_bytes for cost in costs) / 1e6,
        "fused MB": sum(cost.fused_bytes for cost in costs) / 1e6,
        "unfused MB": sum(cost.unfused_bytes for cost in costs) / 1e6,
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 3)


def machine_rows(machines: Iterable[Machine]) -> list[Row]:
    """A line per machine: its rates, and the operations per byte from which arithmetic is the limit."""
    return [
        {
            "machine": machine.name,
            "float16 TFLOP/s": machine.rates["float16"] / 1e12 if "float16" in machine.rates else None,
            "float32 TFLOP/s": machine.rates["float32"] / 1e12,
            "GB/s": machine.bandwidth / 1e9,
            "balance FLOP/byte": max(machine.rates.values()) / machine.bandwidth,
            "source": machine.source,
        }
        for machine in machines
    ]


def measured_rows(
    costs: dict[tuple[str, str], Cost], files: dict[tuple[str, str], Path], here: Machine, repeats: int, threads: int
) -> list[Row]:
    """A line per network, precision and provider of ONNX Runtime: what it takes here, beside the floor where known.

    On a CPU also the operations per second of processor time, as a share of those of the matrix product: on a machine
    that does other work too, only that says anything.
    """
    available, gpu = onnxruntime.get_available_providers(), gpu_here()
    found = [name for name in PROVIDERS if name in available]
    runs = [("CPU", "float32", ["CPUExecutionProvider"])]
    for place, name in enumerate(found):
        runs += [(PROVIDERS[name], precision, [*found[place:], "CPUExecutionProvider"]) for precision in PRECISIONS]
    rows = []
    for where, precision, providers in runs:
        for name, spec in SPECS.items():
            cost = costs[name, precision]
            seconds, processor = measured_s(files[name, precision], spec, providers, repeats, threads)
            machine = here if where == "CPU" else gpu
            floor = machine.floor_s(cost, precision) if machine else None
            rate = machine.cpu_rate if machine else None
            rows.append(
                {
                    "network": name,
                    "precision": precision,
                    "on": where,
                    "measured ms": _ms(seconds),
                    "floor here ms": _ms(floor),
                    "times the floor": None if floor is None else seconds / floor,
                    "GFLOP/s": cost.operations / seconds / 1e9,
                    "GB/s, fused": cost.fused_bytes / seconds / 1e9,
                    "CPU s": processor,
                    "% of the rate per CPU s": None if rate is None else 100 * cost.operations / processor / rate,
                }
            )
    return rows


@click.command()
@click.option("-n", "repeats", default=3, help="Runs of each network after one that warms up; 0 measures nothing.")
@click.option("--models", type=click.Path(path_type=Path), help="Another model repository.")
@click.option("--threads", default=0, help="Threads of ONNX Runtime on the CPU; 0 uses all cores.")
def main(repeats: int, models: Path | None, threads: int) -> None:
    """Count, measure and print the tables."""
    costs: dict[tuple[str, str], Cost] = {}
    files: dict[tuple[str, str], Path] = {}
    with TemporaryDirectory(prefix="cardioscan-roofline-") as folder:
        for name, spec in SPECS.items():
            source = find_model_file(name, models)
            assert source is not None  # find_model_file raises unless missing_ok
            for kind in PRECISIONS:
                files[name, kind] = write_variant(source, Path(folder) / f"{name}.{kind}.onnx", kind, spec)
                costs[name, kind] = cost_of(onnx.load(files[name, kind]))
        here = this_machine()
        report("roofline-machines", "Machines", machine_rows((*GPUS, here)))
        report("roofline", "Floors for one picture, ms", floor_rows(costs, (*GPUS, here)))
        if repeats:
            report("roofline-measured", "Measured here", measured_rows(costs, files, here, repeats, threads))


if __name__ == "__main__":
    main()
