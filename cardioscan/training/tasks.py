"""What each network is trained on: samples, loss, and validation figures that mean something for its stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from cardioscan.networks.blocks import coordinate_map
from cardioscan.page import STANDARD_PAGE
from cardioscan.synthesis.flat import FlatPage, Region, lay_out
from cardioscan.synthesis.recipes import RECIPES
from cardioscan.synthesis.signals import SignalSource
from cardioscan.synthesis.strips import waveform_strip
from cardioscan.synthesis.style import random_style
from cardioscan.training.losses import coverage_loss

Sample = Mapping[str, NDArray[Any]]
Batch = Mapping[str, Tensor]

RECIPE_WEIGHTS: Mapping[str, float] = {
    "clean": 0.20,
    "color_scan": 0.12,
    "bw_scan": 0.12,
    "phone_photo": 0.32,
    "screen_photo": 0.06,
    "stained_photo": 0.05,
    "damaged_photo": 0.05,
    "mouldy_color_scan": 0.04,
    "mouldy_bw_scan": 0.04,
}
"""How often each recipe is drawn in training."""


def draw_recipe(rng: Generator) -> str:
    """A recipe's name, by ``RECIPE_WEIGHTS``."""
    names = list(RECIPE_WEIGHTS)
    weights = np.array([RECIPE_WEIGHTS[name] for name in names])
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


def draw_page(signals: SignalSource, records: NDArray[np.integer], variety: float, rng: Generator) -> FlatPage:
    """Lay out a page of one of ``records`` in a random style; now and then a row is missing or a lead is scaled."""
    signal = signals.record(int(rng.choice(records)))
    if rng.random() < 0.25 * variety:
        signal = signal * np.float32(rng.uniform(0.7, 1.6))
    missing = int(rng.integers(STANDARD_PAGE.n_rows)) if rng.random() < 0.02 * variety else None
    return lay_out(signal, random_style(rng, variety), rng, missing_row=missing)


class Task(Protocol):
    """One network's training task."""

    batch_size: int

    def sample(self, rng: Generator) -> Sample:
        """Render one training sample: arrays by name."""
        ...

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch and its parts for the log."""
        ...

    def validation_samples(self) -> list[Sample]:
        """A fixed set of samples from records that are never trained on."""
        ...

    def metrics(self, network: nn.Module, batch: Batch) -> dict[str, float]:
        """Figures of merit of one validation batch."""
        ...


class WaveformTask:
    """Strips of rectified pages; figures: IoU of the coverage and the trace's error in px where it is found."""

    batch_size = 4
    strip_width = 384
    strip_height = 1216

    def __init__(
        self, signals: SignalSource, train: NDArray[np.integer], validation: NDArray[np.integer]
    ) -> None:
        self.signals, self.train, self.validation = signals, train, validation

    def sample(self, rng: Generator) -> Sample:
        return self._strip(self.train, draw_recipe(rng), rng)

    def _strip(self, records: NDArray[np.integer], recipe_name: str, rng: Generator) -> Sample:
        recipe = RECIPES[recipe_name]
        page = draw_page(self.signals, records, recipe.variety, rng)
        lowest = STANDARD_PAGE.height - self.strip_height
        region = Region(
            int(rng.integers(0, (STANDARD_PAGE.width - self.strip_width) // 2 + 1)) * 2,
            int(rng.integers((lowest - 160) // 2, lowest // 2 + 1)) * 2,
            self.strip_width,
            self.strip_height,
        )
        strip = waveform_strip(page, recipe, region, rng)
        return {
            "image": np.ascontiguousarray(strip.image.transpose(2, 0, 1)),
            "coverage": strip.coverage,
            "origin": np.array(strip.origin, np.float32),
        }

    def validation_samples(self) -> list[Sample]:
        rng = np.random.default_rng(20260101)
        names = ["clean", "phone_photo"] * 6 + ["bw_scan", "color_scan"] * 2
        return [self._strip(self.validation, name, rng) for name in names]

    def _logits(self, network: nn.Module, batch: Batch) -> Tensor:
        image = batch["image"]
        height, width = image.shape[-2:]
        coordinates = coordinate_map(
            batch["origin"], height // 2, width // 2, 2, STANDARD_PAGE.width, STANDARD_PAGE.height
        )
        logits: Tensor = network(image, coordinates)
        return logits

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        loss = coverage_loss(self._logits(network, batch).float(), batch["coverage"].float() / 255)
        return loss, {"loss": float(loss.detach())}

    def metrics(self, network: nn.Module, batch: Batch) -> dict[str, float]:
        probability = self._logits(network, batch).float().sigmoid()
        target = batch["coverage"].float() / 255
        found, true = probability > 0.5, target > 0.5
        union = (found | true).sum().clamp(min=1)
        height = torch.arange(target.shape[2], device=target.device, dtype=torch.float32)[None, None, :, None]
        centre = (probability * height).sum(2) / probability.sum(2).clamp(min=1e-3)
        truth = (target * height).sum(2) / target.sum(2).clamp(min=1e-3)
        printed = target.sum(2) > 0.5
        error = (centre - truth)[printed].abs()
        return {
            "iou": float((found & true).sum() / union),
            "trace_error_px": float(error.median()) if error.numel() else 0.0,
            "columns_within_2px": float((error < 2).float().mean()) if error.numel() else 1.0,
        }
