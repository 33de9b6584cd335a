"""What each network is trained on: samples, loss, and validation figures that mean something for its stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from cardioscan.errors import StageError
from cardioscan.evaluate.measure import compare
from cardioscan.flatten.fading import fade_lines
from cardioscan.networks.blocks import coordinate_map
from cardioscan.networks.models import MAP_STRIDE, nominal_lattice
from cardioscan.page.leads import LEADS, RECORD_SAMPLES, SAMPLING_RATE_HZ
from cardioscan.page.template import STANDARD_PAGE
from cardioscan.synthesis.flat import FlatPage, Region, lay_out
from cardioscan.synthesis.recipes import RECIPES, CaptureRecipe
from cardioscan.synthesis.signals import SignalSource
from cardioscan.synthesis.strips import waveform_strip
from cardioscan.synthesis.style import random_style, without_grid
from cardioscan.synthesis.views import grid_sample, label_sample, source_thumbnail
from cardioscan.training.losses import coverage_loss, departure_loss, label_loss, node_loss, offset_loss
from cardioscan.waveform import decode_rows

Sample = Mapping[str, NDArray[Any]]
Batch = Mapping[str, Tensor]

RECIPE_WEIGHTS: Mapping[str, float] = {
    "clean": 0.18,
    "color_scan": 0.10,
    "bw_scan": 0.18,
    "phone_photo": 0.30,
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


def draw_page(
    signals: SignalSource,
    records: NDArray[np.integer],
    variety: float,
    rng: Generator,
    beat_s: float | None = None,
    low_leads: float = 0.0,
) -> FlatPage:
    """Lay out a page of one of ``records`` in a random style; now and then a row is missing or the leads are scaled.

    A fifth of the pages is drawn much larger than life: V leads of more than 3 mV cross into the next row and S waves
    run through lead names, which is rare in the records themselves and where most is lost. ``beat_s``: a time of the
    page, s, at which a beat is to stand; None leaves the record as it is. Of a share ``low_leads`` each lead is drawn
    up to 1 mV below its zero line, where a lead that begins runs through the letters of its name.
    """
    signal = signals.record(int(rng.choice(records)))
    if beat_s is not None:
        signal = beat_at(signal, beat_s)
    if rng.random() < 0.2:
        signal = signal * np.float32(rng.uniform(1.3, 2.5))
    if rng.random() < 0.25 * variety:
        signal = signal * np.float32(rng.uniform(0.7, 1.6))
    if rng.random() < low_leads:
        signal = signal - rng.uniform(-0.2, 1.0, (len(LEADS), 1)).astype(np.float32)
    missing = int(rng.integers(STANDARD_PAGE.n_rows)) if rng.random() < 0.02 * variety else None
    return lay_out(signal, random_style(rng, variety), rng, missing_row=missing)


def beat_at(signal: NDArray[np.float32], seconds: float) -> NDArray[np.float32]:
    """Turn a record (12, 5000) in time until the QRS complex nearest to that place has its steepest stroke there."""
    wanted = seconds * SAMPLING_RATE_HZ
    steepness = np.abs(np.diff(signal, axis=1)).sum(axis=0)
    near = np.arange(steepness.size)
    # Of all beats the one that has to go least far: the steepest place within a second of where it is wanted.
    within = np.abs((near - wanted + RECORD_SAMPLES / 2) % RECORD_SAMPLES - RECORD_SAMPLES / 2) < SAMPLING_RATE_HZ
    beat = int(np.argmax(np.where(within, steepness, -1.0)))
    return np.roll(signal, round(wanted - beat), axis=1)


def time_among_letters(strip: Region, rng: Generator) -> float:
    """A time, s, up to 0.2 s behind the beginning of a lead: among the bar and the letters of the lead's name.

    Of the leads that begin in the strip, if any does.
    """
    starts = {segment.t_start: segment.x_start for segment in STANDARD_PAGE.segments}
    inside = [start for start, x in starts.items() if strip.x <= x < strip.x + strip.width]
    return float(rng.choice(inside or sorted(starts)) + rng.uniform(-0.02, 0.2))


def time_beside_line(strip: Region, rng: Generator) -> float | None:
    """A time, s, up to 6 px beside one of the vertical 5 mm lines of the strip; None where none crosses a trace.

    On black-and-white scans these lines are as black as the trace, and its steep strokes run along them.
    """
    first = min(segment.x_start for segment in STANDARD_PAGE.segments)
    last = max(segment.x_end for segment in STANDARD_PAGE.segments)
    lines = STANDARD_PAGE.grid_x0 + STANDARD_PAGE.grid_pitch * np.arange(STANDARD_PAGE.n_vertical_lines)
    low, high = max(first, strip.x), min(last, strip.x + strip.width)
    lines = lines[(lines > low) & (lines < high)]
    if not lines.size:
        return None
    return float((rng.choice(lines) - first) / STANDARD_PAGE.px_per_s + rng.uniform(-0.03, 0.03))


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
        lowest = STANDARD_PAGE.height - self.strip_height
        region = Region(
            int(rng.integers(0, (STANDARD_PAGE.width - self.strip_width) // 2 + 1)) * 2,
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
            image = fade_lines(image, vertical, horizontal * (rng.random() < 0.6), origin=strip.origin)
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
            batch["origin"], height // 2, width // 2, 2, STANDARD_PAGE.width, STANDARD_PAGE.height
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
            page = np.zeros((STANDARD_PAGE.n_rows, STANDARD_PAGE.height, STANDARD_PAGE.width), np.uint8)
            page[:, y : y + pixels.shape[1], x : x + pixels.shape[2]] = pixels[:, : STANDARD_PAGE.height - y]
            try:
                signals.append(decode_rows(page).signals)
            except StageError:
                signals.append(np.full((len(LEADS), RECORD_SAMPLES), np.nan))
        found, true = signals
        return compare(found, true).snr_db if np.isfinite(true).any() and np.isfinite(found).any() else float("nan")


class _PageTask:
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


class LabelTask(_PageTask):
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


class GridTask(_PageTask):
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
        frame = STANDARD_PAGE.aligned
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


def turned_at_random(image: Tensor) -> Tensor:
    """A square picture (C, H, H) in one of its 8 orientations, drawn from torch's generator (seeded by the run)."""
    turns, mirrored = divmod(int(torch.randint(8, ())), 2)
    turned = torch.rot90(image, turns, (1, 2))
    return turned.flip(2) if mirrored else turned


class SourceTask(_PageTask):
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
