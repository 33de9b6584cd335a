from __future__ import annotations

import pytest

from benchmarks.clinical import MEASURES, clinical_rows
from cardioscan.evaluate.clinical import ClinicalComparison
from cardioscan.page.leads import LEADS
from cardioscan.postprocess.clinical import MEASURES as NAMES
from cardioscan.postprocess.clinical import ClinicalMeasures


def test_rows_are_in_units_that_two_decimals_show() -> None:
    assert tuple(MEASURES) == NAMES
    truth = ClinicalMeasures(heart_rate_bpm=60, qt_ms=400, st_mv=dict.fromkeys(LEADS, 0.1))
    found = ClinicalMeasures(heart_rate_bpm=60.5, qt_ms=390, st_mv=dict.fromkeys(LEADS, 0.112))
    pages = [ClinicalComparison(found, truth), ClinicalComparison(truth, truth), ClinicalComparison(None, truth)]
    rows = {row["measure"]: row for row in clinical_rows("photos", pages)}
    rate, qt, st, pr = (rows[name] for name in ("heart rate", "QT", "ST at J+60 ms", "PR"))
    assert (rate["set"], rate["n"], rate["of"], rate["bias"], rate["within 1/min %"]) == ("photos", 2, 2, 0.25, 100)
    assert (qt["mean abs. error"], qt["bias"], qt["within 1/min %"]) == (5, -5, None)
    assert (st["n"], st["unit"], st["bias"]) == (24, "µV", pytest.approx(6))
    assert (pr["n"], pr["of"], pr["mean abs. error"]) == (0, 0, None)


def test_a_set_of_refused_pages_has_rows_without_figures() -> None:
    rows = clinical_rows("photos", [ClinicalComparison(None, ClinicalMeasures(heart_rate_bpm=60))])
    assert len(rows) == len(NAMES)
    assert {row["n"] for row in rows} == {0} and {row["within 1/min %"] for row in rows} == {None}
