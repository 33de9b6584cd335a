"""WFDB (PhysioNet): a header and 16-bit samples."""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cardioscan.formats._shared import DERIVATION_NOTE, optional_module, to_int16
from cardioscan.page.leads import LEADS, SAMPLING_RATE_HZ

if TYPE_CHECKING:
    from cardioscan.record import EcgRecord


def wfdb_record_name(name: str) -> str:
    """``name`` as WFDB allows it: letters, digits, hyphens and underscores of ASCII.

    A name that is allowed already stays as it is. In any other one each run of other characters becomes an underscore
    and a hash of the whole name follows, so that "a b" and "a.b" are still two records.
    """
    if re.fullmatch(r"[A-Za-z0-9_-]+", name):
        return name
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain}-{digest}" if plain else f"record-{digest}"


def encode_wfdb(record: EcgRecord, stem: str) -> tuple[bytes, bytes]:
    """``.dat`` (format 16) and ``.hea``: 1000 units per mV, baseline 0, -32768 where a sample is missing.

    Raises:
        FormatError: a sample lies beyond +-32.767 mV.
        MissingDependencyError: wfdb is not installed.
    """
    wfdb = optional_module("wfdb", "Writing WFDB")
    samples = to_int16(record, "wfdb").T
    count = len(LEADS)
    # The library writes to folders only.
    with tempfile.TemporaryDirectory(prefix="cardioscan-") as folder:
        wfdb.wrsamp(
            stem,
            fs=SAMPLING_RATE_HZ,
            units=["mV"] * count,
            sig_name=list(LEADS),
            d_signal=samples.astype("int64"),
            fmt=["16"] * count,
            adc_gain=[1000.0] * count,
            baseline=[0] * count,
            comments=[DERIVATION_NOTE],
            write_dir=folder,
        )
        return Path(folder, stem + ".dat").read_bytes(), Path(folder, stem + ".hea").read_bytes()
