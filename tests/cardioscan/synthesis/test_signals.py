from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardioscan.errors import MissingDependencyError, SignalSourceError
from cardioscan.page.leads import LEADS
from cardioscan.synthesis.leads import twelve_leads
from cardioscan.synthesis.signals import PtbXlArchive, WfdbFolder, open_signals, split_records
from cardioscan.synthesis.simulator import SimulatedSignals


def tones(rate: float, seconds: float) -> np.ndarray:
    """Twelve slow tones (12, N) in mV, another frequency and offset in each lead."""
    t = np.arange(int(round(rate * seconds))) / rate
    return np.stack([0.1 * k + np.sin(2 * np.pi * (1 + k) * t + k) for k in range(12)])


def write_wfdb(
    folder: Path,
    name: str,
    signals: np.ndarray,
    rate: float = 500,
    names: tuple[str, ...] = LEADS,
    unit: str = "mV",
    gain: float = 10_000.0,
) -> None:
    wfdb = pytest.importorskip("wfdb")
    folder.mkdir(parents=True, exist_ok=True)
    n = len(signals)
    wfdb.wrsamp(
        name,
        fs=rate,
        units=[unit] * n,
        sig_name=list(names),
        p_signal=signals.T,
        fmt=["16"] * n,
        adc_gain=[gain] * n,
        baseline=[0] * n,
        write_dir=str(folder),
    )


# --- twelve leads and the archive -------------------------------------------------------------------------------


def test_twelve_leads() -> None:
    eight = np.random.default_rng(0).normal(size=(8, 50))
    leads = dict(zip(LEADS, twelve_leads(eight), strict=True))
    np.testing.assert_allclose(leads["I"] + leads["III"], leads["II"], atol=1e-6)
    np.testing.assert_allclose(leads["aVR"] + leads["aVL"] + leads["aVF"], 0, atol=1e-6)
    np.testing.assert_allclose(leads["aVF"], (leads["II"] + leads["III"]) / 2, atol=1e-6)
    np.testing.assert_allclose([leads[f"V{k}"] for k in range(1, 7)], eight[2:], atol=1e-6)
    assert leads["I"].dtype == np.float32


def test_archive_of_differences(tmp_path: Path) -> None:
    microvolts = np.random.default_rng(0).integers(-3000, 3000, (3, 8, 5000))
    diff = np.diff(microvolts, axis=-1, prepend=0).astype(np.int16)
    np.savez(tmp_path / "a.npz", diff_uv=diff)
    archive = PtbXlArchive(tmp_path / "a.npz")
    assert len(archive) == 3
    for k in range(3):
        np.testing.assert_allclose(archive.record(k)[[0, 1, 6, 7, 8, 9, 10, 11]], microvolts[k] / 1000, atol=1e-6)


@pytest.mark.parametrize("content", ["missing", "text", "empty", "other name", "other shape", "single array"])
def test_unusable_archives(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.npz"
    if content == "text":
        path.write_text("no archive")
    elif content == "empty":
        path.touch()
    elif content == "other name":
        np.savez(path, signals=np.zeros((1, 8, 5000), np.int16))
    elif content == "other shape":
        np.savez(path, diff_uv=np.zeros((1, 12, 1000), np.int16))
    elif content == "single array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    with pytest.raises(SignalSourceError, match=r"a\.npz"):
        PtbXlArchive(path)


# --- WFDB folders -----------------------------------------------------------------------------------------------


def test_wfdb_records_are_found_below_the_folder_in_order(tmp_path: Path) -> None:
    write_wfdb(tmp_path / "b", "two", -tones(500, 10))
    write_wfdb(tmp_path / "a" / "deep", "one", tones(500, 10))
    folder = WfdbFolder(tmp_path)
    assert (len(folder), folder.skipped) == (2, 0)
    record = folder.record(0)
    assert (record.shape, record.dtype) == ((12, 5000), np.float32)
    np.testing.assert_allclose(record, tones(500, 10), atol=2e-4)
    np.testing.assert_allclose(folder.record(1), -tones(500, 10), atol=2e-4)


@pytest.mark.parametrize(("rate", "seconds"), [(1000, 10), (1000, 12), (250, 10), (257, 60), (360, 11), (500, 30)])
def test_wfdb_records_are_resampled_to_500_hz(tmp_path: Path, rate: float, seconds: float) -> None:
    write_wfdb(tmp_path, "r", tones(rate, seconds), rate)
    error = WfdbFolder(tmp_path).record(0) - tones(500, 10)
    assert np.abs(error[:, 100:-100]).max() < 0.01
    if seconds > 10:  # real signal beyond the end: nothing bends there
        assert np.abs(error[:, -100:]).max() < 0.01


def test_wfdb_leads_and_units_are_put_in_order(tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(12)
    names = tuple(LEADS[k].upper() for k in order)
    write_wfdb(tmp_path, "r", tones(500, 10)[order] * 1000, names=names, unit="uV", gain=10)
    np.testing.assert_allclose(WfdbFolder(tmp_path).record(0), tones(500, 10), atol=2e-4)


def test_wfdb_further_channels_are_left_aside(tmp_path: Path) -> None:
    signals = np.concatenate([np.full((1, 5000), 3.0), tones(500, 10)])
    write_wfdb(tmp_path, "r", signals, names=("Resp", *LEADS))
    np.testing.assert_allclose(WfdbFolder(tmp_path).record(0), tones(500, 10), atol=4e-4)


def test_wfdb_unusable_records_are_left_out_and_counted(tmp_path: Path) -> None:
    gap = tones(500, 10)
    gap[4, 1000:1100] = np.nan
    late_gap = tones(500, 20)
    late_gap[4, 8000:] = np.nan
    write_wfdb(tmp_path, "good", tones(500, 10))
    write_wfdb(tmp_path, "late_gap", late_gap)
    write_wfdb(tmp_path, "short", tones(500, 9.9))
    write_wfdb(tmp_path, "few", tones(500, 10)[:8], names=LEADS[:8])
    write_wfdb(tmp_path, "unit", tones(500, 10), unit="mmHg")
    write_wfdb(tmp_path, "gap", gap)
    write_wfdb(tmp_path, "lost", tones(500, 10))
    (tmp_path / "lost.dat").unlink()
    (tmp_path / "text.hea").write_text("what is this")
    folder = WfdbFolder(tmp_path)
    assert len(folder) == 2
    assert folder.skipped == 6
    assert folder.skip_reasons == {
        "shorter than 10 s": 1,
        "without all twelve leads": 1,
        "in an unknown unit": 1,
        "with gaps": 1,
        "unreadable": 2,
    }
    unchecked = WfdbFolder(tmp_path, check_samples=False)
    assert len(unchecked) == 4
    assert np.isnan(unchecked.record(0)[4, 1000:1100]).all()  # "gap" is the first by name
    with pytest.raises(SignalSourceError, match="lost"):
        unchecked.record(3)


def test_wfdb_folder_survives_pickling(tmp_path: Path) -> None:
    write_wfdb(tmp_path, "r", tones(500, 10))
    folder = WfdbFolder(tmp_path)
    copy = pickle.loads(pickle.dumps(folder))
    np.testing.assert_array_equal(copy.record(0), folder.record(0))


def test_folder_without_records(tmp_path: Path) -> None:
    pytest.importorskip("wfdb")
    with pytest.raises(SignalSourceError, match="no folder"):
        WfdbFolder(tmp_path / "none")
    with pytest.raises(SignalSourceError, match=r"no \.hea files"):
        WfdbFolder(tmp_path)
    write_wfdb(tmp_path, "short", tones(500, 2))
    with pytest.raises(SignalSourceError, match="1 shorter than 10 s"):
        WfdbFolder(tmp_path)


def test_missing_wfdb_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wfdb", None)
    with pytest.raises(MissingDependencyError, match="wfdb"):
        WfdbFolder(tmp_path)


# --- choosing and splitting -------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [None, "simulated"])
def test_open_simulated(spec: str | None) -> None:
    source = open_signals(spec, n=3, seed=5)
    assert isinstance(source, SimulatedSignals)
    assert len(source) == 3
    np.testing.assert_array_equal(source.record(2), SimulatedSignals(3, 5).record(2))


def test_open_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", diff_uv=np.zeros((2, 8, 5000), np.int16))
    assert isinstance(open_signals(str(tmp_path / "a.npz"), 1, 0), PtbXlArchive)
    write_wfdb(tmp_path / "wfdb", "r", tones(500, 10))
    assert isinstance(open_signals(tmp_path / "wfdb"), WfdbFolder)
    for spec in (tmp_path / "none.npz", tmp_path / "none", tmp_path / "wfdb" / "r.dat"):
        with pytest.raises(SignalSourceError):
            open_signals(spec)


@given(n=st.integers(2, 30_000))
def test_split_covers_every_record_once(n: int) -> None:
    train, validation = split_records(n)
    np.testing.assert_array_equal(np.concatenate([train, validation]), np.arange(n))
    assert len(train) >= 1
    assert len(validation) >= 1
    assert len(validation) <= max(1, 0.05 * n)


@pytest.mark.parametrize("n", [-1, 0, 1])
def test_too_few_records_to_split(n: int) -> None:
    with pytest.raises(SignalSourceError):
        split_records(n)


# --- real records -----------------------------------------------------------------------------------------------


def test_real_archive(shared_data: Path) -> None:
    archive = PtbXlArchive(shared_data / "signals" / "ptbxl_fold10_train.npz")
    record = archive.record(len(archive) - 1)
    assert record.shape == (12, 5000)
    assert 0.1 < np.abs(record).max() < 13


def test_truth_with_gaps_is_no_signal_source(shared_data: Path) -> None:
    pytest.importorskip("wfdb")
    with pytest.raises(SignalSourceError, match="with gaps"):
        WfdbFolder(shared_data / "photos")
