from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cardioscan.errors import FormatError
from cardioscan.evaluate.evaluation import evaluate_paths, match_predictions, only_printed, read_truth
from cardioscan.evaluate.measure import RATIO_CAP
from cardioscan.formats import write_record
from cardioscan.page.catalogue import find_layout
from cardioscan.page.leads import LEADS
from cardioscan.record import EcgRecord, Reason

STANDARD = find_layout("3x4+1")


def signals(seed: int) -> np.ndarray:
    white = np.random.default_rng(seed).normal(size=(12, 5024))
    return np.stack([np.convolve(row, np.full(25, 0.2), "valid") for row in white])


def save_truths(path: Path, names: list[str], **extra: object) -> list[np.ndarray]:
    truths = [only_printed(signals(seed), STANDARD) for seed in range(len(names))]
    np.savez(path, signals=np.stack(truths), names=names, **extra)
    return truths


def write_page(directory: Path, name: str, values: np.ndarray) -> None:
    write_record(EcgRecord(name, values, np.isfinite(values).astype(np.float32)), directory)


def write_wfdb(
    directory: Path, name: str, values: np.ndarray, order: list[str], unit: str = "mV", fs: int = 500
) -> None:
    wfdb = pytest.importorskip("wfdb", reason="needs the package wfdb (extra 'wfdb')")
    rows = [LEADS.index(lead) for lead in order]
    scale = 1000.0 if unit == "uV" else 1.0
    wfdb.wrsamp(
        name,
        fs=fs,
        units=[unit] * 12,
        sig_name=order,
        p_signal=values[rows].T * scale,
        fmt=["16"] * 12,
        adc_gain=[1000.0 / scale] * 12,
        baseline=[0] * 12,
        write_dir=str(directory),
    )


# --- layout and matching


def test_the_standard_page_prints_each_lead_for_its_time() -> None:
    shown = np.isfinite(only_printed(np.zeros((12, 5000)), STANDARD))
    for row, lead in enumerate(LEADS):
        places = np.flatnonzero(shown[row])
        expected = (0, 5000) if lead == "II" else (1250 * (row // 3), 1250 * (row // 3 + 1))
        assert (places[0], places[-1] + 1, places.size) == (*expected, expected[1] - expected[0])


@pytest.mark.parametrize(
    ("name", "lead", "places"),
    [
        ("6x2", "V1", (2500, 5000)),
        ("12x1", "aVF", (0, 5000)),
        ("4x3", "aVR", (1667, 3334)),
        ("3x4+1(V1)", "V1", (0, 5000)),
        ("3x4+1(V1)", "II", (0, 1250)),
        ("6x1 limb", "V1", None),
    ],
)
def test_each_layout_prints_its_leads_for_their_time(name: str, lead: str, places: tuple[int, int] | None) -> None:
    shown = np.flatnonzero(np.isfinite(only_printed(np.zeros((12, 5000)), find_layout(name))[LEADS.index(lead)]))
    assert shown.tolist() == ([] if places is None else list(range(*places)))


@pytest.mark.parametrize(
    ("stem", "truth"),
    [
        ("00012_hr", "00012_hr"),
        ("00012_hr-0", "00012_hr"),
        ("00012_hr.page2", "00012_hr"),
        ("00009_hr", "00009"),
        ("00009", "00009"),
        ("00012_hrx", None),
        ("x00009", None),
        ("", None),
    ],
)
def test_names_match(stem: str, truth: str | None) -> None:
    matches, unmatched = match_predictions([stem], ["00009", "00012_hr", "00012"][:2])
    assert matches == ({} if truth is None else {truth: [stem]})
    assert unmatched == ([stem] if truth is None else [])


def test_the_longest_name_wins_and_one_truth_may_have_many_pages() -> None:
    matches, unmatched = match_predictions(["a-1-2", "a-1", "a-3", "b"], ["a", "a-1"])
    assert matches == {"a-1": ["a-1", "a-1-2"], "a": ["a-3"]} and unmatched == ["b"]


# --- truth


@pytest.mark.parametrize("order", [list(LEADS), list(reversed(LEADS))])
@pytest.mark.parametrize("unit", ["mV", "uV"])
def test_wfdb_truth(tmp_path: Path, order: list[str], unit: str) -> None:
    truth = only_printed(signals(0), STANDARD)
    write_wfdb(tmp_path, "rec", truth, order, unit)
    for path in (tmp_path / "rec.hea", tmp_path / "rec"):
        (name, read), *others = read_truth(path).items()
        assert name == "rec" and not others
        np.testing.assert_array_equal(np.isnan(read), np.isnan(truth))
        np.testing.assert_allclose(read, truth, atol=0.00051)


@pytest.mark.parametrize("case", ["rate", "leads"])
def test_wfdb_truth_of_another_kind(tmp_path: Path, case: str) -> None:
    write_wfdb(tmp_path, "rec", signals(0), list(LEADS), fs=250 if case == "rate" else 500)
    if case == "leads":
        header = tmp_path / "rec.hea"
        header.write_text(header.read_text().replace("V6", "V9"))
    with pytest.raises(FormatError, match="250" if case == "rate" else "V6"):
        read_truth(tmp_path / "rec.hea")


def test_npz_truth_in_microvolt(tmp_path: Path) -> None:
    uv = np.random.default_rng(0).integers(-2000, 2000, (2, 12, 5000)).astype(np.int16)
    uv[0, 0, :7] = -32768
    np.savez(tmp_path / "t.npz", uv=uv[:, ::-1], record=["p", "q"], leads=list(reversed(LEADS)), fs=500)
    truths = read_truth(tmp_path / "t.npz")
    assert list(truths) == ["p", "q"]
    assert np.isnan(truths["p"][0, :7]).all() and np.isfinite(truths["p"][0, 7:]).all()
    np.testing.assert_allclose(truths["q"], uv[1] / 1000)


@pytest.mark.parametrize(
    ("arrays", "names"),
    [
        ({"signals": np.zeros((12, 5000))}, ["t"]),
        ({"signals": np.zeros((1, 12, 5000))}, ["t"]),
        ({"signals": np.zeros((2, 12, 5000))}, ["0", "1"]),
        ({"signals": np.zeros((2, 12, 5000)), "ids": [7, 8]}, ["7", "8"]),
        ({"signals": np.zeros((12, 5000)), "name": "x"}, ["x"]),
    ],
)
def test_names_in_npz_truth(tmp_path: Path, arrays: dict, names: list[str]) -> None:
    np.savez(tmp_path / "t.npz", **arrays)
    assert list(read_truth(tmp_path / "t.npz")) == names


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"other": np.zeros(3)}, "neither"),
        ({"signals": np.zeros((12, 4000))}, "5000"),
        ({"signals": np.zeros((12, 5000)), "fs": 100}, "500 Hz"),
        ({"signals": np.zeros((2, 12, 5000)), "names": ["a", "a"]}, "different names"),
        ({"signals": np.zeros((12, 5000)), "leads": [f"X{k}" for k in range(12)]}, "lacks"),
    ],
)
def test_npz_truth_of_another_kind(tmp_path: Path, arrays: dict, words: str) -> None:
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(FormatError, match=words):
        read_truth(tmp_path / "t.npz")


@pytest.mark.parametrize("name", ["missing.npz", "damaged.npz", "missing.hea", "damaged.hea"])
def test_unreadable_truth(tmp_path: Path, name: str) -> None:
    if name.endswith("hea"):
        pytest.importorskip("wfdb", reason="needs the package wfdb (extra 'wfdb')")
    if name.startswith("damaged"):
        (tmp_path / name).write_bytes(b"not what it says")
    with pytest.raises(FormatError):
        read_truth(tmp_path / name)


# --- whole folders


def test_folder_against_one_npz(tmp_path: Path) -> None:
    truths = save_truths(tmp_path / "t.npz", ["a", "b", "c", "d"])
    out = tmp_path / "out"
    write_page(out, "a-0", truths[0])
    write_page(out, "b", truths[1] + np.random.default_rng(0).normal(scale=0.3, size=(12, 5000)))
    write_record(EcgRecord.refused("c.page2", [Reason("grid_not_found", "no grid")]), out)
    write_page(out, "z", truths[0])
    (out / "summary.json").write_text(json.dumps({"pages": 4}))
    (out / "a-0.overlay.png").write_bytes(b"")
    result = evaluate_paths(out, tmp_path / "t.npz")
    rows = {row.truth: row for row in result.rows}
    assert [row.truth for row in result.rows] == ["a", "b", "c", "d"]
    assert rows["a"].prediction == "a-0" and rows["a"].score.ratio == RATIO_CAP
    assert 5 < rows["b"].score.snr_db < 15
    assert rows["c"].prediction == "c.page2" and not rows["c"].score.digitized
    assert rows["d"].prediction is None and not rows["d"].score.digitized
    assert result.unmatched == ("z",) and result.score.share_refused == 0.5
    assert result.score.snr_db == pytest.approx(
        10 * np.log10((rows["a"].score.ratio + rows["b"].score.ratio) / 4), abs=1e-9
    )
    data = json.loads(json.dumps(result.to_json_dict(), allow_nan=False))
    assert data["pages"][3]["snr_db"] is None and data["set"]["n_pages"] == 4


def test_folder_against_folder_of_wfdb(tmp_path: Path) -> None:
    truth, out = tmp_path / "truth", tmp_path / "out"
    truth.mkdir()
    values = [only_printed(signals(seed), STANDARD) for seed in range(2)]
    for k, name in enumerate(("p", "q")):
        write_wfdb(truth, name, values[k], list(LEADS))
        write_page(out, f"{name}-0001", values[k])
        write_page(out, f"{name}-0004", values[k])
    result = evaluate_paths(out, truth)
    assert [row.prediction for row in result.rows] == ["p-0001", "p-0004", "q-0001", "q-0004"]
    assert result.score.snr_db > 25.8


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_one_file_is_scored_alone(tmp_path: Path, suffix: str) -> None:
    truths = save_truths(tmp_path / "t.npz", ["a", "b"])
    write_page(tmp_path / "out", "b", truths[1])
    result = evaluate_paths(tmp_path / "out" / f"b{suffix}", tmp_path / "t.npz")
    assert [row.truth for row in result.rows] == ["b"] and result.score.snr_db > 25.8


@pytest.mark.parametrize(("printed", "covered"), [("auto", True), ("standard", True), ("all", False)])
def test_a_truth_that_is_whole_counts_where_it_is_printed(tmp_path: Path, printed: str, covered: bool) -> None:
    whole = signals(0)
    np.savez(tmp_path / "t.npz", signals=whole, names="a")
    write_page(tmp_path / "out", "a", only_printed(whole, STANDARD))
    result = evaluate_paths(tmp_path / "out", tmp_path / "t.npz", printed)  # type: ignore[arg-type]
    assert (result.score.snr_db > 25.8) == covered
    assert result.rows[0].score.leads["V6"].n_samples == (1250 if covered else 5000)


def test_faults_in_folders(tmp_path: Path) -> None:
    truths = save_truths(tmp_path / "t.npz", ["a"])
    out = tmp_path / "out"
    with pytest.raises(FormatError, match="no predictions"):
        evaluate_paths(out, tmp_path / "t.npz")
    write_page(out, "z", truths[0])
    with pytest.raises(FormatError, match="names"):
        evaluate_paths(out / "z.csv", tmp_path / "t.npz")
    with pytest.raises(FormatError, match="no truth"):
        evaluate_paths(out, out)
    (out / "a.json").write_text(json.dumps({"outcome": "digitized"}))
    with pytest.raises(FormatError, match="not beside it"):
        evaluate_paths(out, tmp_path / "t.npz")
    (out / "a.json").write_text("{")
    with pytest.raises(FormatError, match="cannot read"):
        evaluate_paths(out, tmp_path / "t.npz")


def test_an_empty_folder_is_a_set_of_refused_pages(tmp_path: Path) -> None:
    save_truths(tmp_path / "t.npz", ["a", "b"])
    (tmp_path / "out").mkdir()
    assert evaluate_paths(tmp_path / "out", tmp_path / "t.npz").score.share_refused == 1


def test_two_truths_of_one_name(tmp_path: Path) -> None:
    save_truths(tmp_path / "t.npz", ["a"])
    save_truths(tmp_path / "u.npz", ["a"])
    (tmp_path / "out").mkdir()
    with pytest.raises(FormatError, match="two truths"):
        evaluate_paths(tmp_path / "out", tmp_path)


def test_real_truths(shared_data: Path) -> None:
    pytest.importorskip("wfdb", reason="needs the package wfdb (extra 'wfdb')")
    headers = sorted((shared_data / "photos").glob("*.hea"))
    for header in headers[:3]:
        (truth,) = read_truth(header).values()
        np.testing.assert_array_equal(np.isfinite(truth), np.isfinite(only_printed(np.zeros((12, 5000)), STANDARD)))
    pdfs = read_truth(shared_data / "pdf_pages" / "truth.npz")
    stems = [path.stem for path in (shared_data / "pdf_pages").glob("*.pdf")]
    matches, unmatched = match_predictions(stems, pdfs)
    assert len(matches) == len(pdfs) == 20 and not unmatched
    # III = II - I in the truth itself.
    assert max(np.abs(t[2] - t[1] + t[0]).max() for t in pdfs.values()) < 0.003
