"""Reading signals back: CSV, NPZ, WFDB and Parquet."""

from __future__ import annotations

import csv
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cardioscan.errors import FormatError
from cardioscan.formats._shared import optional_module
from cardioscan.formats._text import CSV_HEADER
from cardioscan.page.leads import LEADS, RECORD_SAMPLES, SAMPLING_RATE_HZ

_SHAPE: Final = (len(LEADS), RECORD_SAMPLES)
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_MILLIVOLTS: Final = {"v": 1000.0, "mv": 1.0, "uv": 0.001, "\u00b5v": 0.001, "\u03bcv": 0.001}
# Printed with 3 decimals, a time is at most half a millisecond off.
_TIME_TOLERANCE_S: Final = 0.00051


@dataclass(frozen=True, eq=False)
class ReadSignals:
    """Signals read from a file.

    Attributes:
        signals: (12, 5000) float64, mV, read-only; NaN = missing.
        leads: the names of the rows, always ``cardioscan.page.leads.LEADS``.
        sampling_rate_hz: always 500.
    """

    signals: NDArray[np.float64]
    leads: tuple[str, ...] = LEADS
    sampling_rate_hz: int = SAMPLING_RATE_HZ


def read_signals(path: str | Path) -> ReadSignals:
    """Read a 12-lead record of 10 s at 500 Hz from ``.csv``, ``.npz``, ``.hea`` (WFDB) or ``.parquet``.

    CSV and NPZ must have the leads in the order of ``LEADS``; WFDB and Parquet name each lead, so theirs may stand in
    any order, and WFDB's may be in V, mV or uV.

    Raises:
        FormatError: the file is missing, of another kind or malformed, or of another length or rate; the message names
            the file and the line, field or lead at fault.
        MissingDependencyError: the format's package is not installed.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise FormatError(f"{path}: signals can be read from {', '.join(_READERS)}, not from {path.suffix!r}")
    if not path.is_file():
        raise FormatError(f"{path}: no such file")
    signals = reader(path)
    if signals.shape != _SHAPE:
        raise FormatError(f"{path}: signals must be of shape {_SHAPE}, not {signals.shape}")
    infinite = np.argwhere(np.isinf(signals))
    if infinite.size:
        raise FormatError(f"{path}: lead {LEADS[infinite[0, 0]]}, sample {infinite[0, 1]} is infinite")
    signals.flags.writeable = False
    return ReadSignals(signals)


def _read_csv(path: Path) -> NDArray[np.float64]:
    values = np.empty((RECORD_SAMPLES, len(LEADS)))
    try:
        # utf-8-sig: spreadsheets like to add a byte order mark.
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = tuple(next(rows, ()))
            if header != CSV_HEADER:
                raise FormatError(f"{path}: line 1 must be {','.join(CSV_HEADER)!r}, not {','.join(header)[:200]!r}")
            count = 0
            for row in rows:
                if count == RECORD_SAMPLES:
                    raise FormatError(f"{path}: line {rows.line_num}: more than {RECORD_SAMPLES} rows of samples")
                values[count] = _csv_row(row, count, f"{path}: line {rows.line_num}")
                count += 1
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path}: not a CSV text file: {error}") from error
    if count != RECORD_SAMPLES:
        raise FormatError(f"{path}: line {count + 2}: {count} rows of samples instead of {RECORD_SAMPLES}")
    return np.ascontiguousarray(values.T)


def _csv_row(row: Sequence[str], sample: int, where: str) -> list[float]:
    if len(row) != len(CSV_HEADER):
        raise FormatError(f"{where}: {len(row)} fields instead of {len(CSV_HEADER)}")
    for name, text in zip(CSV_HEADER, row, strict=True):
        # float() alone would take "nan", "inf" and "1_000" too.
        if not _NUMBER.fullmatch(text) and (text or name == CSV_HEADER[0]):
            raise FormatError(f"{where}, field {name}: {text[:40]!r} is not a number")
    expected = sample / SAMPLING_RATE_HZ
    if abs(float(row[0]) - expected) > _TIME_TOLERANCE_S:
        raise FormatError(f"{where}, field time_s: {row[0]} where {expected:.3f} is due at {SAMPLING_RATE_HZ} Hz")
    return [float(text) if text else np.nan for text in row[1:]]


def _read_npz(path: Path) -> NDArray[np.float64]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            fields = {name: archive[name] for name in ("signals", "leads", "sampling_rate")}
    except KeyError as error:
        raise FormatError(f"{path}: {str(error.args[0])}") from error
    # TypeError: a single array under the name of an archive.
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise FormatError(f"{path}: not an NPZ file of signals: {error}") from error
    leads = tuple(str(lead) for lead in fields["leads"].ravel())
    if leads != LEADS:
        raise FormatError(f"{path}: field leads must be {', '.join(LEADS)}, not {', '.join(leads)[:200]}")
    _check_rate(path, fields["sampling_rate"].tolist(), "sampling_rate")
    signals = fields["signals"]
    if signals.dtype.kind not in "fiu":
        raise FormatError(f"{path}: field signals must hold numbers, not {signals.dtype}")
    return np.array(signals, np.float64)


def _check_rate(path: Path, rate: object, field: str) -> None:
    if rate != SAMPLING_RATE_HZ:
        raise FormatError(f"{path}: field {field} must be {SAMPLING_RATE_HZ} Hz, not {rate!r}")


def _read_wfdb(path: Path) -> NDArray[np.float64]:
    wfdb = optional_module("wfdb", "Reading WFDB")
    try:
        record = wfdb.rdrecord(str(path.with_suffix("")))
    # The library checks little: damaged headers surface as errors of almost any kind.
    except Exception as error:
        raise FormatError(f"{path}: not a readable WFDB record: {type(error).__name__}: {error}") from error
    if record.p_signal is None or record.sig_name is None:
        raise FormatError(f"{path}: the WFDB record holds no signals")
    _check_rate(path, record.fs, "sampling frequency")
    scales = []
    for name, unit in zip(record.sig_name, record.units, strict=True):
        if unit.lower() not in _MILLIVOLTS:
            raise FormatError(f"{path}: lead {name}: unit {unit!r} is not V, mV or uV")
        scales.append(_MILLIVOLTS[unit.lower()])
    signals = np.asarray(record.p_signal, np.float64) * np.array(scales)
    return _in_order(path, record.sig_name, dict(enumerate(signals.T)))


def _read_parquet(path: Path) -> NDArray[np.float64]:
    types = optional_module("pyarrow", "Reading Parquet").types
    parquet = optional_module("pyarrow.parquet", "Reading Parquet")
    try:
        # One file, not a folder or a partitioned data set.
        table = parquet.ParquetFile(path).read()
        missing = [name for name in ("lead", "sampling_rate_hz", "signal") if name not in table.column_names]
        if missing:
            raise FormatError(f"{path}: column {missing[0]} is missing")
        kind = table.schema.field("signal").type
        lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
        if not (lists and (types.is_floating(kind.value_type) or types.is_integer(kind.value_type))):
            raise FormatError(f"{path}: column signal must hold lists of numbers, not {kind}")
        columns = {name: table[name].to_pylist() for name in ("lead", "sampling_rate_hz")}
        rows = [_parquet_signal(path, *item) for item in zip(columns["lead"], table["signal"], strict=True)]
    # ArrowInvalid is a ValueError, ArrowNotImplementedError a NotImplementedError.
    except (OSError, ValueError, NotImplementedError) as error:
        raise FormatError(f"{path}: not a readable Parquet file: {error}") from error
    for rate in columns["sampling_rate_hz"]:
        _check_rate(path, rate, "sampling_rate_hz")
    return _in_order(path, columns["lead"], dict(enumerate(rows)))


def _parquet_signal(path: Path, lead: object, scalar: Any) -> NDArray[np.float64]:
    if scalar.values is None:
        raise FormatError(f"{path}: lead {lead}: column signal holds no list")
    return np.asarray(scalar.values.to_numpy(zero_copy_only=False), np.float64)


def _in_order(path: Path, names: Sequence[Any], rows: Mapping[int, NDArray[np.float64]]) -> NDArray[np.float64]:
    """The rows in the order of ``LEADS``; names are compared without regard to case ("AVR" is aVR)."""
    found: dict[str, int] = {}
    for index, name in enumerate(names):
        key = str(name).strip().lower()
        if key in found:
            raise FormatError(f"{path}: lead {name} stands there twice")
        found[key] = index
    missing = [lead for lead in LEADS if lead.lower() not in found]
    if missing:
        raise FormatError(f"{path}: lead {', '.join(missing)} is missing")
    chosen = [rows[found[lead.lower()]] for lead in LEADS]
    for lead, row in zip(LEADS, chosen, strict=True):
        if row.shape != (RECORD_SAMPLES,):
            raise FormatError(f"{path}: lead {lead} has {row.size} samples instead of {RECORD_SAMPLES}")
    return np.stack(chosen)


_READERS: Final[Mapping[str, Callable[[Path], NDArray[np.float64]]]] = MappingProxyType(
    {".csv": _read_csv, ".npz": _read_npz, ".hea": _read_wfdb, ".parquet": _read_parquet}
)
