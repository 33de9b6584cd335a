"""Losses of the four tasks. Logits and targets have the same shape; targets are float in 0..1."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def soft_dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """One minus the soft Dice coefficient, averaged over batch and channels of ``(B, C, H, W)``."""
    probability = logits.sigmoid()
    overlap = (probability * target).sum(dim=(2, 3))
    total = (probability**2).sum(dim=(2, 3)) + (target**2).sum(dim=(2, 3))
    return (1 - (2 * overlap + 1) / (total + 1)).mean()


def coverage_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Five times the cross-entropy with weight 3 on ink, plus soft Dice: sparse strokes neither vanish nor swell."""
    weight = 1 + 2 * target
    entropy = F.binary_cross_entropy_with_logits(logits, target, weight=weight)
    return 5 * entropy + soft_dice_loss(logits, target)


def label_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy over label classes ``(B, C, h, w)`` against (B, h, w) class ids, plus soft Dice of label or not.

    Labels cover a four-hundredth of a page. With weight 30 and the Dice term the network finds them first and tells
    them apart later; with weight 8 alone it settled for an empty map.
    """
    weight = torch.full((logits.shape[1],), 30.0, device=logits.device)
    weight[0] = 1.0
    entropy = F.cross_entropy(logits, target, weight=weight)
    label = 1 - logits.softmax(dim=1)[:, 0]
    truth = (target > 0).to(label.dtype)
    overlap = (label * truth).sum(dim=(1, 2))
    total = (label**2).sum(dim=(1, 2)) + truth.sum(dim=(1, 2))
    return entropy + (1 - (2 * overlap + 1) / (total + 1)).mean()


def node_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy with weight 4 on the cells that hold a node, of which there are about one in thirty."""
    return F.binary_cross_entropy_with_logits(logits, target, weight=1 + 3 * target)


def offset_loss(offsets: Tensor, target: Tensor, near: Tensor) -> Tensor:
    """Smooth L1 of node offsets (B, 2, h, w), px, on the cells around nodes (B, h, w)."""
    error = F.smooth_l1_loss(offsets, target, reduction="none").sum(dim=1)
    return (error * near).sum() / near.sum().clamp(min=1)


def departure_loss(departure: Tensor, target: Tensor, on_page: Tensor) -> Tensor:
    """Smooth L1 (beta 0.1) of the lattice's departure (B, 2, h, w), squares, on the page (B, h, w)."""
    error = F.smooth_l1_loss(departure, target.clamp(-3, 3), reduction="none", beta=0.1).sum(dim=1)
    return (error * on_page).sum() / on_page.sum().clamp(min=1)
