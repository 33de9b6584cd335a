"""Clinical measures of digitized pages against those of their truths: sums, files, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cardioscan.evaluate.clinical import ClinicalComparison, ClinicalSummary, compare_clinical
from cardioscan.evaluate.evaluation import evaluate_paths, only_printed
from cardioscan.formats import write_record
from cardioscan.page.catalogue import find_layout
from cardioscan.page.leads import LEADS
from cardioscan.postprocess.clinical import MEASURES, ClinicalMeasures
from cardioscan.record import EcgRecord, Reason
from cardioscan.synthesis.simulator import SimulatedSignals
from cardioscan_client.cli import main
from tests.cardioscan.postprocess.known_ecg import GAINS, ecg

pytest.importorskip("neurokit2", reason="needs the package neurokit2 (extra 'clinical')")

STANDARD = find_layout("3x4+1")


# --- comparing


def test_the_same_signals_have_no_error() -> None:
    source = SimulatedSignals(10, seed=8)
    pages = [only_printed(source.record(index), STANDARD) for index in range(10)]
    summary = ClinicalSummary.from_comparisons([compare_clinical(page, page) for page in pages])
    assert summary.n_digitized == 10 and summary.heart_rate_within_1 == 1
    for name, row in summary.measures.items():
        assert row.n == row.n_true > 0 and row.mean_absolute_error == row.bias == 0, name
    assert sum(row.n for row in summary.st_leads.values()) == summary.measures["st_mv"].n


def test_a_slow_time_base_and_a_raised_st_are_found() -> None:
    truth = only_printed(ecg(75, st=0.0, noise=0.005), STANDARD)
    digitized = only_printed(ecg(72, st=0.1, noise=0.005), STANDARD)
    page = compare_clinical(digitized, truth)
    assert page.errors("heart_rate_bpm")[0] == pytest.approx(-3, abs=0.3)
    np.testing.assert_allclose(page.errors("st_mv"), 0.1 * GAINS, atol=0.02)
    summary = ClinicalSummary.from_comparisons([page])
    assert summary.heart_rate_within_1 == 0
    assert summary.measures["heart_rate_bpm"].bias == pytest.approx(-3, abs=0.3)
    assert summary.st_leads["aVR"].bias < 0 < summary.st_leads["V4"].bias


@pytest.mark.parametrize("predicted", [None, np.full((12, 5000), np.nan)], ids=["refused", "nothing read"])
def test_a_refused_page_counts_nowhere(predicted: np.ndarray | None) -> None:
    truth = ecg()
    page = compare_clinical(predicted, truth)
    assert page.predicted is None and np.isfinite(page.truth.heart_rate_bpm)
    both = ClinicalSummary.from_comparisons([page, compare_clinical(truth, page.truth)])
    assert both.n_digitized == 1 and both.heart_rate_within_1 == 1 and both.measures["pr_ms"].n_true == 1
    alone = ClinicalSummary.from_comparisons([page])
    assert alone.n_digitized == 0 and np.isnan(alone.heart_rate_within_1)
    assert json.loads(json.dumps(alone.to_json_dict(), allow_nan=False))["measures"]["qt_ms"]["bias"] is None


def test_sums() -> None:
    def page(found: float, true: float) -> ClinicalComparison:
        return ClinicalComparison(
            ClinicalMeasures(heart_rate_bpm=found, pr_ms=2 * found), ClinicalMeasures(heart_rate_bpm=true)
        )

    nan = float("nan")
    summary = ClinicalSummary.from_comparisons([page(61, 60), page(75, 78), page(nan, 80), page(50, nan)])
    rate = summary.measures["heart_rate_bpm"]
    assert (rate.n, rate.n_true, rate.mean_absolute_error, rate.bias) == (2, 3, 2, -1)
    assert summary.heart_rate_within_1 == pytest.approx(1 / 3)  # the rate that was not found is not within
    assert summary.measures["pr_ms"].n == summary.measures["pr_ms"].n_true == 0
    assert list(summary.measures) == list(MEASURES)


# --- files and the command


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def results(tmp_path: Path) -> tuple[Path, Path]:
    """Three pages: one digitized well, one with the time base 4 % off, one refused; and their truths."""
    truths = [only_printed(ecg(rate, noise=0.005), STANDARD) for rate in (62, 75, 90)]
    pages = {"a": truths[0], "b-1": only_printed(ecg(72, noise=0.005), STANDARD)}
    for name, values in pages.items():
        write_record(EcgRecord(name, values, np.isfinite(values).astype(np.float32)), tmp_path / "out")
    write_record(EcgRecord.refused("c", [Reason("grid_not_found", "no grid")]), tmp_path / "out")
    np.savez(tmp_path / "truth.npz", signals=np.stack(truths), names=["a", "b", "c"])
    return tmp_path / "out", tmp_path / "truth.npz"


def test_evaluated_files(results: tuple[Path, Path]) -> None:
    found = evaluate_paths(*results, clinical=True)
    assert found.clinical is not None and found.clinical.n_digitized == 2
    assert found.clinical.heart_rate_within_1 == 0.5
    # Results on disk are rounded to a microvolt, which moves no beat.
    assert [row.clinical.errors("heart_rate_bpm")[0] for row in found.rows if row.clinical] == pytest.approx(
        [0, -3, np.nan], abs=0.3, nan_ok=True
    )
    assert evaluate_paths(*results).clinical is None


@pytest.mark.parametrize("option", [[], ["--clinical"]])
def test_evaluate_prints_a_second_table(results: tuple[Path, Path], option: list[str]) -> None:
    result = call("evaluate", *results, *option)
    assert result.exit_code == 0, result.output
    decibels, clinical = result.stdout.split("mean abs. error")
    assert "score (10 log10 of the mean ratio)" in decibels
    for expected in ("heart rate", "PR", "QRS", "QT", "QTc Bazett", "ST at J+60 ms", "1/min", "ms", "mV", "50.0 %"):
        assert expected in clinical


def test_evaluate_as_json(results: tuple[Path, Path]) -> None:
    data = json.loads(call("evaluate", *results, "--json").stdout)
    assert data["clinical"]["heart_rate_within_1"] == 0.5
    assert data["clinical"]["measures"]["heart_rate_bpm"]["n"] == 2
    a, _, c = (page["clinical"] for page in data["pages"])
    assert a["predicted"]["heart_rate_bpm"] == pytest.approx(62, abs=0.3) and set(a["truth"]["st_mv"]) == set(LEADS)
    assert c["predicted"] is None
    without = json.loads(call("evaluate", *results, "--json", "--no-clinical").stdout)
    assert "clinical" not in without and "clinical" not in without["pages"][0]


def test_evaluate_without_the_extra(results: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    silent = call("evaluate", *results, "--no-clinical")
    assert silent.exit_code == 0 and "neurokit2" not in silent.output
    usual = call("evaluate", *results)
    assert usual.exit_code == 0 and "heart rate" not in usual.stdout
    assert len(usual.stderr.splitlines()) == 1 and "pip install 'cardioscan[clinical]'" in usual.stderr
    asked = call("evaluate", *results, "--clinical")
    assert asked.exit_code == 2 and "pip install 'cardioscan[clinical]'" in asked.output
