from __future__ import annotations

import dataclasses
import json
import os
import sys
import time

import numpy as np
import pytest

from cardioscan import formats
from cardioscan.errors import FormatError, MissingDependencyError
from cardioscan.formats import format_names, select_writers, wfdb_record_name, write_record, writers

EXPECTED_FILES = {
    "csv": [".csv"],
    "json": [".json"],
    "wfdb": [".dat", ".hea"],
    "npz": [".npz"],
    "parquet": [".parquet"],
    "edf": [".edf"],
    "dicom": [".dcm"],
    "fhir": [".fhir.json"],
    "aecg": [".xml"],
    "pdf": [".pdf"],
}
PACKAGES = {"wfdb": "wfdb", "parquet": "pyarrow", "edf": "edfio", "dicom": "pydicom", "pdf": "matplotlib"}
PRIVATE_FORMATS = ["edf", "dicom", "fhir", "aecg"]


def need_package(name: str) -> None:
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name], reason=f"needs {PACKAGES[name]}")


def test_registry_is_read_only_and_names_every_format():
    assert set(format_names()) == set(EXPECTED_FILES)
    with pytest.raises(TypeError):
        writers()["new"] = writers()["csv"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        writers()["csv"].name = "other"


@pytest.mark.parametrize("name", EXPECTED_FILES)
def test_files_written_for_a_digitized_record(name, page_record, tmp_path):
    need_package(name)
    folder = tmp_path / "new" / "out"
    paths = write_record(page_record, folder, [name])
    assert paths == [folder / f"Jane_Doe_1950{suffix}" for suffix in EXPECTED_FILES[name]]
    assert sorted(folder.iterdir()) == sorted(paths)
    assert all(path.stat().st_size > 100 for path in paths)


@pytest.mark.parametrize("name", EXPECTED_FILES)
def test_same_record_gives_the_same_bytes_whatever_the_clock_says(name, page_record, monkeypatch):
    need_package(name)
    first = writers()[name].files(page_record)
    later = time.gmtime(4_000_000_000)
    monkeypatch.setattr(time, "time", lambda: 4_000_000_000.0)
    monkeypatch.setattr(time, "localtime", lambda *_: later)
    fields = {item.name: getattr(page_record, item.name) for item in dataclasses.fields(page_record)}
    again = type(page_record)(**fields)
    assert writers()[name].files(again) == first


@pytest.mark.parametrize("name", PRIVATE_FORMATS)
def test_clinical_formats_do_not_carry_the_name_of_the_file(name, page_record):
    need_package(name)
    for content in writers()[name].files(page_record).values():
        assert b"Doe" not in content
        assert b"Jane" not in content


def test_record_writes_csv_and_json_by_default(page_record, tmp_path):
    assert [path.name for path in write_record(page_record, tmp_path)] == ["Jane_Doe_1950.csv", "Jane_Doe_1950.json"]


@pytest.mark.parametrize("asked", [["csv"], ["csv", "json"], ["npz", "fhir"], ["json"]])
def test_refused_record_writes_json_alone(asked, refused_record, tmp_path):
    assert [path.name for path in write_record(refused_record, tmp_path, asked)] == ["blank.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["blank.json"]
    assert json.loads((tmp_path / "blank.json").read_bytes())["reasons"][0]["code"] == "no_labels_found"


@pytest.mark.parametrize("name", [name for name in EXPECTED_FILES if name != "json"])
def test_refused_record_has_no_signal_file(name, refused_record):
    with pytest.raises(FormatError, match="refused"):
        writers()[name].files(refused_record)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("csv,json", ["csv", "json"]),
        (" CSV , npz ", ["csv", "npz"]),
        (["json", "csv", "json"], ["json", "csv"]),
        (iter(("aecg", "edf")), ["aecg", "edf"]),
    ],
)
def test_selection_of_formats(asked, expected):
    assert [writer.name for writer in select_writers(asked)] == expected


@pytest.mark.parametrize("asked", [["csv", "mat"], "mat", [], "", "csv,"])
def test_unknown_or_no_format_names_the_known_ones_and_writes_nothing(asked, page_record, tmp_path):
    with pytest.raises(FormatError, match="csv, json, wfdb, npz, parquet, edf, dicom, fhir, aecg"):
        write_record(page_record, tmp_path / "out", asked)
    assert not (tmp_path / "out").exists()


def test_value_that_does_not_fit_writes_nothing(make_record, page_signals, tmp_path):
    pytest.importorskip("wfdb", reason="needs wfdb")
    signals = page_signals.copy()
    signals[6, 2600] = -40.0
    with pytest.raises(FormatError, match=r"wfdb .*lead V1, sample 2600: -40 mV"):
        write_record(make_record(signals), tmp_path / "out", ["csv", "wfdb"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", PACKAGES)
def test_missing_package_names_the_extra(name, page_record, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, PACKAGES[name], None)
    with pytest.raises(MissingDependencyError, match=rf"{PACKAGES[name]}.*cardioscan\[{writers()[name].extra}\]"):
        write_record(page_record, tmp_path / "out", ["csv", name])
    assert not (tmp_path / "out").exists()
    assert writers()[name].extra == ("plot" if name == "pdf" else "formats")


def test_failed_replacement_keeps_the_old_file_and_leaves_no_temporary(page_record, tmp_path, monkeypatch):
    (tmp_path / "Jane_Doe_1950.csv").write_text("old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_record(page_record, tmp_path, ["csv"])
    assert [path.name for path in tmp_path.iterdir()] == ["Jane_Doe_1950.csv"]
    assert (tmp_path / "Jane_Doe_1950.csv").read_text() == "old"


def test_json_is_written_last(page_record, tmp_path, monkeypatch):
    order = []
    real = os.replace
    monkeypatch.setattr(os, "replace", lambda source, target: (order.append(target.name), real(source, target)))
    paths = write_record(page_record, tmp_path, ["json", "csv"])
    assert order == ["Jane_Doe_1950.csv", "Jane_Doe_1950.json"]
    assert [path.suffix for path in paths] == [".json", ".csv"]


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX file modes")
def test_files_have_ordinary_permissions(page_record, tmp_path):
    (path,) = write_record(page_record, tmp_path, ["json"])
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("name", ["page", "page-0001_a", "A"])
def test_allowed_wfdb_names_stay(name):
    assert wfdb_record_name(name) == name


@pytest.mark.parametrize("names", [("a b", "a.b", "a_b"), ("é", "..x", "日本"), ("\udcff", "\udcfe")])
def test_other_wfdb_names_become_allowed_and_stay_apart(names):
    made = [wfdb_record_name(name) for name in names]
    assert len(set(made)) == len(names)
    for name in made:
        assert name.isascii() and name.replace("-", "").replace("_", "").isalnum()


def test_public_names_exist():
    assert all(hasattr(formats, name) for name in formats.__all__)


def test_nan_payloads_do_not_change_identifiers(page_signals, make_record):
    other = page_signals.copy()
    other[np.isnan(other)] = -np.nan
    for name in ("fhir", "aecg"):
        assert writers()[name].files(make_record(other)) == writers()[name].files(make_record(page_signals))


def test_identifiers_follow_the_content_and_not_the_time_taken(page_signals, make_record):
    def identifier(signals: np.ndarray, **fields: object) -> str:
        (content,) = writers()["fhir"].files(make_record(signals, **fields)).values()
        return json.loads(content)["id"]

    changed = page_signals.copy()
    changed[1, 1000] += 0.25
    base = identifier(page_signals)
    assert identifier(page_signals, timings_s={"align": 2.0}) == base
    assert len({base, identifier(changed), identifier(page_signals, name="other")}) == 3
