"""The training loop: one command on CPU and CUDA, by the clock, resumable."""

from __future__ import annotations

import copy
import json
import math
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from cardioscan.errors import CardioscanError
from cardioscan.networks.models import build_network
from cardioscan.training.options import NETWORKS, TrainingOptions
from cardioscan.training.tasks.base import Batch, Sample, Task
from cardioscan.training.weights import load_checkpoint, load_pieces, load_released, save_checkpoint

WARM_UP_STEPS = 40
AVERAGED = 4
"""The average of the weights reaches back over the last such part of the steps."""


class RenderedSamples(IterableDataset[dict[str, Tensor]]):
    """An endless stream of rendered samples; each worker process draws from its own generator.

    With a ``pool``, that many samples are rendered first and then drawn again and again, each draw replacing one of
    them by a new one every fourth time, for machines where rendering is dearer than training.
    """

    def __init__(self, task: Task, seeds: Sequence[int], pool: int = 0) -> None:
        self.task, self.seeds, self.pool = task, seeds, pool

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([*self.seeds, worker.id if worker else 0])
        kept: list[Sample] = []
        while True:
            if len(kept) < self.pool or not kept or rng.random() < 0.25:
                sample = self.task.sample(rng)
                if len(kept) < self.pool:
                    kept.append(sample)
                elif kept:
                    kept[int(rng.integers(len(kept)))] = sample
            else:
                sample = kept[int(rng.integers(len(kept)))]
            yield {name: torch.from_numpy(array) for name, array in sample.items()}


def make_task(options: TrainingOptions) -> Task:
    """The task of ``options.network`` over its signals, split by record."""
    from cardioscan.synthesis.signals import open_signals, split_records
    from cardioscan.training import tasks

    signals = open_signals(options.signals, 2000, options.seed)
    train, validation = split_records(len(signals))
    records = (np.asarray(train), np.asarray(validation))
    kinds: dict[str, Callable[..., Task]] = {
        "waveform_extractor": tasks.WaveformTask,
        "grid_rectifier": tasks.GridTask,
        "label_detector": tasks.LabelTask,
        "source_classifier": tasks.SourceTask,
    }
    return kinds[options.network](signals, *records)


def train(options: TrainingOptions) -> dict[str, float]:
    """Train one network and return the last validation's figures.

    Writes ``last.pt`` (everything to go on with; its ``ema`` weights are what is exported) and ``log.jsonl`` to
    ``options.directory / options.network``. Raises ``CardioscanError`` for an unknown network, ``SignalSourceError``
    for missing signals, ``ModelError`` when there is nothing to resume from.
    """
    if options.network not in NETWORKS:
        raise CardioscanError(f"unknown network '{options.network}'; choose one of {', '.join(NETWORKS)}")
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    cuda = options.device == "cuda" or (options.device == "auto" and torch.cuda.is_available())
    device = torch.device("cuda" if cuda else "cpu")
    folder = options.directory / options.network
    folder.mkdir(parents=True, exist_ok=True)

    network = build_network(options.network, options.pretrained)
    step = resume(network, options, folder)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=0.01)
    task = make_task(options)
    validation = task.validation_samples()
    loader = DataLoader(
        RenderedSamples(task, (options.seed, step, fingerprint(network)), options.pool),
        batch_size=options.batch_size or task.batch_size,
        num_workers=options.workers,
        pin_memory=cuda,
        persistent_workers=options.workers > 0,
        prefetch_factor=4 if options.workers else None,
    )
    started = time.monotonic()
    next_validation = options.validate_every * 60
    figures: dict[str, float] = {}
    first_step = step
    # tqdm comes with timm; the other progress bars of the project would be one more package on a training machine.
    style = "{desc} {percentage:3.0f}%|{bar}| {remaining}"
    with tqdm(total=100.0, desc=options.network, bar_format=style) as bar:
        for batch in loader:
            elapsed = time.monotonic() - started
            share = elapsed / (options.minutes * 60)
            if options.steps:
                share = max(share, (step - first_step) / options.steps)
            if share >= 1:
                break
            rate = options.learning_rate * learning_rate_factor(share, step - first_step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            parts = train_step(network, optimizer, task, {k: v.to(device, non_blocking=True) for k, v in batch.items()})
            step += 1
            update_average(average, network, averaging_decay(step - first_step))
            bar.set_description(f"{options.network} step {step} loss {parts['loss']:.3f}", refresh=False)
            bar.update(min(100.0, 100 * share) - bar.n)
            if step % 10 == 0:
                log(folder, {"step": step, "minutes": elapsed / 60, "lr": rate, **parts})
            if elapsed >= next_validation:
                next_validation = elapsed + options.validate_every * 60
                figures = validate(average, task, validation, device)
                log(folder, {"step": step, "minutes": elapsed / 60, **figures})
                save_checkpoint(folder / "last.pt", options.network, network, average, step, figures)
    figures = validate(average, task, validation, device)
    log(folder, {"step": step, "minutes": (time.monotonic() - started) / 60, **figures})
    save_checkpoint(folder / "last.pt", options.network, network, average, step, figures)
    return figures


def resume(network: nn.Module, options: TrainingOptions, folder: Path) -> int:
    """Load the weights to go on from; return the number of steps they have had."""
    if options.resume == "none":
        return 0
    if (folder / "last.pt").is_file() and options.resume == "released":
        return load_checkpoint(folder / "last.pt", network)
    if options.resume == "released":
        return load_released(options.network, network, missing_ok=True)
    path = Path(options.resume)
    if path.is_dir():
        return load_pieces(path, network)
    return load_released(options.network, network, path) if path.suffix == ".onnx" else load_checkpoint(path, network)


def fingerprint(network: nn.Module) -> int:
    """A number made of the weights, for the seed: a run that goes on from a release sees other pages than the last."""
    return zlib.crc32(b"".join(weights.detach().cpu().numpy().tobytes() for weights in network.parameters()))


def learning_rate_factor(share: float, step: int) -> float:
    """Linear warm-up, then a cosine from 1 down to 0.02 over ``share`` 0..1."""
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


def averaging_decay(steps: int) -> float:
    """The decay of the average after so many steps of a run: it remembers about the last quarter of them."""
    return (6 + steps) / (6 + AVERAGED + steps)


def train_step(network: nn.Module, optimizer: torch.optim.Optimizer, task: Task, batch: Batch) -> dict[str, float]:
    """One step of AdamW with float32 weights, gradient norm clipped at 2; in bfloat16 where that is not slower."""
    network.train()
    optimizer.zero_grad(set_to_none=True)
    device = next(network.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=computes_bfloat16(device)):
        loss, parts = task.loss(network, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), 2.0)
    optimizer.step()
    return parts


def computes_bfloat16(device: torch.device) -> bool:
    """Whether convolutions in bfloat16 are at least as fast as in float32 there.

    Processors without AVX-512 emulate them: there a step of the source classifier took ten times as long.
    """
    return device.type != "cpu" or torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "AVX2")


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the exponential moving average of weights; running statistics are averaged alike, counters copied."""
    for target, source in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if target.dtype.is_floating_point:
            target.lerp_(source, 1 - decay)
        else:
            target.copy_(source)


@torch.no_grad()
def validate(network: nn.Module, task: Task, samples: list[Sample], device: torch.device) -> dict[str, float]:
    """Mean of the task's figures over the validation samples, in evaluation mode."""
    network.eval()
    totals: dict[str, list[float]] = {}
    for sample in samples:
        batch = {name: torch.from_numpy(array)[None].to(device) for name, array in sample.items()}
        for name, value in task.metrics(network, batch).items():
            totals.setdefault(name, []).append(value)
    return {name: float(np.nanmean(values)) for name, values in totals.items() if not np.isnan(values).all()}


def log(folder: Path, entry: dict[str, float]) -> None:
    """Append one line of JSON to the run's log."""
    with (folder / "log.jsonl").open("a") as file:
        file.write(json.dumps({key: round(value, 6) for key, value in entry.items()}) + "\n")
