"""What ``cardioscan train`` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

NETWORKS: Final = ("source_classifier", "label_detector", "grid_rectifier", "waveform_extractor")


@dataclass(frozen=True)
class TrainingOptions:
    """Options of one training run.

    Attributes:
        network: one of ``NETWORKS``.
        signals: an ``.npz`` archive, a folder of WFDB records, or None for the built-in simulator.
        minutes: how long to train; the learning rate follows a cosine over this time.
        steps: stop after so many steps instead; 0 means by time alone.
        batch_size: samples per step; 0 means the network's own default.
        learning_rate: peak rate of AdamW.
        resume: ``released`` (the ONNX file in the model repository), ``none``, or the path of a checkpoint, of an ONNX
            file or of a folder of float16 pieces. A checkpoint ``last.pt`` in ``directory`` is always
            preferred to ``released``.
        directory: where checkpoints and the log go.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: CPU threads for the arithmetic; 0 leaves the default.
        seed: start of all randomness.
        pretrained: start the encoder from timm's ImageNet weights (a download).
        workers: processes that render samples; 0 renders in the training process.
        validate_every: minutes between validations.
        pool: number of samples rendered ahead and used again with fresh draws of order; 0 renders each sample anew.
    """

    network: str
    signals: str | None = None
    minutes: float = 30.0
    steps: int = 0
    batch_size: int = 0
    learning_rate: float = 1.5e-3
    resume: str = "released"
    directory: Path = Path("runs")
    device: str = "auto"
    threads: int = 0
    seed: int = 0
    pretrained: bool = False
    workers: int = 0
    validate_every: float = 10.0
    pool: int = 0
