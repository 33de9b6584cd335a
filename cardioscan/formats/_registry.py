"""The registry of formats, and writing a record to a directory."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cardioscan.errors import FormatError
from cardioscan.formats._aecg import encode_aecg
from cardioscan.formats._arrays import encode_npz, encode_parquet
from cardioscan.formats._dicom import encode_dicom
from cardioscan.formats._edf import encode_edf
from cardioscan.formats._fhir import encode_fhir
from cardioscan.formats._pdf import encode_pdf
from cardioscan.formats._shared import EXTRA
from cardioscan.formats._text import encode_csv, encode_json
from cardioscan.formats._wfdb import encode_wfdb, wfdb_record_name
from cardioscan.record import EcgRecord, Outcome


def _same_stem(name: str) -> str:
    return name


@dataclass(frozen=True)
class FormatWriter:
    """One format: what its files are called and how their bytes are made.

    Attributes:
        name: what callers ask for.
        suffixes: endings of its files, one for each item that ``encode`` returns.
        extra: the extra of the distribution that it needs, None where the base installation is enough.
        encode: ``(record, stem) -> bytes`` of each file, in the order of ``suffixes``. Raises FormatError where the
            format cannot hold the record and MissingDependencyError where its package is not installed.
        stem: record name -> stem of the files; only WFDB changes it.
        holds_signals: False where the file says something about a refused page as well.
    """

    name: str
    suffixes: tuple[str, ...]
    extra: str | None
    encode: Callable[[EcgRecord, str], tuple[bytes, ...]]
    stem: Callable[[str], str] = _same_stem
    holds_signals: bool = True

    def files(self, record: EcgRecord) -> dict[str, bytes]:
        """The files of one record, by file name. Writes nothing.

        Raises:
            FormatError: the record is refused and the format holds signals, or a value does not fit.
            MissingDependencyError: the format's package is not installed.
        """
        if self.holds_signals and record.outcome is Outcome.REFUSED:
            raise FormatError(f"{record.name}: a refused page has no signals to write as {self.name}")
        stem = self.stem(record.name)
        contents = self.encode(record, stem)
        return {stem + suffix: content for suffix, content in zip(self.suffixes, contents, strict=True)}


_WRITERS: Final[Mapping[str, FormatWriter]] = MappingProxyType(
    {
        writer.name: writer
        for writer in (
            FormatWriter("csv", (".csv",), None, encode_csv),
            FormatWriter("json", (".json",), None, encode_json, holds_signals=False),
            # The data file comes first: a header never names samples that are not there yet.
            FormatWriter("wfdb", (".dat", ".hea"), EXTRA, encode_wfdb, stem=wfdb_record_name),
            FormatWriter("npz", (".npz",), None, encode_npz),
            FormatWriter("parquet", (".parquet",), EXTRA, encode_parquet),
            FormatWriter("edf", (".edf",), EXTRA, encode_edf),
            FormatWriter("dicom", (".dcm",), EXTRA, encode_dicom),
            FormatWriter("fhir", (".fhir.json",), None, encode_fhir),
            FormatWriter("aecg", (".xml",), None, encode_aecg),
            FormatWriter("pdf", (".pdf",), "plot", encode_pdf),
        )
    }
)


def writers() -> Mapping[str, FormatWriter]:
    """All formats by name, read-only, in the order in which help texts list them."""
    return _WRITERS


def format_names() -> tuple[str, ...]:
    """The names of all formats."""
    return tuple(_WRITERS)


def select_writers(formats: str | Iterable[str]) -> tuple[FormatWriter, ...]:
    """The writers for ``formats``: names, or one string of names with commas between; each once, in order.

    Raises:
        FormatError: a name is unknown, or there is none; the message names the known ones.
    """
    asked = formats.split(",") if isinstance(formats, str) else list(formats)
    names = list(dict.fromkeys(name.strip().lower() for name in asked))
    known = ", ".join(_WRITERS)
    if not names:
        raise FormatError(f"no output format given; known formats: {known}")
    for name in names:
        if name not in _WRITERS:
            raise FormatError(f"unknown format {name!r}; known formats: {known}")
    return tuple(_WRITERS[name] for name in names)


def write_record(
    record: EcgRecord, directory: str | Path, formats: str | Iterable[str] = ("csv", "json")
) -> list[Path]:
    """Write a record's files, creating ``directory`` where it does not exist.

    A digitized record writes the formats asked for. A refused one writes ``name.json`` alone, asked for or not, and no
    file of signals: a CSV of empty fields could be taken for a flat ECG. Existing files are replaced; other files of
    the directory stay as they are, so ``name.json`` says what a page became, not the files beside it.

    Every format is encoded before the first file appears, each file is written beside its place and moved over it in
    one step, and JSON comes last: a reader never sees half a file, and a ``name.json`` means that the rest is there.

    Returns:
        The files written, in the order of ``formats`` and, within a format, of its suffixes.

    Raises:
        FormatError: unknown format, or a value that a format cannot hold. Nothing was written.
        MissingDependencyError: the package of a format is not installed. Nothing was written.
        OSError: the directory or a file cannot be written.
    """
    chosen = select_writers(formats)
    if record.outcome is Outcome.REFUSED:
        chosen = (_WRITERS["json"],)
    contents = [(writer, writer.files(record)) for writer in chosen]
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    for _, files in sorted(contents, key=lambda item: not item[0].holds_signals):
        for name, content in files.items():
            _replace_file(folder / name, content)
    return [folder / name for _, files in contents for name in files]


def _replace_file(path: Path, content: bytes) -> None:
    """Write ``content`` to a new file in the same folder, then rename it to ``path``."""
    # Not tempfile: its files are readable by their owner only, and would stay so under their final name.
    temporary = path.parent / f".cardioscan-{secrets.token_hex(8)}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
