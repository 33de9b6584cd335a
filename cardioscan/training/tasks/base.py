"""What every training task offers the training loop, and what the tasks over whole pages share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from cardioscan.synthesis.signals import SignalSource
from cardioscan.training.tasks.pages import draw_recipe

Sample = Mapping[str, NDArray[Any]]
Batch = Mapping[str, Tensor]


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


class PageTask:
    """What the tasks over whole pages share: their records and their fixed validation pages."""

    batch_size = 2
    validation_recipes: tuple[str, ...] = ("clean", "color_scan", "bw_scan", "screen_photo", *["phone_photo"] * 8)

    def __init__(self, signals: SignalSource, train: NDArray[np.integer], validation: NDArray[np.integer]) -> None:
        self.signals, self.train, self.validation = signals, train, validation

    def _sample(self, records: NDArray[np.integer], recipe_name: str, rng: Generator) -> Sample:
        raise AssertionError("each task renders its own samples")

    def sample(self, rng: Generator) -> Sample:
        """Render one training sample."""
        return self._sample(self.train, draw_recipe(rng), rng)

    def validation_samples(self) -> list[Sample]:
        """The fixed validation samples, of held-out records."""
        rng = np.random.default_rng(20260102)
        return [self._sample(self.validation, name, rng) for name in self.validation_recipes]
