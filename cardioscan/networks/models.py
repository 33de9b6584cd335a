"""The four networks. Each takes uint8 images and has two faces.

``forward`` returns the raw maps that training needs; ``serve`` is what the released graph computes: normalisation,
the network, and the reduction to what the next stage reads (never full-size float maps on the wire).
"""

from __future__ import annotations

from typing import Final

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cardioscan.backends.specs import EXTRACTION_PLACES, RECTIFIER_WINDOW
from cardioscan.networks.blocks import FoldedUNet, Normalize, coordinate_map

N_LABEL_CLASSES: Final = 14
N_ORIENTATIONS: Final = 8
N_CATEGORIES: Final = 12
MAP_STRIDE: Final = 4
ROWS_WINDOW: Final = (64, 192, 2176, 1700)
"""Left, top, right and bottom px of the reference frame between which traces are looked for.

The leads and their pulses are in it, up to 6 mV above the zero line of the first row. It is a sixth less than the page.
Left and top are multiples of 64 px, so the network's strides fall where they fell on the whole page in training.
"""


def as_uint8(probability: Tensor) -> Tensor:
    """Probabilities in 0..1 to uint8 0..255, rounded."""
    return (probability * 255 + 0.5).to(torch.uint8)


def _whole_frame(batch: Tensor, height: int, width: int, step: int, frame_width: int, frame_height: int) -> Tensor:
    origin = torch.zeros(1, 2, device=batch.device)
    grid = coordinate_map(origin, height, width, step, frame_width, frame_height)
    return grid.expand(batch.shape[0], -1, -1, -1)


class SourceClassifier(nn.Module):
    """EfficientNet-B5 over page thumbnails, folded by 4: ``(B, 3, 456, 456)`` to 12 category logits."""

    fold = 4

    def __init__(self, pretrained: bool = False) -> None:
        super().__init__()
        self.normalize = Normalize()
        self.classifier = timm.create_model(
            "efficientnet_b5", num_classes=N_CATEGORIES, in_chans=3 * self.fold**2, pretrained=pretrained
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return ``(B, 12)`` logits."""
        logits: Tensor = self.classifier(F.pixel_unshuffle(self.normalize(image), self.fold))
        return logits

    def serve(self, thumbnail: Tensor) -> Tensor:
        """Return ``source_probability``: (B, 12) float32."""
        return self(thumbnail).softmax(dim=1)


class LabelDetector(nn.Module):
    """ResNet-18d UNet: 14 label classes at stride 4 and the page's orientation (8 classes) from one network."""

    def __init__(self, pretrained: bool = False) -> None:
        super().__init__()
        self.body = FoldedUNet("resnet18d", (256, 128, 64, 48, 48), fold=MAP_STRIDE, detail=32, pretrained=pretrained)
        self.label_head = nn.Conv2d(self.body.outputs, N_LABEL_CLASSES, 1)
        self.orientation_head = nn.Linear(self.body.deepest, N_ORIENTATIONS)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``(B, 3, H, W)`` to label logits (B, 14, H/4, W/4) and orientation logits (B, 8)."""
        deepest, finest = self.body(image)
        return self.label_head(finest), self.orientation_head(deepest.mean(dim=(2, 3)))

    def serve(self, page: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``label_probability`` (B, 14, H/4, W/4) uint8 and ``orientation_probability`` (B, 8) float32."""
        labels, orientation = self(page)
        return as_uint8(labels.softmax(dim=1)), orientation.softmax(dim=1)


class GridRectifier(nn.Module):
    """ResNet-34 CoordConv UNet over the aligned page; four tasks at stride 4.

    * node probability: does a 5 mm node lie in this cell;
    * node offset: from the cell's centre to that node, px;
    * lattice coordinate: (i, j) of the cell's centre in units of 5 mm lines, learned as the departure from where an
      undistorted page would have it. A smooth field averages well, where per-pixel line classes slip by one;
    * the labels again, as anchors of the absolute index.
    """

    def __init__(self, pretrained: bool = False) -> None:
        super().__init__()
        self.body = FoldedUNet(
            "resnet34", (256, 128, 64, 48, 48), fold=MAP_STRIDE, detail=48, coordinates=True, pretrained=pretrained
        )
        self.node_head = nn.Conv2d(self.body.outputs, 3, 1)
        self.departure_head = nn.Sequential(
            nn.Conv2d(self.body.outputs, 32, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(32, 2, 1)
        )
        self.label_head = nn.Conv2d(self.body.outputs, N_LABEL_CLASSES, 1)

    def forward(self, image: Tensor, coordinates: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Map ``(B, 3, H, W)`` and (B, 2, H/4, W/4) to maps at stride 4.

        Returns node logits (B, 1, h, w), offsets (B, 2, h, w) px, departures (B, 2, h, w) in squares (x, y), and
        label logits (B, 14, h, w).
        """
        _, finest = self.body(image, coordinates)
        node = self.node_head(finest)
        return (
            node[:, :1],
            1.75 * MAP_STRIDE * torch.tanh(node[:, 1:]),
            self.departure_head(finest),
            self.label_head(finest),
        )

    def serve(self, page: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return ``point_probability``, ``point_offset``, ``lattice_coordinate`` and ``label_probability``."""
        frame = RECTIFIER_WINDOW
        coordinates = _whole_frame(
            page, frame.height // MAP_STRIDE, frame.width // MAP_STRIDE, MAP_STRIDE, frame.width, frame.height
        )
        node, offset, departure, labels = self(page, coordinates)
        nominal = nominal_lattice(torch.zeros(1, 2, device=page.device), node.shape[-2], node.shape[-1])
        return as_uint8(node[:, 0].sigmoid()), offset, nominal + departure, as_uint8(labels.softmax(dim=1))


def nominal_lattice(origin: Tensor, height: int, width: int) -> Tensor:
    """Lattice coordinates (i, j) of stride-4 cells on an undistorted aligned page.

    Args:
        origin: (B, 2) float, (x, y) px of the crop's first pixel in the aligned frame.
        height, width: size of the map, cells.

    Returns:
        (B, 2, height, width) float32: column (i) and row (j) in units of 5 mm lines.
    """
    frame, sheet = RECTIFIER_WINDOW, RECTIFIER_WINDOW.sheet
    centre = (MAP_STRIDE - 1) / 2
    x = origin[:, :1] + MAP_STRIDE * torch.arange(width, device=origin.device, dtype=torch.float32) + centre
    y = origin[:, 1:] + MAP_STRIDE * torch.arange(height, device=origin.device, dtype=torch.float32) + centre
    i = ((x - frame.offset_x) / frame.scale - sheet.x0) / sheet.pitch
    j = ((y - frame.offset_y) / frame.scale - sheet.y0) / sheet.pitch
    return torch.stack([i[:, None, :].expand(-1, height, -1), j[:, :, None].expand(-1, -1, width)], dim=1)


class WaveformExtractor(nn.Module):
    """ResNet-34 CoordConv UNet over the rectified page: stroke coverage of each of the four printed rows.

    Works folded two by two and unfolds in the head, so that the coverage has the page's full resolution.
    """

    def __init__(self, pretrained: bool = False) -> None:
        super().__init__()
        self.rows = len(EXTRACTION_PLACES.zero_y)
        self.body = FoldedUNet("resnet34", (256, 128, 64, 48, 32), coordinates=True, pretrained=pretrained)
        self.coverage_head = nn.Conv2d(self.body.outputs, 4 * self.rows, 3, padding=1)

    def forward(self, image: Tensor, coordinates: Tensor) -> Tensor:
        """Map ``(B, 3, H, W)`` and (B, 2, H/2, W/2) to coverage logits (B, 4, H, W)."""
        _, finest = self.body(image, coordinates)
        return F.pixel_shuffle(self.coverage_head(finest), 2)

    def serve(self, page: Tensor) -> Tensor:
        """Return ``row_coverage``: (B, 4, 1700, 2200) uint8.

        Only the part of the page that is read goes through the network (``ROWS_WINDOW``); the coverage is 0 elsewhere.
        """
        height, width = page.shape[-2:]
        left, top, right, bottom = ROWS_WINDOW
        # Bytes only at the borders of the graph, beside the Cast: TensorRT takes them nowhere else.
        window = page.float()[:, :, top:bottom, left:right]
        below, beside = -(bottom - top) % 64, -(right - left) % 64
        window = F.pad(window, (0, beside, 0, below), value=255.0)
        origin = torch.tensor([[float(left), float(top)]], device=page.device)
        cells = (window.shape[-2] // 2, window.shape[-1] // 2)
        grid = coordinate_map(origin, *cells, 2, EXTRACTION_PLACES.width, EXTRACTION_PLACES.height)
        coverage = self(window, grid.expand(page.shape[0], -1, -1, -1)).sigmoid()
        read = coverage[:, :, : bottom - top, : right - left]
        return as_uint8(F.pad(read, (left, width - right, top, height - bottom)))


def build_network(name: str, pretrained: bool = False) -> nn.Module:
    """Make one of the four networks by its model name; raises ``KeyError`` for another name."""
    return {
        "source_classifier": SourceClassifier,
        "label_detector": LabelDetector,
        "grid_rectifier": GridRectifier,
        "waveform_extractor": WaveformExtractor,
    }[name](pretrained=pretrained)
