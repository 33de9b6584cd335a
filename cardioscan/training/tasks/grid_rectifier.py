"""The training task of the grid rectifier: pages in the aligned frame and the nodes of their 5 mm grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from cardioscan.backends.specs import RECTIFIER_WINDOW
from cardioscan.networks.blocks import coordinate_map
from cardioscan.networks.models import MAP_STRIDE, nominal_lattice
from cardioscan.synthesis.flat import FlatPage
from cardioscan.synthesis.recipes import RECIPES, CaptureRecipe
from cardioscan.synthesis.style import without_grid
from cardioscan.synthesis.views import grid_sample
from cardioscan.training.losses import departure_loss, label_loss, node_loss, offset_loss
from cardioscan.training.tasks.base import Batch, PageTask, Sample
from cardioscan.training.tasks.pages import draw_page, draw_recipe


class GridTask(PageTask):
    """Pages in the aligned frame; figures: nodes found, node error in px, cells with the right line numbers.

    A share ``gridless`` of the pages that are trained on has no grid, and nothing is to be found on it: without them
    the network learns where lines must be between the traces and sees them on plain paper too.
    """

    gridless = 0.06

    def sample(self, rng: Generator) -> Sample:
        """Render one training sample."""
        if rng.random() >= self.gridless:
            return super().sample(rng)
        recipe = RECIPES[draw_recipe(rng)]
        page = draw_page(self.signals, self.train, recipe.variety, rng)
        sample = self._captured(replace(page, style=without_grid(page.style)), recipe, rng)
        return {**sample, **{name: np.zeros_like(sample[name]) for name in ("points", "near", "on_page")}}

    def _sample(self, records: NDArray[np.integer], recipe_name: str, rng: Generator) -> Sample:
        recipe = RECIPES[recipe_name]
        return self._captured(draw_page(self.signals, records, recipe.variety, rng), recipe, rng)

    @staticmethod
    def _captured(page: FlatPage, recipe: CaptureRecipe, rng: Generator) -> Sample:
        sample = grid_sample(page, recipe, rng)
        return {
            "image": np.ascontiguousarray(sample.image.transpose(2, 0, 1)),
            "points": sample.points,
            "near": sample.near,
            "offsets": sample.offsets,
            "lattice": sample.lattice,
            "labels": sample.labels.astype(np.int64),
            "on_page": sample.on_page,
        }

    def _forward(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        height, width = batch["image"].shape[-2:]
        frame = RECTIFIER_WINDOW
        origin = torch.zeros(len(batch["image"]), 2, device=batch["image"].device)
        size = (height // MAP_STRIDE, width // MAP_STRIDE)
        node, offset, departure, labels = network(
            batch["image"], coordinate_map(origin, *size, MAP_STRIDE, frame.width, frame.height)
        )
        true_departure = batch["lattice"] - nominal_lattice(origin, *size)
        return node.float(), offset.float(), departure.float(), labels.float(), true_departure

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch and its parts for the log."""
        node, offset, departure, labels, true_departure = self._forward(network, batch)
        parts = {
            "node": 5 * node_loss(node[:, 0], batch["points"].float()),
            "offset": 0.5 * offset_loss(offset, batch["offsets"], batch["near"].float()),
            "departure": 2 * departure_loss(departure, true_departure, batch["on_page"].float()),
            "labels": 0.5 * label_loss(labels, batch["labels"]),
        }
        loss = torch.stack(list(parts.values())).sum()
        return loss, {"loss": float(loss.detach()), **{name: float(part.detach()) for name, part in parts.items()}}

    def metrics(self, network: nn.Module, batch: Batch) -> dict[str, float]:
        """Figures of merit of one validation batch."""
        node, offset, departure, _, true_departure = self._forward(network, batch)
        points = batch["points"] > 0
        near = batch["near"] > 0
        strongest = nn.functional.max_pool2d(node.sigmoid(), 3, stride=1, padding=1)[:, 0]
        page = batch["on_page"] > 0
        slip = (departure - true_departure).abs().amax(dim=1)[page]
        error = (offset - batch["offsets"]).norm(dim=1)[points]
        return {
            "nodes_found": float((strongest[points] > 0.4).float().mean()),
            "false_nodes": float(((node.sigmoid()[:, 0] > 0.4) & ~near).sum() / points.sum()),
            "node_error_px": float(error.median()),
            "indices_right": float((slip < 0.5).float().mean()),
            "departure_error_squares": float(slip.median()),
        }
