"""Building blocks shared by the three segmentation networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalize(nn.Module):
    """uint8 or float images in 0..255, ``(B, 3, H, W)``, to float32 with ImageNet's mean and deviation."""

    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        self.register_buffer("scale", (1 / (255 * std)).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", (-mean / std).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return ``(B, 3, H, W)`` float32."""
        return image.float() * self.scale + self.shift


def coordinate_map(origin: Tensor, height: int, width: int, step: int, frame_width: int, frame_height: int) -> Tensor:
    """CoordConv channels of a crop.

    Args:
        origin: (B, 2) float tensor, (x, y) px of the crop's first pixel in its frame.
        height, width: size of the map in cells.
        step: px per cell; a cell stands at the mean of its pixels' centres.
        frame_width, frame_height: size of the whole frame, px.

    Returns:
        (B, 2, height, width) float32, (x, y) from -1 to 1 over the frame.
    """
    centre = (step - 1) / 2
    x = origin[:, :1] + step * torch.arange(width, device=origin.device, dtype=torch.float32) + centre
    y = origin[:, 1:] + step * torch.arange(height, device=origin.device, dtype=torch.float32) + centre
    x = (2 * x / (frame_width - 1) - 1).view(-1, 1, 1, width).expand(-1, 1, height, width)
    y = (2 * y / (frame_height - 1) - 1).view(-1, 1, height, 1).expand(-1, 1, height, width)
    return torch.cat([x, y], dim=1)


class ConvNormAct(nn.Sequential):
    """3x3 convolution, batch norm, ReLU; keeps the spatial size."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int = 3) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class DecoderStage(nn.Module):
    """Doubles the resolution and merges a skip connection: ``(B, C, h, w)`` to ``(B, outputs, 2h, 2w)``."""

    def __init__(self, inputs: int, skip: int, outputs: int, convolutions: int = 2) -> None:
        super().__init__()
        layers = [ConvNormAct(inputs + skip, outputs)]
        layers += [ConvNormAct(outputs, outputs) for _ in range(convolutions - 1)]
        self.convolutions = nn.Sequential(*layers)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """Upsample ``x`` (nearest neighbour), append ``skip`` and convolve."""
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return self.convolutions(x if skip is None else torch.cat([x, skip], dim=1))


class FoldedUNet(nn.Module):
    """A UNet on a timm encoder that works on a folded page.

    The image is normalised and folded (``pixel_unshuffle``: with ``fold`` 2, 3 channels become 12 at half the
    resolution), so that the encoder costs a quarter (a sixteenth) of its price at full size while every pixel is still
    seen; details that need full resolution come back out of the head by ``pixel_shuffle``.

    Args:
        encoder: a timm model that offers ``features_only`` with strides 2, 4, 8, 16, 32 (of the folded image).
        decoder: output channels of the decoder's stages, deepest first. Four stages end at stride 2 of the folded
            image, five at stride 1, where a convolution of the folded image itself is the skip connection.
        fold: side of the square of pixels that becomes one cell.
        detail: channels of that last skip connection.
        coordinates: add two CoordConv channels.
        pretrained: start from timm's ImageNet weights (needs their download).

    ``forward(image, coordinates)`` takes ``(B, 3, H, W)`` in 0..255 with H and W multiples of ``fold`` and, with
    ``coordinates``, ``(B, 2, H/fold, W/fold)``; it returns ``(deepest, finest)`` features. Sizes that are not
    multiples of 32 cells are padded with zeros at the right and the bottom, and the finest features cropped back.
    """

    def __init__(
        self,
        encoder: str,
        decoder: Sequence[int],
        fold: int = 2,
        detail: int = 16,
        coordinates: bool = False,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        channels = 3 * fold * fold + (2 if coordinates else 0)
        self.fold = fold
        self.normalize = Normalize()
        self.encoder = timm.create_model(encoder, features_only=True, in_chans=channels, pretrained=pretrained)
        encoder_module: Any = self.encoder
        widths = list(encoder_module.feature_info.channels())
        skips = [*widths[-2::-1]]
        self.detail: nn.Module | None = None
        if len(decoder) == len(widths):
            self.detail = ConvNormAct(channels, detail)
            skips.append(detail)
        stages: list[nn.Module] = []
        inputs = widths[-1]
        for outputs, skip in zip(decoder, skips, strict=True):
            finest = self.detail is not None and len(stages) == len(decoder) - 1
            stages.append(DecoderStage(inputs, skip, outputs, convolutions=1 if finest else 2))
            inputs = outputs
        self.stages = nn.ModuleList(stages)
        self.outputs = inputs
        self.deepest = widths[-1]

    def forward(self, image: Tensor, coordinates: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the encoder's deepest and the decoder's finest features."""
        x = F.pixel_unshuffle(self.normalize(image), self.fold)
        if coordinates is not None:
            x = torch.cat([x, coordinates], dim=1)
        height, width = x.shape[-2:]
        bottom, right = -height % 32, -width % 32
        if bottom or right:
            x = F.pad(x, (0, right, 0, bottom))
        features = self.encoder(x)
        skips: list[Tensor] = list(features[-2::-1])
        if self.detail is not None:
            skips.append(self.detail(x))
        deepest = y = features[-1]
        for stage, skip in zip(self.stages, skips, strict=True):
            y = stage(y, skip)
        if bottom or right:
            stride = x.shape[-1] // y.shape[-1]
            y = y[:, :, : height // stride, : width // stride]
        return deepest, y
