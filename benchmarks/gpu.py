"""The networks on this machine's GPU, in PyTorch, beside the least time that the card itself allows.

python -m benchmarks.roofline -n 0 && python -m benchmarks.gpu --costs benchmarks/results/roofline.json --json gpu.json

Made for a card that is lent for minutes: it imports nothing but torch, timm and the networks, and takes operations and
bytes of the exported graphs from the file that ``benchmarks.roofline`` wrote elsewhere. The floor is the longer of two
times: the operations at the card's own rate in a large matrix product, and the bytes that fused kernels must move at
its own bandwidth in a large copy, both measured in this run. On a CPU the same is measured in float32, to try it out.

Engines: ``eager`` (PyTorch's own kernels) and ``compiled`` (``torch.compile``), in float16 with channels last, captured
in a CUDA graph where there is a GPU. An engine whose answers are not those of float32 is reported as wrong, never as
fast. The last column is no measurement: a T4's floor divided by the share of the floor that was reached here.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from cardioscan.backends.specs import SPECS
from cardioscan.networks.models import build_network

Outputs = tuple[Tensor, ...]
Run = Callable[[], Outputs]

ENGINES: Final = ("eager", "compiled")
TOLERANCE: Final = 0.02
"""Mean difference from float32 that an engine's answers may have, as a share of the range of each output."""
_MEASURE_S: Final = 0.15


@dataclass(frozen=True)
class Ceiling:
    """What a device reaches at best: operations per second in a matrix product, bytes per second in a copy."""

    operations: float
    bandwidth: float

    def floor_s(self, gflop: float, megabytes: float) -> float:
        """Least seconds for so many GFLOP and MB."""
        return max(gflop * 1e9 / self.operations, megabytes * 1e6 / self.bandwidth)


@dataclass(frozen=True)
class Row:
    """One network in one engine at one batch size; times are for one picture, ms."""

    network: str
    engine: str
    batch: int
    ms: float
    pictures_per_s: float
    floor_ms: float | None
    share_of_floor: float | None
    differs: float
    right: bool
    t4_ms_projected: float | None


def seconds_of(run: Callable[[], object], device: torch.device, least_s: float = _MEASURE_S) -> float:
    """Seconds of one call: the best of three means over as many calls as take ``least_s``, after two that warm up."""
    for _ in range(2):
        run()
    best = float("inf")
    for _ in range(3):
        count = 1
        while True:
            _synchronise(device)
            started = time.perf_counter()
            for _ in range(count):
                run()
            _synchronise(device)
            spent = time.perf_counter() - started
            if spent >= least_s:
                break
            count *= 2
        best = min(best, spent / count)
    return best


def ceiling_of(device: torch.device, side: int = 0, copied: int = 0) -> Ceiling:
    """Measure a device: a product of square matrices (float16 on a GPU, else float32) and a copy in its memory."""
    gpu = device.type == "cuda"
    side, copied = side or (8192 if gpu else 1024), copied or (2**30 if gpu else 2**26)
    kind = torch.float16 if gpu else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    product = torch.empty_like(a)
    operations = 2 * side**3 / seconds_of(lambda: torch.matmul(a, b, out=product), device)
    source = torch.ones(copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return Ceiling(operations, 2 * copied / seconds_of(lambda: target.copy_(source), device))


def picture_of(name: str, batch: int, device: torch.device) -> Tensor:
    """Random pictures (batch, 3, height, width) uint8, as the network takes them."""
    (tensor,) = SPECS[name].inputs
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, *tensor.shape), generator=generator, dtype=torch.uint8).to(device)


def engine_of(network: nn.Module, pictures: Tensor, engine: str) -> Run:
    """A call that computes what the network serves for ``pictures`` (batch, 3, height, width) uint8, where they are.

    Raises ``ValueError`` for an engine that is not in ``ENGINES``.
    """
    if engine not in ENGINES:
        raise ValueError(f"no engine '{engine}'; there are {', '.join(ENGINES)}")
    gpu = pictures.device.type == "cuda"
    fast: Any = copy.deepcopy(network).eval()
    fast.to(pictures.device, memory_format=torch.channels_last)
    if gpu:
        for module in fast.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.half()
    serve = torch.compile(fast.serve) if engine == "compiled" else fast.serve

    @torch.no_grad()
    def run() -> Outputs:
        # Without the cache of cast weights, which a captured graph must not read: they are float16 already.
        with torch.autocast(pictures.device.type, torch.float16, enabled=gpu, cache_enabled=False):
            answer = serve(pictures)
        return answer if isinstance(answer, tuple) else (answer,)

    return _captured(run) if gpu else run


def _captured(run: Run) -> Run:
    """The same call as one CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        answers = run()

    def replay() -> Outputs:
        graph.replay()
        return answers

    return replay


def difference(found: Outputs, wanted: Outputs) -> float:
    """Largest over the outputs of the mean difference, as a share of the wanted output's range; infinite for NaN."""
    worst = 0.0
    for answer, truth in zip(found, wanted, strict=True):
        apart = (answer.float() - truth.float()).abs().mean()
        spread = (truth.float().max() - truth.float().min()).clamp(min=1e-6)
        share = float(apart / spread)
        worst = max(worst, math.inf if math.isnan(share) else share)
    return worst


def measure(
    name: str,
    device: torch.device,
    batches: Sequence[int],
    engines: Sequence[str],
    ceiling: Ceiling,
    costs: dict[str, dict[str, float]],
) -> list[Row]:
    """One network in each engine at each batch size; an engine that fails is left out, and said so."""
    torch.manual_seed(0)
    network = _released(name)
    cost = costs.get(name)
    rows = []
    for batch in batches:
        pictures = picture_of(name, batch, device)
        wanted = reference(network, pictures)
        for engine in engines:
            try:
                run = engine_of(network, pictures, engine)
                differs = difference(run(), wanted)
                seconds = seconds_of(run, device) / batch
            except RuntimeError as error:  # too little memory too
                print(f"{name}, {engine}, batch {batch}: {str(error).splitlines()[0]}", flush=True)
                continue
            floor = ceiling.floor_s(cost["GFLOP"], cost["fused MB"]) if cost else None
            share = floor / seconds if floor else None
            row = Row(
                network=name,
                engine=engine,
                batch=batch,
                ms=1000 * seconds,
                pictures_per_s=1 / seconds,
                floor_ms=1000 * floor if floor else None,
                share_of_floor=share,
                differs=differs,
                right=differs <= TOLERANCE,
                t4_ms_projected=projected_ms(cost.get("T4") if cost else None, share, device),
            )
            print(shown(row), flush=True)
            rows.append(row)
    return rows


def projected_ms(floor_ms: float | None, share: float | None, device: torch.device) -> float | None:
    """What another card would take that reaches the same share of its own floor; what a CPU reaches says nothing."""
    return floor_ms / share if floor_ms and share and device.type == "cuda" else None


@torch.no_grad()
def reference(network: nn.Module, pictures: Tensor) -> Outputs:
    """What the network serves in float32 for pictures (batch, 3, height, width) uint8, one at a time."""
    plain: Any = copy.deepcopy(network).eval().to(pictures.device)
    answers = []
    for picture in pictures:
        answer = plain.serve(picture[None])
        answers.append(answer if isinstance(answer, tuple) else (answer,))
    return tuple(torch.cat(parts) for parts in zip(*answers, strict=True))


def _released(name: str) -> nn.Module:
    """The network with its released weights; with random ones where the package onnx is missing, as fast."""
    network = build_network(name)
    try:
        from cardioscan.training.weights import load_released

        load_released(name, network)
    except ImportError:
        print(f"{name}: random weights, for the package onnx is not installed", flush=True)
    return network


def best_of(rows: Sequence[Row]) -> list[Row]:
    """The fastest right row of each network."""
    right = [row for row in rows if row.right]
    return [
        min((row for row in right if row.network == name), key=lambda row: row.ms)
        for name in dict.fromkeys(row.network for row in right)
    ]


def costs_from(path: Path | None, precision: str) -> dict[str, dict[str, float]]:
    """Operations (GFLOP), bytes (MB) and a T4's floor (ms) by network, from the result of ``benchmarks.roofline``."""
    if path is None:
        return {}
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return {row["network"]: row for row in rows if row["precision"] == precision and row["network"] in SPECS}


def shown(row: Row) -> str:
    """A row as a line of text."""
    share = "-" if row.share_of_floor is None else f"{row.share_of_floor:.2f}"
    projected = "-" if row.t4_ms_projected is None else f"{row.t4_ms_projected:.1f}"
    return (
        f"{row.network:20s} {row.engine:9s} batch {row.batch:3d}  {row.ms:9.3f} ms  {row.pictures_per_s:8.1f} /s  "
        f"of the floor {share:>5s}  T4 (projected) {projected:>6s} ms  differs by {row.differs:.4f}"
        f"{'' if row.right else '  WRONG'}"
    )


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def options() -> argparse.ArgumentParser:
    """The command line, without the package that the other benchmarks have theirs from."""
    parser = argparse.ArgumentParser(
        description="The networks on this machine's GPU against its own ceilings.", allow_abbrev=False
    )
    parser.add_argument("--costs", type=Path, help="what python -m benchmarks.roofline wrote: results/roofline.json")
    parser.add_argument("--networks", default=",".join(SPECS), help="comma-separated")
    parser.add_argument("--engines", default=",".join(ENGINES), help="comma-separated")
    parser.add_argument("--batches", default="1,4,16", help="comma-separated")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="write the rows here")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; 0 where every network has an engine that answers rightly, else 1."""
    chosen = options().parse_args(arguments)
    device = torch.device(chosen.device)
    ceiling = ceiling_of(device)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{card}: {ceiling.operations / 1e12:.2f} TFLOP/s, {ceiling.bandwidth / 1e9:.0f} GB/s", flush=True)
    costs = costs_from(chosen.costs, "float16" if device.type == "cuda" else "float32")
    rows: list[Row] = []
    names = chosen.networks.split(",")
    for name in names:
        batches = [int(batch) for batch in chosen.batches.split(",")]
        rows += measure(name, device, batches, chosen.engines.split(","), ceiling, costs)
        if chosen.json:  # after each: time may run out
            content = {"device": card, "ceiling": asdict(ceiling), "rows": [asdict(row) for row in rows]}
            chosen.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    best = best_of(rows)
    print("Fastest right answers:", *(shown(row) for row in best), sep="\n")
    return 0 if {row.network for row in best} == set(names) else 1


if __name__ == "__main__":
    raise SystemExit(main())
