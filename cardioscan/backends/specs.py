"""One frozen ``NetworkSpec`` per network: the source of ``config.pbtxt``, of the clients' checks and of the tests.

``DIGITIZER`` is the same for the whole pipeline, which a server offers beside the networks.

What changes with every release (version, hash, figures) stands in ``released.json`` beside this file, written by
``cardioscan export``; what is fixed by architecture and training stands here: tensors, the places in which the label
detector knows the lead names, the window that the grid rectifier sees, the places of the extractor's rows.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np

from cardioscan.arrays import Floats, Points
from cardioscan.errors import ModelError
from cardioscan.page.leads import LEADS, RECORD_SAMPLES
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.page.sheet import Sheet

MODELS_VARIABLE: Final = "CARDIOSCAN_MODELS"
"""Environment variable that names another model repository."""


@dataclass(frozen=True)
class LabelClass:
    """A class of the label maps: a lead name at one place. Its keypoint is the lattice node ``(j, i)``."""

    class_id: int
    lead: str
    j: int
    i: int


@dataclass(frozen=True)
class NamePlaces:
    """The lead names as label detector and grid rectifier know them: each class is a name at a node of one sheet."""

    sheet: Sheet
    classes: tuple[LabelClass, ...]

    def points(self) -> Floats:
        """Keypoints of the classes: (n, 2) float64, (x, y) px of the reference frame."""
        return np.array([self.sheet.node(label.j, label.i) for label in self.classes], np.float64)


@dataclass(frozen=True)
class RectifierWindow:
    """What the grid rectifier sees: so much of a sheet at one scale, with a margin for paper that is bent.

    A point (x, y) of the reference frame lies at ``x * scale + offset_x``, ``y * scale + offset_y``, px.
    """

    sheet: Sheet
    width: int
    height: int
    scale: float
    offset_x: float
    offset_y: float

    @property
    def pitch(self) -> float:
        """Px from one 5 mm line to the next."""
        return self.sheet.pitch * self.scale

    @property
    def matrix(self) -> Floats:
        """The 3x3 matrix that takes homogeneous reference points to the window."""
        return np.array([[self.scale, 0, self.offset_x], [0, self.scale, self.offset_y], [0, 0, 1]], np.float64)

    def from_reference(self, points: Points) -> Floats:
        """Map points ``(..., 2)`` of the reference frame as (x, y) to the window, float64."""
        return np.asarray(points, np.float64) * self.scale + (self.offset_x, self.offset_y)


@dataclass(frozen=True)
class ExtractionPlaces:
    """What the waveform extractor sees: a flat page, with a row's zero line at each of its places, px."""

    width: int
    height: int
    zero_y: tuple[float, ...]


def _trained_names() -> NamePlaces:
    sheet = REFERENCE_PAGE.sheet
    nodes = [
        (round((n.y - sheet.y0) / sheet.pitch), round((n.x - sheet.x0) / sheet.pitch)) for n in REFERENCE_PAGE.names
    ]
    classes = (
        LabelClass(k, n.lead, *node) for k, (n, node) in enumerate(zip(REFERENCE_PAGE.names, nodes, strict=True), 1)
    )
    return NamePlaces(sheet, tuple(classes))


NAME_PLACES: Final = _trained_names()
"""The classes of label detector and grid rectifier; class 0 is the background."""
DETECTOR_INPUT: Final = (1440, 1152)
"""Width and height of the label detector's input, px."""
MARGIN_GREY: Final = 128
"""Grey level of what is put around a picture that does not fill the input of a network."""
RECTIFIER_WINDOW: Final = RectifierWindow(REFERENCE_PAGE.sheet, 1440, 1152, 1280 / 2200, 74.0, 90.0)
EXTRACTION_PLACES: Final = ExtractionPlaces(
    REFERENCE_PAGE.sheet.width, REFERENCE_PAGE.sheet.height, REFERENCE_PAGE.zero_y
)

_CELLS = (RECTIFIER_WINDOW.height // 4, RECTIFIER_WINDOW.width // 4)
_N_LABELS = len(NAME_PLACES.classes) + 1
_PAGE = (EXTRACTION_PLACES.height, EXTRACTION_PLACES.width)


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of a model: name, NumPy dtype and shape without the batch axis; -1 stands for any length."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class NetworkSpec:
    """One network as it is served.

    Attributes:
        name: name of the model in the repository.
        architecture: in words.
        inputs, outputs: its tensors; every one has a leading batch axis besides.
        max_batch: largest batch that a server should form.
        licence: of the weights.
        training_data: what the weights were trained on.
    """

    name: str
    architecture: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch: int
    licence: str = "Apache-2.0"
    training_data: str = "pages rendered by CardioScan from PTB-XL signals (CC BY 4.0)"

    @property
    def version(self) -> int:
        """Version number of the release (the folder's name in the repository)."""
        return int(released(self.name).get("version", 1))

    @property
    def sha256(self) -> str:
        """SHA-256 of the released ONNX file, lower-case hexadecimal; empty if this checkout has no release."""
        return str(released(self.name).get("sha256", ""))

    @property
    def file(self) -> str:
        """Path of the ONNX file inside the model repository."""
        return f"{self.name}/{self.version}/model.onnx"


SPECS: Final = {
    spec.name: spec
    for spec in (
        NetworkSpec(
            "source_classifier",
            "EfficientNet-B5, folded by 4",
            (TensorSpec("thumbnail", "uint8", (3, 456, 456)),),
            (TensorSpec("source_probability", "float32", (12,)),),
            max_batch=16,
        ),
        NetworkSpec(
            "label_detector",
            "ResNet-18d UNet, folded by 4",
            (TensorSpec("page", "uint8", (3, *DETECTOR_INPUT[::-1])),),
            (
                TensorSpec("label_probability", "uint8", (_N_LABELS, *_CELLS)),
                TensorSpec("orientation_probability", "float32", (8,)),
            ),
            max_batch=8,
        ),
        NetworkSpec(
            "grid_rectifier",
            "ResNet-34 CoordConv UNet, folded by 4",
            (TensorSpec("page", "uint8", (3, RECTIFIER_WINDOW.height, RECTIFIER_WINDOW.width)),),
            (
                TensorSpec("point_probability", "uint8", _CELLS),
                TensorSpec("point_offset", "float32", (2, *_CELLS)),
                TensorSpec("lattice_coordinate", "float32", (2, *_CELLS)),
                TensorSpec("label_probability", "uint8", (_N_LABELS, *_CELLS)),
            ),
            max_batch=8,
        ),
        NetworkSpec(
            "waveform_extractor",
            "ResNet-34 CoordConv UNet, folded by 2",
            (TensorSpec("page", "uint8", (3, *_PAGE)),),
            (TensorSpec("row_coverage", "uint8", (len(EXTRACTION_PLACES.zero_y), *_PAGE)),),
            max_batch=4,
        ),
    )
}
"""The four networks by name."""


@dataclass(frozen=True)
class PipelineSpec:
    """The whole pipeline as it is served: one page in, one record out, without a batch axis.

    Text is UTF-8 in tensors of uint8. KServe's BYTES would say so more clearly, but Triton's Python backend needs a
    NumPy of its own generation for it, and as raw bytes a caller need not strip lengths from what it sends and gets.

    Attributes:
        name: name of the model in the repository.
        version: of its tensors; another one when these change.
        inputs, outputs: its tensors.
        max_bytes, max_pixels: largest encoded picture and largest width x height that it takes.
        max_batch: 0, there is no batch axis.
        sha256: empty, for it has no weights of its own.
    """

    name: str
    version: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_bytes: int
    max_pixels: int
    max_batch: int = 0
    sha256: str = ""


DIGITIZER: Final = PipelineSpec(
    "ecg_digitizer",
    1,
    (TensorSpec("image", "uint8", (-1,)),),
    (
        TensorSpec("signals", "float32", (len(LEADS), RECORD_SAMPLES)),
        TensorSpec("confidence", "float32", (len(LEADS), RECORD_SAMPLES)),
        TensorSpec("lead_confidence", "float32", (len(LEADS),)),
        TensorSpec("outcome", "uint8", (-1,)),
        TensorSpec("reasons", "uint8", (-1,)),
        TensorSpec("record", "uint8", (-1,)),
    ),
    max_bytes=64 << 20,
    max_pixels=100_000_000,
)
"""The pipeline beside the networks: ``image`` is an encoded file; ``signals`` are mV with NaN; ``outcome`` is text,
``reasons`` and ``record`` (the content of ``page.json``) are JSON. The page of a PDF or TIFF is ``PAGE_PARAMETER``."""

PAGE_PARAMETER: Final = "page"
PROFILE_PARAMETER: Final = "profile"
"""Parameters of a request to ``DIGITIZER``: page of the document, from 0, and one of ``cardioscan.options.PROFILES``.
Parameters and no further tensors, so that the bytes of a file alone are a valid request over HTTP."""


@lru_cache(maxsize=1)
def _manifest() -> dict[str, dict[str, Any]]:
    resource = files("cardioscan.backends").joinpath("released.json")
    if not resource.is_file():
        return {}
    manifest: dict[str, dict[str, Any]] = json.loads(resource.read_text(encoding="utf-8"))
    return manifest


def released(name: str) -> dict[str, Any]:
    """The release notes of one network: version, sha256, bytes, opset, figures; empty without a release."""
    return _manifest().get(name, {})


def repository_candidates(explicit: str | Path | None = None) -> list[Path]:
    """Where the model repository may be, first choice first.

    An explicit path stands alone; otherwise ``$CARDIOSCAN_MODELS``, the ``model_repository`` of a source checkout, and
    ``share/cardioscan/model_repository`` of the Python installation.
    """
    if explicit is not None:
        return [Path(explicit)]
    from_variable = os.environ.get(MODELS_VARIABLE)
    if from_variable:
        return [Path(from_variable)]
    return [
        Path(__file__).resolve().parents[2] / "model_repository",
        Path(sys.prefix) / "share" / "cardioscan" / "model_repository",
    ]


def find_model_file(name: str, repository: str | Path | None = None, missing_ok: bool = False) -> Path | None:
    """Path of a network's released ONNX file; None with ``missing_ok``, else ``ModelError`` if there is none."""
    candidates = [folder / SPECS[name].file for folder in repository_candidates(repository)]
    for path in candidates:
        if path.is_file():
            return path
    if missing_ok:
        return None
    looked = " or ".join(str(path) for path in candidates)
    raise ModelError(
        f"the network '{name}' is missing: no file {looked}. Run from a checkout of the project, or set "
        f"{MODELS_VARIABLE} to the folder that holds {name}/{SPECS[name].version}/model.onnx"
    )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, lower-case hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def check_model_file(name: str, path: Path) -> str:
    """Compare a model file with the released hash and return it; raises ``ModelError`` when they differ."""
    found, wanted = file_sha256(path), SPECS[name].sha256
    if wanted and found != wanted:
        raise ModelError(
            f"{path} is not the released '{name}': its SHA-256 is {found}, expected {wanted}. The file may be damaged "
            "or half downloaded (git lfs, interrupted copy); restore it, or pass verify=False for your own weights"
        )
    return found
