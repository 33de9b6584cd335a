"""``page.csv`` and ``page.json``."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Final

from cardioscan.errors import FormatError
from cardioscan.formats._shared import seconds
from cardioscan.page.leads import LEADS, RECORD_SAMPLES

if TYPE_CHECKING:
    from cardioscan.record import EcgRecord

CSV_HEADER: Final = ("time_s", *LEADS)


def encode_csv(record: EcgRecord, stem: str) -> tuple[bytes]:
    """Header and 5000 rows: time in s with 3 decimals, mV with 4; an empty field where a sample is missing."""
    columns = [list(map(_millivolts, row)) for row in record.signals.tolist()]
    lines = [",".join(CSV_HEADER)]
    lines += [
        ",".join((seconds(sample), *values))
        for sample, values in zip(range(RECORD_SAMPLES), zip(*columns, strict=True), strict=True)
    ]
    return ("\n".join(lines).encode("ascii") + b"\n",)


def _millivolts(value: float) -> str:
    if math.isnan(value):
        return ""
    text = f"{value:.4f}"
    return "0.0000" if text == "-0.0000" else text


def encode_json(record: EcgRecord, stem: str) -> tuple[bytes]:
    """``record.to_json_dict()`` as strict JSON (no NaN, no infinity), UTF-8, indented for people.

    Raises:
        FormatError: a value that JSON does not have.
    """
    try:
        text = json.dumps(record.to_json_dict(), ensure_ascii=False, allow_nan=False, indent=2)
    except (TypeError, ValueError) as error:
        raise FormatError(f"{record.name}: the record holds a value that JSON does not have: {error}") from error
    # A file name that is not UTF-8 arrives with lone surrogates; written as \udcXX they are valid JSON escapes.
    return (text.encode("utf-8", "backslashreplace") + b"\n",)
