"""What is held of a digitized page: its record, the corrections made to it, its pictures; as JSON and as files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from cardioscan.arrays import Floats
from cardioscan.errors import FormatError, MissingDependencyError
from cardioscan.formats import select_writers, writers
from cardioscan.imaging.geometry import homography_dlt, transform_points
from cardioscan.locate.outline import find_outline
from cardioscan.page.leads import LEADS
from cardioscan.page.read_page import ReadPage
from cardioscan.page.reference import REFERENCE_PAGE
from cardioscan.page.sheet import PX_PER_MM, Sheet
from cardioscan.pipeline import Digitization
from cardioscan.postprocess.editing import Edit, apply_edits
from cardioscan.record import EcgRecord, Outcome, Reason
from cardioscan_client.web.pictures import draw_pictures
from cardioscan_client.web.problems import Problem, for_people

MEDIA_TYPES: Final[Mapping[str, str]] = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".fhir.json": "application/fhir+json",
    ".xml": "application/xml",
    ".dcm": "application/dicom",
    ".pdf": "application/pdf",
    ".jpg": "image/jpeg",
    ".zip": "application/zip",
}
"""Media types by the ending of a file; all others are ``application/octet-stream``."""

_INSET: Final = 0.05  # of the picture, where nothing says where the page lies


@dataclass(frozen=True)
class File:
    """A file to download."""

    name: str
    content: bytes

    @property
    def media_type(self) -> str:
        """By its ending."""
        endings = (suffix for suffix in sorted(MEDIA_TYPES, key=len, reverse=True) if self.name.endswith(suffix))
        return MEDIA_TYPES.get(next(endings, ""), "application/octet-stream")


@dataclass(frozen=True, eq=False)
class HeldPage:
    """A page that was digitized or refused.

    Attributes:
        original: its record as digitized.
        record: the same with the corrections.
        pictures: JPEG files by name, see ``cardioscan_client.web.pictures``.
        geometry: where things lie on the picture, as plain JSON values.
        page: what is printed where; of a page that was not read, what is expected of one.
    """

    original: EcgRecord
    record: EcgRecord
    page: ReadPage
    pictures: Mapping[str, bytes]
    geometry: Mapping[str, Any]

    @classmethod
    def of(cls, details: Digitization, name: str, source: str, pictures: bool = True) -> HeldPage:
        """What to hold of a digitization; ``name`` and ``source`` are those of the upload."""
        reasons = tuple(Reason(reason.code, for_people(reason.detail)) for reason in details.record.reasons)
        record = replace(details.record, name=name, source=source, reasons=reasons)
        page = details.page or REFERENCE_PAGE
        if not pictures:
            return cls(record, record, page, {}, {})
        return cls(record, record, page, draw_pictures(details), _geometry(details, page.sheet))

    @property
    def size(self) -> int:
        """Bytes held, about."""
        return sum(map(len, self.pictures.values())) + 2 * (self.original.signals.nbytes * 3 // 2)

    def edited(self, edits: Sequence[Edit]) -> HeldPage:
        """This page with other corrections in place of those made so far. Raises ``EditError``."""
        return replace(self, record=apply_edits(self.original, edits))

    def to_json_dict(self) -> dict[str, Any]:
        """All that the page in the browser draws from, the pictures by name only."""
        return {
            "record": self.record.to_json_dict(),
            "leads": {lead: _lead(self.record, index) for index, lead in enumerate(LEADS)},
            "page": _page(self.page),
            "geometry": dict(self.geometry),
            "pictures": list(self.pictures),
            "formats": [name for name, writer in writers().items() if self._can_be(writer.holds_signals)],
        }

    def _can_be(self, holds_signals: bool) -> bool:
        return self.record.outcome is Outcome.DIGITIZED or not holds_signals

    def file(self, name: str) -> File:
        """The record in one format; several files of a format come as a ZIP, ``all`` is every format.

        Raises:
            Problem: there is no such format.
            FormatError, MissingDependencyError: the record cannot be written so.
        """
        return record_file(self.record, name, dict(self.pictures))


def record_file(record: EcgRecord, name: str, pictures: Mapping[str, bytes] | None = None) -> File:
    """A record in the format ``name``, see ``HeldPage.file``."""
    if name == "all":
        return File(f"{record.name}.zip", _zip(_all_files(record, pictures or {})))
    known_format(name)
    (writer,) = select_writers(name)
    files = writer.files(record)
    if len(files) > 1:
        return File(f"{record.name}.{name}.zip", _zip(files))
    ((file_name, content),) = files.items()
    return File(file_name, content)


def known_format(name: str) -> None:
    """Do nothing for a format or ``all``; raises ``Problem`` for anything else."""
    if name != "all" and name not in writers():
        known = ", ".join((*writers(), "all"))
        raise Problem(404, "unknown_format", "There is no such format", f"No format {name!r}; known are {known}.")


def _all_files(record: EcgRecord, pictures: Mapping[str, bytes]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    left_out: list[str] = []
    for writer in writers().values():
        if record.outcome is Outcome.REFUSED and writer.holds_signals:
            continue
        try:
            files |= writer.files(record)
        except (FormatError, MissingDependencyError) as error:
            left_out.append(f"{writer.name}: {error}\n")
    if left_out:
        files["left-out.txt"] = "".join(left_out).encode()
    for picture in ("overlay", "rectified"):
        if picture in pictures:
            files[f"{record.name}.{picture}.jpg"] = pictures[picture]
    return files


def _zip(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            # A fixed time: the same record gives the same bytes.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _lead(record: EcgRecord, index: int) -> dict[str, Any]:
    """The samples of a lead from the first to the last that was read; None in gaps."""
    there = np.flatnonzero(np.isfinite(record.signals[index]))
    if not there.size:
        return {"first": 0, "mv": [], "confidence": []}
    part = slice(int(there[0]), int(there[-1]) + 1)
    values = record.signals[index, part]
    return {
        "first": part.start,
        "mv": [None if np.isnan(value) else round(value, 4) for value in values.tolist()],
        "confidence": [round(value, 3) for value in record.confidence[index, part].tolist()],
    }


def _page(page: ReadPage) -> dict[str, Any]:
    sheet, scale, layout = page.sheet, page.scale, page.layout
    cells = [(segment, segment.cell) for segment in page.segments]
    rhythm = {(cell.lead, cell.row) for cell in layout.cells if layout.is_rhythm(cell)}
    return {
        "width": sheet.width,
        "height": sheet.height,
        "x0": sheet.x0,
        "y0": sheet.y0,
        "pitch": sheet.pitch,
        "px_per_mm": PX_PER_MM,
        "px_per_mv": scale.px_per_mv,
        "px_per_s": scale.px_per_s,
        "speed_mm_per_s": scale.speed_mm_per_s,
        "gain_mm_per_mv": scale.gain_mm_per_mv,
        "width_s": layout.width_s,
        "zero_y": list(page.zero_y),
        "segments": [
            {**asdict(cell), "left_s": layout.left_s(cell), "x_start": segment.x_start, "x_end": segment.x_end}
            for segment, cell in cells
        ],
        "names": [
            {"name": name.lead, "rhythm": (name.lead, name.row) in rhythm, "x": name.x, "y": name.y}
            for name in page.names
        ],
    }


def _geometry(details: Digitization, sheet: Sheet) -> dict[str, Any]:
    if details.image is None:
        return {"width": 0, "height": 0, "corners": None, "found": False, "labels": []}
    height, width = details.image.shape[:2]
    labels = [] if details.labels is None else details.labels.tolist()
    found = details.lattice is not None
    return {
        "width": width,
        "height": height,
        "corners": np.round(_corners(details, sheet), 2).tolist(),
        "found": found,
        "labels": [{"class_id": int(class_id), "x": round(x, 2), "y": round(y, 2)} for class_id, x, y in labels],
    }


def _corners(details: Digitization, sheet: Sheet) -> Floats:
    """(4, 2) px of the picture: where the sheet's corners are, or may be for a start."""
    assert details.image is not None
    if details.lattice is not None:
        ends = np.ix_([0, -1], [0, -1])
        matrix = homography_dlt(sheet.lattice()[ends].reshape(-1, 2), np.asarray(details.lattice)[ends].reshape(-1, 2))
        return transform_points(matrix, sheet.corners())
    outline = find_outline(details.image)
    if outline is not None:
        return outline
    height, width = details.image.shape[:2]
    low, right, bottom = _INSET * min(width, height), width - 1, height - 1
    return np.array([[low, low], [right - low, low], [right - low, bottom - low], [low, bottom - low]])
