"""The training task of the source classifier: thumbnails of pages and the category of their capture."""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from cardioscan.synthesis.recipes import RECIPES
from cardioscan.synthesis.views import label_sample, source_thumbnail
from cardioscan.training.tasks.base import Batch, PageTask, Sample
from cardioscan.training.tasks.pages import draw_page


def turned_at_random(image: Tensor) -> Tensor:
    """A square picture (C, H, H) in one of its 8 orientations, drawn from torch's generator (seeded by the run)."""
    turns, mirrored = divmod(int(torch.randint(8, ())), 2)
    turned = torch.rot90(image, turns, (1, 2))
    return turned.flip(2) if mirrored else turned


class SourceTask(PageTask):
    """Thumbnails of whole pages; figure: accuracy over the categories that have a recipe.

    What a capture looks like does not depend on which way up it is: batches are turned and mirrored at random. Targets
    are smoothed, so that the network is not sure of what it has not seen enough of.
    """

    batch_size = 16
    smoothing = 0.05
    validation_recipes = tuple(RECIPES) * 4

    def sample(self, rng: Generator) -> Sample:
        """Render one training sample."""
        names = list(RECIPES)
        return self._sample(self.train, names[int(rng.integers(len(names)))], rng)

    def _sample(self, records: NDArray[np.integer], recipe_name: str, rng: Generator) -> Sample:
        recipe = RECIPES[recipe_name]
        page = draw_page(self.signals, records, recipe.variety, rng)
        image = label_sample(page, recipe, rng, upright_share=0.9).image
        thumbnail = source_thumbnail(image)
        return {
            "image": np.ascontiguousarray(thumbnail.transpose(2, 0, 1)),
            "category": np.array(int(recipe.category) - 1, np.int64),
        }

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch and its parts for the log."""
        image = torch.stack([turned_at_random(image) for image in batch["image"]])
        logits = network(image).float()
        loss = nn.functional.cross_entropy(logits, batch["category"], label_smoothing=self.smoothing)
        return loss, {"loss": float(loss.detach())}

    def metrics(self, network: nn.Module, batch: Batch) -> dict[str, float]:
        """Figures of merit of one validation batch."""
        logits = network(batch["image"]).float()
        return {
            "accuracy": float((logits.argmax(1) == batch["category"]).float().mean()),
            "cross_entropy": float(nn.functional.cross_entropy(logits, batch["category"])),
        }
