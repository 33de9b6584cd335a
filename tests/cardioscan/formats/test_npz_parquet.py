from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest

from cardioscan.formats import write_record, writers
from cardioscan.page.leads import LEADS


def test_npz_needs_no_pickle(page_record, page_signals, tmp_path):
    (path,) = write_record(page_record, tmp_path, ["npz"])
    with np.load(path, allow_pickle=False) as archive:
        assert set(archive) == {"signals", "confidence", "leads", "sampling_rate"}
        np.testing.assert_array_equal(archive["signals"], page_signals)
        np.testing.assert_array_equal(archive["confidence"], page_record.confidence)
        assert archive["confidence"].dtype == np.float32
        assert tuple(archive["leads"]) == LEADS
        assert int(archive["sampling_rate"]) == 500


def test_npz_has_no_clock_in_it(page_record):
    (content,) = writers()["npz"].files(page_record).values()
    assert {item.date_time for item in zipfile.ZipFile(io.BytesIO(content)).infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_parquet_is_one_row_a_lead(page_record, page_signals, tmp_path):
    pytest.importorskip("pyarrow", reason="needs pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    (path,) = write_record(page_record, tmp_path, ["parquet"])
    table = parquet.read_table(path)
    assert table["lead"].to_pylist() == list(LEADS)
    assert set(table["record"].to_pylist()) == {"Jane_Doe_1950"}
    assert set(table["sampling_rate_hz"].to_pylist()) == {500}
    assert set(table["unit"].to_pylist()) == {"mV"}
    assert table["mean_confidence"].to_pylist() == list(page_record.lead_confidence().values())
    for row, expected in zip(table["signal"].to_pylist(), page_signals, strict=True):
        # A missing sample is a null, so that SQL engines leave it out of their sums.
        assert [value is None for value in row] == np.isnan(expected).tolist()
        np.testing.assert_array_equal(np.array(row, float), expected)
    np.testing.assert_array_equal(np.array(table["confidence"].to_pylist(), np.float32), page_record.confidence)


def test_parquet_metadata_is_the_content_of_the_json_file(page_record, tmp_path):
    pytest.importorskip("pyarrow", reason="needs pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    (path,) = write_record(page_record, tmp_path, ["parquet"])
    metadata = parquet.read_schema(path).metadata[b"cardioscan"]
    assert json.loads(metadata) == page_record.to_json_dict()


def test_parquet_takes_a_name_that_is_not_utf8(make_record, page_signals):
    pytest.importorskip("pyarrow", reason="needs pyarrow")
    (content,) = writers()["parquet"].files(make_record(page_signals, name="bad\udcff")).values()
    assert b"bad\\udcff" in content
