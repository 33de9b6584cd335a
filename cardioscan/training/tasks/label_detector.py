"""The training task of the label detector: pictures of pages, the places of their lead names, their orientation."""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from cardioscan.networks.models import MAP_STRIDE
from cardioscan.synthesis.recipes import RECIPES
from cardioscan.synthesis.views import label_sample
from cardioscan.training.losses import label_loss
from cardioscan.training.tasks.base import Batch, PageTask, Sample
from cardioscan.training.tasks.pages import draw_page


class LabelTask(PageTask):
    """Pages, most of them upright; figures: keypoint error in px, share of labels found, orientation accuracy.

    With half of the pages turned or mirrored, a short training finds all labels but cannot tell them apart: their
    arrangement tells nothing until the orientation is known. Upright first; raise the share of turned pages when there
    is time to train for it. The pipeline turns the picture itself when the first look fails.
    """

    upright_share = 0.93

    def _sample(self, records: NDArray[np.integer], recipe_name: str, rng: Generator) -> Sample:
        recipe = RECIPES[recipe_name]
        page = draw_page(self.signals, records, recipe.variety, rng)
        sample = label_sample(page, recipe, rng, upright_share=self.upright_share)
        keypoints = np.full((14, 2), np.nan, np.float32)
        keypoints[sample.keypoints[:, 0].astype(int)] = sample.keypoints[:, 1:]
        return {
            "image": np.ascontiguousarray(sample.image.transpose(2, 0, 1)),
            "labels": sample.labels.astype(np.int64),
            "keypoints": keypoints,
            "orientation": np.array(sample.orientation, np.int64),
        }

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch and its parts for the log."""
        labels, orientation = network(batch["image"])
        label_part = label_loss(labels.float(), batch["labels"])
        orientation_part = nn.functional.cross_entropy(orientation.float(), batch["orientation"])
        loss = label_part + 0.2 * orientation_part
        return loss, {
            "loss": float(loss.detach()),
            "labels": float(label_part.detach()),
            "turn": float(orientation_part.detach()),
        }

    def metrics(self, network: nn.Module, batch: Batch) -> dict[str, float]:
        """Figures of merit of one validation batch."""
        labels, orientation = network(batch["image"])
        errors = keypoint_errors(labels.float().softmax(dim=1)[0], batch["keypoints"][0])
        return {
            "orientation_right": float((orientation.argmax(1) == batch["orientation"]).float().mean()),
            "labels_found": float(np.mean(errors < 12)) if errors.size else float("nan"),
            "keypoint_error_px": float(np.median(errors[errors < 12])) if (errors < 12).any() else float("nan"),
        }


def keypoint_errors(probability: Tensor, keypoints: Tensor) -> NDArray[np.float64]:
    """Distance (px) of each label's weighted centroid from its true place.

    Args:
        probability: (14, h, w) class probabilities at stride 4.
        keypoints: (14, 2) true px by class id, NaN where the label is not in the picture.

    Returns:
        One float per label in the picture; infinite where no cell belongs to its class.
    """
    winner = probability.argmax(dim=0)
    errors = []
    for class_id in range(1, probability.shape[0]):
        if not torch.isfinite(keypoints[class_id]).all():
            continue
        rows, columns = torch.nonzero(winner == class_id, as_tuple=True)
        if not len(rows):
            errors.append(float("inf"))
            continue
        weight = probability[class_id, rows, columns]
        x = float((weight * columns).sum() / weight.sum()) * MAP_STRIDE + (MAP_STRIDE - 1) / 2
        y = float((weight * rows).sum() / weight.sum()) * MAP_STRIDE + (MAP_STRIDE - 1) / 2
        errors.append(float(np.hypot(x - float(keypoints[class_id, 0]), y - float(keypoints[class_id, 1]))))
    return np.array(errors)
