"""Scoring files of digitized pages against files of ground truth.

The measure itself is in :mod:`cardioscan.evaluate.measure`.

**Matching.** Pages and truths are matched by name. A prediction belongs to the truth whose name is its stem, or is
followed by ``-``, ``_`` or ``.`` in its stem: ``00012_hr-0.csv`` and ``00012_hr.page2.csv`` belong to the truth
``00012_hr``; of several that match, the longest name wins. Several pages may belong to one truth (several photographs
of one ECG); each counts. A truth without any page counts as one refused page, and so does a page whose
``.json`` says ``"outcome": "refused"``. Predictions without a truth are listed and not counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from cardioscan.errors import FormatError
from cardioscan.evaluate.clinical import ClinicalComparison, ClinicalSummary, compare_clinical
from cardioscan.evaluate.measure import PageScore, SetScore, compare, refused_page
from cardioscan.formats import read_signals
from cardioscan.page.catalogue import find_layout
from cardioscan.page.layout import Layout
from cardioscan.page.leads import LEADS, RECORD_SAMPLES, SAMPLING_RATE_HZ
from cardioscan.postprocess.clinical import measure_clinical
from cardioscan.record import finite_or_none

__all__ = [
    "EachPage",
    "Evaluation",
    "PageRow",
    "evaluate_paths",
    "match_predictions",
    "only_printed",
    "read_truth",
]

Printed = Literal["auto", "all", "standard"]

_STANDARD: Final = find_layout("3x4+1")
"""What ``printed="standard"`` means."""
_NAME_KEYS: Final = ("names", "ids", "record", "records", "name", "id")
_PREDICTION_SUFFIXES: Final = (".npz", ".csv", ".hea", ".parquet")  # the first that exists is read
_SEPARATORS: Final = ("-", "_", ".")
_MISSING_INT16: Final = -32768


@dataclass(frozen=True)
class PageRow:
    """One line of the table: the truth's name, the prediction's file (None where there is none) and the score.

    ``clinical`` holds heart rate, intervals and ST levels of both sides where they were asked for.
    """

    truth: str
    prediction: str | None
    score: PageScore
    clinical: ClinicalComparison | None = None

    def to_json_dict(self) -> dict[str, Any]:
        """The line as plain JSON values: means over the leads, infinities and NaN as None."""
        return {
            "truth": self.truth,
            "prediction": self.prediction,
            "digitized": self.score.digitized,
            "snr_db": finite_or_none(self.score.snr_db),
            "r": finite_or_none(self.score.mean_r) if self.score.digitized else None,
            "rmse_mv": finite_or_none(self.score.mean_rmse_mv) if self.score.digitized else None,
            **({} if self.clinical is None else {"clinical": self.clinical.to_json_dict()}),
        }


EachPage = Callable[[PageRow, "NDArray[np.float64] | None", "NDArray[np.float64]"], None]
"""Takes a scored page, its signals (None where it was refused or is missing) and the printed signals of the truth.

Both are (12, 5000) float64 mV; NaN where not read or not printed.
"""


@dataclass(frozen=True)
class Evaluation:
    """A scored set: its score, a row per page, and the predictions without a truth.

    ``clinical`` summarizes heart rate, intervals and ST levels where they were asked for.
    """

    score: SetScore
    rows: tuple[PageRow, ...]
    unmatched: tuple[str, ...]
    clinical: ClinicalSummary | None = None

    def to_json_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {
            "set": self.score.to_json_dict(),
            "pages": [row.to_json_dict() for row in self.rows],
            "unmatched_predictions": list(self.unmatched),
            **({} if self.clinical is None else {"clinical": self.clinical.to_json_dict()}),
        }


def evaluate_paths(
    pred: str | Path,
    truth: str | Path,
    printed: Printed = "auto",
    clinical: bool = False,
    each_page: EachPage | None = None,
) -> Evaluation:
    """Score digitized pages on disk; the module's docstring says how they are matched.

    Args:
        pred: a folder that ``cardioscan digitize`` wrote to, or one file of signals (or the ``.json`` of a page).
        truth: a WFDB header, an ``.npz`` (see :func:`read_truth`), or a folder of them.
        printed: which samples of the truth are on the page. "all": every finite one. "standard": only those of
            the standard 3x4+1 layout. "auto": "standard" for a truth without NaN (no page prints all leads in full),
            else "all".
        clinical: measure heart rate, intervals and ST levels too (:mod:`cardioscan.evaluate.clinical`, extra
            ``clinical``).
        each_page: called with every page when it is scored; the signals are not kept afterwards.

    Raises:
        FormatError: a path is missing or unreadable, nothing was found, or a single file matches none of the truths.
        MissingDependencyError: WFDB files without the package ``wfdb``, or ``clinical`` without ``neurokit2``.
    """
    truths = _read_truths(Path(truth))
    if printed != "all":
        truths = {
            name: only_printed(signals, _STANDARD) if printed == "standard" or np.isfinite(signals).all() else signals
            for name, signals in truths.items()
        }
    files = _prediction_files(Path(pred))
    matches, unmatched = match_predictions(files, truths)
    if len(files) == 1 and unmatched:
        raise FormatError(f"{pred} belongs to none of the truths {', '.join(list(truths)[:5])}: their names must agree")
    # A single file is scored alone; in a folder, every truth must have its page.
    wanted = truths if Path(pred).is_dir() else {name: truths[name] for name in matches}
    rows = []
    for name, signals in wanted.items():
        true_measures = measure_clinical(signals) if clinical else None
        for stem in matches.get(name, (None,)):
            predicted = None if stem is None else _read_prediction(files[stem])
            score = refused_page(signals) if predicted is None else compare(predicted, signals)
            measures = None if true_measures is None else compare_clinical(predicted, true_measures)
            rows.append(PageRow(name, stem, score, measures))
            if each_page is not None:
                each_page(rows[-1], predicted, signals)
    compared = [row.clinical for row in rows if row.clinical is not None]
    return Evaluation(
        score=SetScore.from_pages([row.score for row in rows]),
        rows=tuple(rows),
        unmatched=tuple(unmatched),
        clinical=ClinicalSummary.from_comparisons(compared) if clinical else None,
    )


def match_predictions(stems: Iterable[str], truths: Iterable[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The stems that belong to each truth (sorted; truths without any are left out), and those that belong to none."""
    names = sorted(truths, key=len, reverse=True)
    matches: dict[str, list[str]] = {}
    unmatched = []
    for stem in sorted(stems):
        found = next((n for n in names if stem == n or stem.startswith(tuple(n + mark for mark in _SEPARATORS))), None)
        if found is None:
            unmatched.append(stem)
        else:
            matches.setdefault(found, []).append(stem)
    return matches, unmatched


def only_printed(signals: NDArray[np.floating], layout: Layout) -> NDArray[np.float64]:
    """(12, 5000) mV with NaN wherever ``layout`` prints nothing of that lead."""
    shown = np.zeros(np.shape(signals), bool)
    for cell in layout.cells:
        start, length = round(cell.t_start * SAMPLING_RATE_HZ), round(cell.seconds * SAMPLING_RATE_HZ)
        shown[LEADS.index(cell.lead), start : start + length] = True
    return np.where(shown, np.asarray(signals, np.float64), np.nan)


def read_truth(path: str | Path) -> dict[str, NDArray[np.float64]]:
    """Ground truth by record name: (12, 5000) float64 mV at 500 Hz each, NaN where not printed.

    * WFDB (``.hea``, or the path without suffix; extra ``wfdb``): one record; samples stored as -32768 become NaN.
    * NumPy ``.npz``: ``uv`` (int16, µV, -32768 = not printed) or ``signals`` (mV, NaN = not printed), (12, 5000) or
      (n, 12, 5000). Names come from an array ``names``, ``ids``, ``record``, ``records``, ``name`` or ``id``; without
      one, a single record takes the file's stem and several take "0", "1", ... An array ``leads`` gives another order
      of the leads.

    Raises:
        FormatError: the file is missing, damaged, or holds other leads, another rate or another length.
        MissingDependencyError: ``wfdb`` is needed and not installed.
    """
    path = Path(path)
    if path.suffix.lower() == ".npz":
        return _read_npz(path)
    header = path if path.suffix.lower() == ".hea" else path.with_name(path.name + ".hea")
    return {header.stem: read_signals(header).signals}


def _read_npz(path: Path) -> dict[str, NDArray[np.float64]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays: dict[str, NDArray[Any]] = {key: archive[key] for key in archive.files}
    except (OSError, ValueError) as error:
        raise FormatError(f"cannot read the truth {path}: {error}") from error
    if "uv" in arrays:
        raw = arrays["uv"]
        signals = np.where(raw == _MISSING_INT16, np.nan, raw / 1000.0)
    elif "signals" in arrays:
        signals = np.asarray(arrays["signals"], np.float64)
    else:
        raise FormatError(f"{path} holds neither 'uv' (µV) nor 'signals' (mV)")
    for key in ("fs", "sampling_rate_hz"):
        if key in arrays and float(arrays[key]) != SAMPLING_RATE_HZ:
            raise FormatError(f"{path}: truth must be sampled at {SAMPLING_RATE_HZ} Hz, not {arrays[key]}")
    if signals.ndim == 2:
        signals = signals[None]
    if signals.ndim != 3 or signals.shape[1:] != (len(LEADS), RECORD_SAMPLES):
        raise FormatError(f"{path}: truth must be (n, {len(LEADS)}, {RECORD_SAMPLES}), not {signals.shape}")
    if "leads" in arrays:
        signals = signals[:, _lead_order([str(lead) for lead in arrays["leads"]], path)]
    name_key = next((key for key in _NAME_KEYS if key in arrays), None)
    if name_key is not None:
        names = [str(name) for name in np.atleast_1d(arrays[name_key])]
    else:
        names = [path.stem] if len(signals) == 1 else [str(index) for index in range(len(signals))]
    if len(set(names)) != len(signals):
        raise FormatError(
            f"{path}: {len(signals)} records need as many different names in {name_key!r}, not {len(names)}"
        )
    return dict(zip(names, signals, strict=True))


def _lead_order(names: list[str], path: Path) -> list[int]:
    places = {name.strip().lower(): place for place, name in enumerate(names)}
    missing = [lead for lead in LEADS if lead.lower() not in places]
    if missing:
        raise FormatError(f"{path} lacks the leads {', '.join(missing)}")
    return [places[lead.lower()] for lead in LEADS]


def _read_truths(path: Path) -> dict[str, NDArray[np.float64]]:
    if not path.is_dir():
        return read_truth(path)
    truths: dict[str, NDArray[np.float64]] = {}
    for file in sorted([*path.glob("*.hea"), *path.glob("*.npz")]):
        for name, signals in read_truth(file).items():
            if name in truths:
                raise FormatError(f"{path}: two truths are named {name!r}")
            truths[name] = signals
    if not truths:
        raise FormatError(f"no truth in {path}: neither .hea nor .npz")
    return truths


def _prediction_files(path: Path) -> dict[str, dict[str, Path]]:
    """Files of each digitized page: ``{stem: {suffix: path}}``, only suffixes that hold signals or an outcome."""
    known = (*_PREDICTION_SUFFIXES, ".json")
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in known and file.is_file())
    elif path.is_file():
        # Signals and outcome are in the same folder.
        beside = [path.with_name(path.stem + suffix) for suffix in known] if path.suffix.lower() == ".json" else []
        found = [file for file in [path, *beside, path.with_name(path.stem + ".json")] if file.is_file()]
    else:
        raise FormatError(f"no predictions at {path}")
    pages: dict[str, dict[str, Path]] = {}
    for file in found:
        if file.suffix.lower() != ".json" or _outcome(file) is not None:
            pages.setdefault(file.stem, {})[file.suffix.lower()] = file
    if not pages and not path.is_dir():
        raise FormatError(f"{path} is not a digitized page")
    return pages


def _outcome(path: Path) -> str | None:
    """The outcome that a ``page.json`` states; None for any other JSON file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FormatError(f"cannot read {path}: {error}") from error
    outcome = content.get("outcome") if isinstance(content, Mapping) else None
    return outcome if isinstance(outcome, str) else None


def _read_prediction(files: Mapping[str, Path]) -> NDArray[np.float64] | None:
    """The signals of one page, or None where it was refused."""
    if ".json" in files and _outcome(files[".json"]) == "refused":
        return None
    source = next((files[suffix] for suffix in _PREDICTION_SUFFIXES if suffix in files), None)
    if source is None:
        raise FormatError(f"{files['.json']} says that the page was digitized, but its signals are not beside it")
    return read_signals(source).signals
