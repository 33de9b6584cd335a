"""Where the signals on rendered pages come from."""

from __future__ import annotations

import importlib
import math
import zipfile
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from cardioscan.errors import MissingDependencyError, SignalSourceError
from cardioscan.page.leads import LEADS, RECORD_SAMPLES, RECORD_SECONDS, SAMPLING_RATE_HZ
from cardioscan.synthesis.leads import twelve_leads
from cardioscan.synthesis.simulator import SimulatedSignals

SIMULATED: Final = "simulated"
"""The name by which ``open_signals`` knows the built-in simulator."""

VALIDATION_SHARE: Final = 0.05

_MV_PER_UNIT = {"mv": 1.0, "uv": 1e-3, "\N{MICRO SIGN}v": 1e-3, "\N{GREEK SMALL LETTER MU}v": 1e-3, "v": 1e3}
_TAIL_SECONDS = 0.5  # read beyond the end where there is more, so that the resampling filter sees real signal there


class SignalSource(Protocol):
    """A collection of 12-lead records, 10 s at 500 Hz."""

    def __len__(self) -> int:
        """Number of records."""
        ...

    def record(self, index: int) -> NDArray[np.float32]:
        """Record ``index``: (12, 5000) float32, mV, leads in the order of ``cardioscan.page.leads.LEADS``."""
        ...


class PtbXlArchive:
    """Real records from an ``.npz`` archive of first differences (``diff_uv``: records x 8 leads x 5000, int16, µV).

    Leads are I, II, V1..V6; ``cumsum`` along time gives µV. Raises ``SignalSourceError`` when the file is missing or
    has another layout.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        if not path.is_file():
            raise SignalSourceError(f"no signal archive at {path}; give the path of an .npz with the array 'diff_uv'")
        try:
            archive = np.load(path)
            if isinstance(archive, np.ndarray) or "diff_uv" not in archive:
                raise SignalSourceError(f"{path} holds no array 'diff_uv'")
            with archive:
                self._diff = archive["diff_uv"]
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise SignalSourceError(f"{path} is no readable .npz archive: {error}") from error
        if self._diff.ndim != 3 or self._diff.shape[1:] != (8, RECORD_SAMPLES):
            raise SignalSourceError(f"{path}: 'diff_uv' must be (records, 8, {RECORD_SAMPLES}), not {self._diff.shape}")

    def __len__(self) -> int:
        """Number of records."""
        return int(self._diff.shape[0])

    def record(self, index: int) -> NDArray[np.float32]:
        """Record ``index``: (12, 5000) float32, mV, in the order of ``LEADS``."""
        microvolts = np.cumsum(self._diff[index], axis=-1, dtype=np.int32)
        return twelve_leads(microvolts / 1000.0)


@dataclass(frozen=True)
class _WfdbEntry:
    """A usable record: path without ``.hea``, its channels in the order of ``LEADS``, mV per unit of each, rate."""

    path: str
    channels: tuple[int, ...]
    mv_per_unit: tuple[float, ...]
    rate_hz: float
    length: int


class WfdbFolder:
    """The 12-lead records below a folder of WFDB files (PTB-XL, the PhysioNet challenges, ...).

    Every ``.hea`` below the folder counts as one record, of which the first 10 s are used, resampled to 500 Hz by a
    polyphase filter. Left out, and counted, are records shorter than 10 s, without all twelve leads (names compared
    without regard to case), in a unit that is no voltage, unreadable, or with gaps in these 10 s.

    Attributes:
        skipped: number of records left out.
        skip_reasons: number of records left out by reason.

    Args:
        path: the folder; records are taken in order of their path.
        check_samples: read every record once, to leave out those with gaps or damage. False saves that time for
            folders known to be sound; ``record`` then gives NaN in gaps and raises on damage.

    Raises:
        SignalSourceError: no such folder, or no usable record in it.
        MissingDependencyError: the package wfdb is not installed.
    """

    def __init__(self, path: str | Path, *, check_samples: bool = True) -> None:
        folder = Path(path)
        if not folder.is_dir():
            raise SignalSourceError(f"no folder of WFDB records at {folder}")
        self._wfdb = _import_wfdb()
        reasons: Counter[str] = Counter()
        self._entries: list[_WfdbEntry] = []
        for header in sorted(folder.rglob("*.hea")):
            entry, reason = _wfdb_entry(self._wfdb, header)
            if entry is not None and check_samples:
                reason = self._flaw(entry)
            if entry is None or reason:
                reasons[reason] += 1
            else:
                self._entries.append(entry)
        self.skip_reasons: dict[str, int] = dict(reasons)
        self.skipped: int = sum(reasons.values())
        if not self._entries:
            found = "; ".join(f"{count} {reason}" for reason, count in reasons.items()) or "no .hea files"
            raise SignalSourceError(f"{folder} holds no usable 12-lead record of 10 s: {found}")

    def __len__(self) -> int:
        """Number of usable records."""
        return len(self._entries)

    def record(self, index: int) -> NDArray[np.float32]:
        """Record ``index``: (12, 5000) float32, mV, in the order of ``LEADS``.

        Raises:
            SignalSourceError: the file cannot be read (any more).
        """
        entry = self._entries[index]
        try:
            return _read_wfdb(self._wfdb, entry)
        except Exception as error:  # wfdb raises whatever its parsing runs into
            raise SignalSourceError(f"cannot read the WFDB record {entry.path}: {error}") from error

    def __getstate__(self) -> dict[str, Any]:
        """A module cannot be pickled, and loaders send sources to worker processes."""
        return {name: value for name, value in vars(self).items() if name != "_wfdb"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore, importing wfdb again."""
        vars(self).update(state)
        self._wfdb = _import_wfdb()

    def _flaw(self, entry: _WfdbEntry) -> str:
        try:
            return "" if np.isfinite(_read_wfdb(self._wfdb, entry)).all() else "with gaps"
        except Exception:
            return "unreadable"


def _import_wfdb() -> ModuleType:
    try:
        return importlib.import_module("wfdb")
    except ImportError:
        raise MissingDependencyError("wfdb", "formats", "Reading WFDB records") from None


def _wfdb_entry(wfdb: ModuleType, header: Path) -> tuple[_WfdbEntry | None, str]:
    """The record of a header, or None and why it is left out."""
    path = str(header.with_suffix(""))
    try:
        content = wfdb.rdheader(path)
        rate, length = float(content.fs), int(content.sig_len)
        names = [str(name).strip().casefold() for name in content.sig_name]
        units = [str(unit).strip().casefold() for unit in content.units]
    except Exception:  # wfdb raises whatever its parsing runs into; multi-segment headers end here too
        return None, "unreadable"
    wanted = [lead.casefold() for lead in LEADS]
    if any(lead not in names for lead in wanted):
        return None, "without all twelve leads"
    channels = tuple(names.index(lead) for lead in wanted)
    if any(units[channel] not in _MV_PER_UNIT for channel in channels):
        return None, "in an unknown unit"
    if not (math.isfinite(rate) and rate > 0) or length < RECORD_SECONDS * rate:
        return None, "shorter than 10 s"
    return _WfdbEntry(path, channels, tuple(_MV_PER_UNIT[units[c]] for c in channels), rate, length), ""


def _read_wfdb(wfdb: ModuleType, entry: _WfdbEntry) -> NDArray[np.float32]:
    from scipy.signal import resample_poly

    n_samples = min(entry.length, math.ceil((RECORD_SECONDS + _TAIL_SECONDS) * entry.rate_hz))
    content = wfdb.rdrecord(entry.path, sampto=n_samples, channels=list(entry.channels))
    signals = np.asarray(content.p_signal, np.float64).T * np.asarray(entry.mv_per_unit)[:, None]
    ratio = (SAMPLING_RATE_HZ / Fraction(entry.rate_hz)).limit_denominator(1000)
    if ratio != 1:
        signals = resample_poly(signals, ratio.numerator, ratio.denominator, axis=-1, padtype="line")
    signals = signals[:, :RECORD_SAMPLES]
    if signals.shape != (len(LEADS), RECORD_SAMPLES):
        raise SignalSourceError(f"{entry.path} gives {signals.shape} samples after resampling")
    return np.asarray(signals, np.float32)


def open_signals(spec: str | Path | None = None, n: int = 1000, seed: int = 0) -> SignalSource:
    """The signal source that a command-line option names.

    Args:
        spec: None or ``"simulated"`` for the built-in simulator, an ``.npz`` archive (``PtbXlArchive``), or a folder
            of WFDB records (``WfdbFolder``).
        n: number of simulated records; other sources have as many as they have.
        seed: seed of the simulated records.

    Raises:
        SignalSourceError: nothing usable under that name.
        MissingDependencyError: a WFDB folder, and the package wfdb is not installed.
    """
    if spec is None or str(spec) == SIMULATED:
        return SimulatedSignals(n, seed)
    path = Path(spec)
    if path.suffix.lower() == ".npz":
        return PtbXlArchive(path)
    if path.is_dir():
        return WfdbFolder(path)
    raise SignalSourceError(
        f"no signals at {path}: give an .npz archive, a folder of WFDB records (.hea), or '{SIMULATED}'"
    )


def split_records(n: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of the records to train on and of those kept for measuring: the last 5 %, at least one.

    The split depends on ``n`` alone, so that every command agrees on it and no record measured on is trained on.

    Raises:
        SignalSourceError: fewer than two records.
    """
    if n < 2:
        raise SignalSourceError(f"{n} records cannot be split into training and validation; give at least 2")
    first = n - max(1, int(VALIDATION_SHARE * n))
    return np.arange(first), np.arange(first, n)
