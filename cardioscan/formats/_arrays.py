"""NPZ and Parquet: exact float64 samples for Python, R, Spark, DuckDB and the like."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Final

import numpy as np

from cardioscan.formats._shared import optional_module
from cardioscan.page.leads import LEADS, SAMPLING_RATE_HZ

if TYPE_CHECKING:
    from cardioscan.record import EcgRecord

PARQUET_METADATA_KEY: Final = b"cardioscan"


def encode_npz(record: EcgRecord, stem: str) -> tuple[bytes]:
    """Compressed NPZ, readable without pickle.

    ``signals`` (12, 5000) float64 mV with NaN, ``confidence`` (12, 5000) float32, ``leads`` (12,) str,
    ``sampling_rate`` int64 scalar, Hz.
    """
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        signals=record.signals,
        confidence=record.confidence,
        leads=np.array(LEADS),
        sampling_rate=np.int64(SAMPLING_RATE_HZ),
    )
    return (buffer.getvalue(),)


def encode_parquet(record: EcgRecord, stem: str) -> tuple[bytes]:
    """Parquet, one row a lead in the order of ``LEADS``.

    Columns: ``record`` (name), ``lead``, ``sampling_rate_hz`` int32, ``unit`` ("mV"), ``mean_confidence`` double,
    ``signal`` list of double with null where missing, ``confidence`` list of float. The content of ``page.json`` stands
    in the schema's metadata under ``cardioscan``.

    Raises:
        MissingDependencyError: pyarrow is not installed.
    """
    pa = optional_module("pyarrow", "Writing Parquet")
    parquet = optional_module("pyarrow.parquet", "Writing Parquet")
    count = len(LEADS)
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * record.signals.shape[1])
    # from_pandas turns NaN into null, Parquet's own missing value.
    samples = pa.array(record.signals.ravel(), pa.float64(), from_pandas=True)
    confidence = record.lead_confidence()
    # Parquet text is UTF-8; a file name that was not arrives with lone surrogates.
    name = record.name.encode("utf-8", "backslashreplace").decode()
    columns = {
        "record": pa.array([name] * count, pa.string()),
        "lead": pa.array(LEADS, pa.string()),
        "sampling_rate_hz": pa.array([SAMPLING_RATE_HZ] * count, pa.int32()),
        "unit": pa.array(["mV"] * count, pa.string()),
        "mean_confidence": pa.array([confidence[lead] for lead in LEADS], pa.float64()),
        "signal": pa.ListArray.from_arrays(offsets, samples),
        "confidence": pa.ListArray.from_arrays(offsets, pa.array(record.confidence.ravel(), pa.float32())),
    }
    metadata = json.dumps(record.to_json_dict(), allow_nan=False).encode()
    table = pa.table(columns).replace_schema_metadata({PARQUET_METADATA_KEY: metadata})
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd", use_dictionary=["record", "lead", "unit"])
    return (buffer.getvalue(),)
