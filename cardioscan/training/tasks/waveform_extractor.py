"""The training task of the waveform extractor: strips of rectified pages and the ink of each row of traces."""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from cardioscan.errors import StageError
from cardioscan.evaluate.measure import compare
from cardioscan.flatten.fading import fade_lines
from cardioscan.networks.blocks import coordinate_map
from cardioscan.page.leads import LEADS, RECORD_SAMPLES
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.synthesis.flat import Region
from cardioscan.synthesis.recipes import RECIPES
from cardioscan.synthesis.signals import SignalSource
from cardioscan.synthesis.strips import waveform_strip
from cardioscan.training.losses import coverage_loss
from cardioscan.training.tasks.base import Batch, Sample
from cardioscan.training.tasks.pages import draw_page, draw_recipe, time_among_letters, time_beside_line
from cardioscan.waveform import decode_rows


class WaveformTask:
    """Strips of rectified pages.

    What is hard is rare, so many strips are made hard: a share ``beat_first`` of the pages has a beat where a lead
    begins, a share ``beat_on_line`` has one beside a vertical 5 mm line, on a share ``low_leads`` traces run through
    the letters of their names.

    The pipeline fades the 5 mm lines before it asks the network (:mod:`cardioscan.flatten.fading`); of a share
    ``faded`` of the strips they are, by more or less than there.

    Figures: IoU of the coverage; the trace's error in px where it is found; and the signals that the decoder reads from
    the network's coverage against those that it reads from the true one, dB.
    """

    batch_size = 4
    beat_first = 0.2
    beat_on_line = 0.1
    low_leads = 0.1
    faded = 0.75
    fading = (0.2, 0.8)
    strip_width = 384
    strip_height = 1216

    def __init__(self, signals: SignalSource, train: NDArray[np.integer], validation: NDArray[np.integer]) -> None:
        self.signals, self.train, self.validation = signals, train, validation

    def sample(self, rng: Generator) -> Sample:
        """Render one training sample."""
        return self._strip(self.train, draw_recipe(rng), rng)

    def _strip(self, records: NDArray[np.integer], recipe_name: str, rng: Generator) -> Sample:
        recipe = RECIPES[recipe_name]
        lowest = REFERENCE_PAGE.sheet.height - self.strip_height
        region = Region(
            int(rng.integers(0, (REFERENCE_PAGE.sheet.width - self.strip_width) // 2 + 1)) * 2,
            int(rng.integers((lowest - 160) // 2, lowest // 2 + 1)) * 2,
            self.strip_width,
            self.strip_height,
        )
        beat_s = self._beat_time(region, rng)
        page = draw_page(self.signals, records, recipe.variety, rng, beat_s, self.low_leads)
        strip = waveform_strip(page, recipe, region, rng)
        image = strip.image
        if rng.random() < self.faded:
            vertical, horizontal = rng.uniform(*self.fading, 2)
            image = fade_lines(
                image, vertical, horizontal * (rng.random() < 0.6), REFERENCE_PAGE.sheet, origin=strip.origin
            )
        return {
            "image": np.ascontiguousarray(image.transpose(2, 0, 1)),
            "coverage": strip.coverage,
            "origin": np.array(strip.origin, np.float32),
        }

    def _beat_time(self, region: Region, rng: Generator) -> float | None:
        drawn = rng.random()
        if drawn < self.beat_first:
            return time_among_letters(region, rng)
        return time_beside_line(region, rng) if drawn < self.beat_first + self.beat_on_line else None

    def validation_samples(self) -> list[Sample]:
        """The fixed validation samples, of held-out records."""
        rng = np.random.default_rng(20260101)
        names = ["clean", "phone_photo"] * 6 + ["bw_scan", "color_scan"] * 2
        return [self._strip(self.validation, name, rng) for name in names]

    def _logits(self, network: nn.Module, batch: Batch) -> Tensor:
        image = batch["image"]
        height, width = image.shape[-2:]
        coordinates = coordinate_map(
            batch["origin"], height // 2, width // 2, 2, REFERENCE_PAGE.sheet.width, REFERENCE_PAGE.sheet.height
        )
        logits: Tensor = network(image, coordinates)
        return logits

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch and its parts for the log."""
        loss = coverage_loss(self._logits(network, batch).float(), batch["coverage"].float() / 255)
        return loss, {"loss": float(loss.detach())}

    def metrics(self, network: nn.Module, batch: Batch) -> dict[str, float]:
        """Figures of merit of one validation batch."""
        probability = self._logits(network, batch).float().sigmoid()
        target = batch["coverage"].float() / 255
        found, true = probability > 0.5, target > 0.5
        union = (found | true).sum().clamp(min=1)
        height = torch.arange(target.shape[2], device=target.device, dtype=torch.float32)[None, None, :, None]
        ink = probability * (probability > 0.2)  # the faint floor of a thousand empty rows would pull the mean
        centre = (ink * height).sum(2) / ink.sum(2).clamp(min=1e-3)
        truth = (target * height).sum(2) / target.sum(2).clamp(min=1e-3)
        printed = target.sum(2) > 0.5
        error = (centre - truth)[printed].abs()
        return {
            "iou": float((found & true).sum() / union),
            "trace_error_px": float(error.median()) if error.numel() else 0.0,
            "columns_within_2px": float((error < 2).float().mean()) if error.numel() else 1.0,
            "trace_db": self._decoded_db(probability[0], target[0], batch["origin"][0]),
        }

    @staticmethod
    def _decoded_db(probability: Tensor, target: Tensor, origin: Tensor) -> float:
        """Signals from a strip's coverage (rows, h, w) in 0..1 against those from the true one, dB; NaN without any.

        ``origin`` is (x, y) px of the strip in the reference frame.
        """
        x, y = (int(value) for value in origin)
        signals = []
        for coverage in (probability, target):
            pixels = (coverage * 255 + 0.5).to(torch.uint8).cpu().numpy()
            page = np.zeros((REFERENCE_PAGE.n_rows, REFERENCE_PAGE.sheet.height, REFERENCE_PAGE.sheet.width), np.uint8)
            page[:, y : y + pixels.shape[1], x : x + pixels.shape[2]] = pixels[:, : REFERENCE_PAGE.sheet.height - y]
            try:
                signals.append(decode_rows(page, REFERENCE_PAGE).signals)
            except StageError:
                signals.append(np.full((len(LEADS), RECORD_SAMPLES), np.nan))
        found, true = signals
        return compare(found, true).snr_db if np.isfinite(true).any() and np.isfinite(found).any() else float("nan")
