"""What each network is trained on: samples, loss, and validation figures that mean something for its stage."""

from cardioscan.training.tasks.grid_rectifier import GridTask
from cardioscan.training.tasks.label_detector import LabelTask
from cardioscan.training.tasks.source_classifier import SourceTask
from cardioscan.training.tasks.waveform_extractor import WaveformTask

__all__ = ["GridTask", "LabelTask", "SourceTask", "WaveformTask"]
