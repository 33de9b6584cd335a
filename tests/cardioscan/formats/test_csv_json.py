from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioscan.evaluate.evaluation import only_printed
from cardioscan.formats import read_signals, write_record, writers
from cardioscan.page.catalogue import find_layout
from cardioscan.page.layout import Layout
from cardioscan.page.leads import LEADS
from cardioscan.page.scale import Scale, Source
from cardioscan.record import Calibration


@pytest.fixture
def rows(page_record, tmp_path):
    (path,) = write_record(page_record, tmp_path, ["csv"])
    assert b"\r" not in path.read_bytes()
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_header_and_times(rows):
    assert ",".join(rows[0]) == "time_s,I,II,III,aVR,aVL,aVF,V1,V2,V3,V4,V5,V6"
    assert len(rows) == 5001
    assert [row[0] for row in rows[1:4]] == ["0.000", "0.002", "0.004"]
    assert rows[-1][0] == "9.998"


def test_values_have_four_decimals_and_gaps_are_empty(rows, page_signals):
    table = np.array([[float(text) if text else np.nan for text in row[1:]] for row in rows[1:]]).T
    np.testing.assert_allclose(table, page_signals, atol=0.5000001e-4)
    texts = [text for row in rows[1:] for text in row[1:] if text]
    assert all(len(text.partition(".")[2]) == 4 for text in texts)
    assert [row[2] for row in rows[1:7]] == ["32.7670", "-32.7670", "0.0000", "0.0000", "0.0000", "0.0000"]


def test_no_negative_zero(rows):
    assert not any("-0.0000" in row for row in rows)


def test_very_large_values_are_written_out(make_record, page_signals):
    signals = page_signals.copy()
    signals[1, 2] = -1e300
    (content,) = writers()["csv"].files(make_record(signals)).values()
    assert float(content.decode().splitlines()[3].split(",")[2]) == -1e300


@st.composite
def patches(draw):
    """Signals as a few runs of one value each over NaN, with a finite sample at the end of lead II."""
    signals = np.full((12, 5000), np.nan)
    value = st.one_of(st.floats(-32.767, 32.767), st.just(np.nan), st.sampled_from([0.0, -0.0, -1e-5, 5e-324]))
    for lead, start, length, level in draw(
        st.lists(st.tuples(st.integers(0, 11), st.integers(0, 4999), st.integers(1, 3000), value), max_size=8)
    ):
        signals[lead, start : start + length] = level
    signals[1, -1] = draw(st.floats(-32.767, 32.767))
    return signals


@pytest.mark.parametrize(("name", "resolution"), [("csv", 1e-4), ("npz", 0.0), ("wfdb", 1e-3), ("parquet", 0.0)])
def test_round_trip_within_the_resolution(name, resolution, make_record, tmp_path_factory):
    for package in {"wfdb": ["wfdb"], "parquet": ["pyarrow"]}.get(name, []):
        pytest.importorskip(package, reason=f"needs {package}")
    folder = tmp_path_factory.mktemp(name)

    @settings(max_examples=20, deadline=None)
    @given(patches())
    def check(signals):
        path = write_record(make_record(signals), folder, [name])[-1]
        read = read_signals(path)
        assert read.leads == LEADS
        assert read.sampling_rate_hz == 500
        assert read.signals.dtype == np.float64
        # Half a step, and a rounding error of the largest value.
        np.testing.assert_allclose(read.signals, signals, rtol=0, atol=resolution / 2 + (1e-13 if resolution else 0))

    check()


def test_json_of_a_digitized_page(page_record, tmp_path):
    (path,) = write_record(page_record, tmp_path, ["json"])

    def refuse(text: str) -> None:
        raise AssertionError(f"not strict JSON: {text}")

    content = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    assert content["schema_version"] == 1
    assert content["outcome"] == "digitized"
    assert content["source_category"] == "0005"
    assert content["heart_rate_bpm"] == 71.5
    assert content["lead_confidence"]["I"] == 0.75
    assert content["lead_confidence"]["aVF"] == 0
    assert content["models"][0] == {"name": "label_detector", "version": "1", "sha256": "a" * 64}
    assert content["timings_s"] == {"align": 0.25}
    assert content["calibration"]["px_per_mv"] == 78.74
    assert Layout.from_json_dict(content["layout"]) == find_layout("3x4+1")


def test_json_of_a_refused_page(refused_record, tmp_path):
    (path,) = write_record(refused_record, tmp_path, ["csv"])
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["outcome"] == "refused"
    assert content["heart_rate_bpm"] is None
    assert content["calibration"] is None


@pytest.mark.parametrize("source", ["Müller 心電図.jpg", 'quo"te\\.png', "bad\udcff.jpg"])
def test_json_keeps_any_source_name(source, make_record, page_signals):
    (content,) = writers()["json"].files(make_record(page_signals, source=source)).values()
    assert json.loads(content)["source"] == source


@pytest.mark.parametrize("name", ["3x4+1", "3x4+3(V1,II,V5)", "6x2", "6x2 Cabrera", "12x1"])
@pytest.mark.parametrize("speed", [25.0, 50.0])
def test_a_page_of_any_layout_is_written_and_read_back(name, speed, make_record, tmp_path):
    layout = find_layout(name)
    signals = only_printed(np.random.default_rng(3).normal(0, 1, (12, 5000)), layout)
    scale = Scale(speed, 10.0, Source.READ, Source.MEASURED)
    record = make_record(signals, layout=layout, calibration=Calibration.of(scale))
    paths = {path.suffix: path for path in write_record(record, tmp_path, ["csv", "json"])}
    np.testing.assert_allclose(read_signals(paths[".csv"]).signals, signals, atol=0.5000001e-4)
    content = json.loads(paths[".json"].read_text(encoding="utf-8"))
    assert Layout.from_json_dict(content["layout"]) == layout
    assert (content["calibration"]["speed_mm_per_s"], content["calibration"]["speed_source"]) == (speed, "read")
    assert content["calibration"]["gain_source"] == "measured"
    assert {lead: content["lead_seconds"][lead] for lead in layout.lead_seconds()} == layout.lead_seconds()
