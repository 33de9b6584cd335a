from __future__ import annotations

import numpy as np
import pytest

from cardioscan.errors import FormatError
from cardioscan.formats import write_record, writers
from cardioscan.page.leads import LEADS

wfdb = pytest.importorskip("wfdb", reason="needs wfdb")


def test_read_by_wfdb(page_record, page_signals, tmp_path):
    paths = write_record(page_record, tmp_path, ["wfdb"])
    record = wfdb.rdrecord(str(paths[-1].with_suffix("")))
    assert tuple(record.sig_name) == LEADS
    assert record.fs == 500
    assert set(record.units) == {"mV"}
    assert set(record.adc_gain) == {1000.0}
    assert set(record.baseline) == {0}
    assert record.base_date is None and record.base_time is None
    np.testing.assert_allclose(record.p_signal.T, page_signals, atol=0.5000001e-3)


def test_samples_in_the_data_file(page_record, page_signals, tmp_path):
    data, _ = write_record(page_record, tmp_path, ["wfdb"])
    samples = np.fromfile(data, "<i2").reshape(5000, 12).T
    np.testing.assert_array_equal(samples == -32768, np.isnan(page_signals))
    assert samples[1, :3].tolist() == [32767, -32767, 0]


def test_name_is_made_to_fit_and_the_header_names_its_data_file(make_record, page_signals, tmp_path):
    data, header = write_record(make_record(page_signals, name="scan 3.final"), tmp_path, ["wfdb"])
    assert data.stem == header.stem
    assert data.name in header.read_text()
    assert wfdb.rdheader(str(header.with_suffix(""))).n_sig == 12


@pytest.mark.parametrize("value", [32.7676, -32.7676, 1e308, -1e308])
def test_out_of_range(value, make_record, page_signals):
    signals = page_signals.copy()
    signals[1, 17] = value
    with pytest.raises(FormatError, match="wfdb cannot hold lead II, sample 17"):
        writers()["wfdb"].files(make_record(signals))
