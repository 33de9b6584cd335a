from __future__ import annotations

import numpy as np
import pytest

from cardioscan.errors import FormatError
from cardioscan.formats import read_signals, write_record
from cardioscan.page.leads import LEADS


@pytest.fixture
def csv_lines(page_record, tmp_path):
    (path,) = write_record(page_record, tmp_path, ["csv"])
    return path.read_text().splitlines()


def save(tmp_path, lines, **kwargs):
    path = tmp_path / "edited.csv"
    path.write_text("\n".join(lines) + "\n", **kwargs)
    return path


def with_field(lines, line, field, text):
    fields = lines[line - 1].split(",")
    fields[field] = text
    return [*lines[: line - 1], ",".join(fields), *lines[line:]]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda lines: [], "line 1 must be"),
        (lambda lines: ["time,I,II", *lines[1:]], "line 1 must be"),
        (lambda lines: lines[:-1], "line 5001: 4999 rows of samples instead of 5000"),
        (lambda lines: [*lines, lines[-1]], "line 5002: more than 5000"),
        (lambda lines: with_field(lines, 7, 12, "1,2"), "line 7: 14 fields instead of 13"),
        (lambda lines: [*lines[:6], lines[6].rpartition(",")[0], *lines[7:]], "line 7: 12 fields"),
        (lambda lines: with_field(lines, 9, 2, "abc"), "line 9, field II: 'abc' is not a number"),
        (lambda lines: with_field(lines, 9, 4, "nan"), "line 9, field aVR: 'nan' is not a number"),
        (lambda lines: with_field(lines, 9, 7, "inf"), "line 9, field V1"),
        (lambda lines: with_field(lines, 9, 1, "1_0"), "line 9, field I"),
        (lambda lines: with_field(lines, 9, 1, " 1"), "line 9, field I"),
        (lambda lines: with_field(lines, 9, 1, "1e999"), "lead I, sample 7 is infinite"),
        (lambda lines: with_field(lines, 3, 0, "0.004"), "line 3, field time_s: 0.004 where 0.002 is due"),
        (lambda lines: with_field(lines, 3, 0, ""), "line 3, field time_s: '' is not a number"),
        (lambda lines: with_field(lines, 3, 1, '"1'), "not a CSV text file|line 3"),
    ],
)
def test_malformed_csv_names_the_place(edit, message, csv_lines, tmp_path):
    with pytest.raises(FormatError, match=message):
        read_signals(save(tmp_path, edit(csv_lines)))


@pytest.mark.parametrize("kwargs", [{"encoding": "utf-8-sig"}, {"newline": "\r\n"}])
def test_csv_as_spreadsheets_save_it(kwargs, csv_lines, tmp_path, page_signals):
    read = read_signals(save(tmp_path, csv_lines, **kwargs))
    np.testing.assert_allclose(read.signals, page_signals, atol=0.5000001e-4)
    assert not read.signals.flags.writeable


@pytest.mark.parametrize("suffix", [".csv", ".npz", ".hea", ".parquet"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00rubbish\x00" * 40, b"PK\x03\x04" + bytes(60)])
def test_rubbish_is_a_format_error(suffix, content, tmp_path):
    package = {".hea": "wfdb", ".parquet": "pyarrow"}.get(suffix)
    if package:
        pytest.importorskip(package, reason=f"needs {package}")
    path = tmp_path / f"rubbish{suffix}"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"rubbish\."):
        read_signals(path)


@pytest.mark.parametrize("name", ["missing.csv", "missing.npz", "missing.hea", "missing.parquet"])
def test_missing_file(name, tmp_path):
    with pytest.raises(FormatError, match="no such file"):
        read_signals(tmp_path / name)


@pytest.mark.parametrize("name", ["page.dcm", "page", "page.dat"])
def test_other_kinds_of_file_name_the_readable_ones(name, tmp_path):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(FormatError, match=r"\.csv, \.npz, \.hea, \.parquet"):
        read_signals(tmp_path / name)


GOOD = {"signals": np.zeros((12, 5000)), "leads": np.array(LEADS), "sampling_rate": np.int64(500)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"signals": None}, "signals"),
        ({"sampling_rate": None}, "sampling_rate"),
        ({"sampling_rate": np.int64(250)}, "sampling_rate must be 500 Hz, not 250"),
        ({"sampling_rate": np.zeros(3)}, "sampling_rate must be 500 Hz"),
        ({"leads": np.array(LEADS[::-1])}, "field leads"),
        ({"signals": np.zeros((12, 4999))}, r"shape \(12, 5000\)"),
        ({"signals": np.full((12, 5000), "x")}, "must hold numbers"),
        ({"signals": np.full((12, 5000), None)}, "not an NPZ file|must hold numbers"),
        ({"signals": np.full((12, 5000), np.inf)}, "lead I, sample 0 is infinite"),
    ],
)
def test_malformed_npz(change, message, tmp_path):
    fields = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    np.savez(tmp_path / "x.npz", **fields)
    with pytest.raises(FormatError, match=message):
        read_signals(tmp_path / "x.npz")


def test_single_array_named_like_an_archive(tmp_path):
    with open(tmp_path / "x.npz", "wb") as file:
        np.save(file, np.zeros((12, 5000)))
    with pytest.raises(FormatError, match="not an NPZ file"):
        read_signals(tmp_path / "x.npz")


def write_wfdb(folder, signals, names, **fields):
    wfdb = pytest.importorskip("wfdb", reason="needs wfdb")
    count = len(names)
    options = {"fs": 500, "units": ["mV"] * count, "fmt": ["16"] * count, "adc_gain": [1000.0] * count, **fields}
    wfdb.wrsamp("x", sig_name=list(names), p_signal=signals.T, baseline=[0] * count, write_dir=str(folder), **options)
    return folder / "x.hea"


def test_wfdb_leads_in_another_order_and_in_microvolts(page_signals, tmp_path):
    order = np.random.default_rng(1).permutation(12)
    names = [LEADS[index].upper() for index in order]
    path = write_wfdb(tmp_path, page_signals[order] * 1000, names, units=["uV"] * 12, adc_gain=[1.0] * 12)
    np.testing.assert_allclose(read_signals(path).signals, page_signals, atol=0.5000001e-3)


@pytest.mark.parametrize(
    ("rows", "names", "fields", "message"),
    [
        (11, LEADS[:11], {}, "lead V6 is missing"),
        (12, (*LEADS[:11], "x"), {}, "lead V6 is missing"),
        (12, LEADS, {"fs": 250}, "sampling frequency must be 500 Hz, not 250"),
        (12, LEADS, {"units": ["mmHg"] * 12}, "unit 'mmHg'"),
    ],
)
def test_other_wfdb_records_are_refused(rows, names, fields, message, tmp_path):
    path = write_wfdb(tmp_path, np.zeros((rows, 5000)), names, **fields)
    with pytest.raises(FormatError, match=message):
        read_signals(path)


def test_wfdb_of_another_length(tmp_path):
    with pytest.raises(FormatError, match="lead I has 4000 samples instead of 5000"):
        read_signals(write_wfdb(tmp_path, np.zeros((12, 4000)), LEADS))


def test_wfdb_with_a_cut_data_file(page_record, tmp_path):
    pytest.importorskip("wfdb", reason="needs wfdb")
    data, header = write_record(page_record, tmp_path, ["wfdb"])
    data.write_bytes(data.read_bytes()[:5000])
    with pytest.raises(FormatError):
        read_signals(header)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lead": ["I"] * 12}, "lead I stands there twice"),
        ({"lead": None}, "column lead is missing"),
        ({"sampling_rate_hz": [100] * 12}, "sampling_rate_hz must be 500 Hz, not 100"),
        ({"signal": [[0.0]] * 12}, "lead I has 1 samples"),
        ({"signal": [[0.0] * 5000, None] * 6}, "lead II: column signal holds no list"),
        ({"signal": [None] * 12}, "must hold lists of numbers, not null"),
        ({"signal": ["text"] * 12}, "must hold lists of numbers, not string"),
        ({"signal": [["text"]] * 12}, "must hold lists of numbers"),
    ],
)
def test_malformed_parquet(change, message, tmp_path):
    pa = pytest.importorskip("pyarrow", reason="needs pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    columns = {"lead": list(LEADS), "sampling_rate_hz": [500] * 12, "signal": [[0.0] * 5000] * 12, **change}
    parquet.write_table(pa.table({k: v for k, v in columns.items() if v is not None}), tmp_path / "x.parquet")
    with pytest.raises(FormatError, match=message):
        read_signals(tmp_path / "x.parquet")


def test_parquet_rows_in_another_order(page_record, page_signals, tmp_path):
    pytest.importorskip("pyarrow", reason="needs pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    (path,) = write_record(page_record, tmp_path, ["parquet"])
    parquet.write_table(parquet.read_table(path).take(list(range(11, -1, -1))), tmp_path / "x.parquet")
    np.testing.assert_array_equal(read_signals(tmp_path / "x.parquet").signals, page_signals)


def test_ground_truth_of_the_photos(shared_data):
    pytest.importorskip("wfdb", reason="needs wfdb")
    paths = sorted((shared_data / "photos").glob("*.hea"))
    assert paths
    for path in paths:
        finite = np.isfinite(read_signals(path).signals)
        assert finite[LEADS.index("II")].mean() > 0.9
        assert finite[LEADS.index("V6")].mean() < 0.5
