from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from cardioscan.errors import FormatError
from cardioscan.formats import write_record, writers
from cardioscan.page.leads import LEADS

H = "{urn:hl7-org:v3}"
TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
# Children in the order, and with the minimum, of the schema PORT_MT020001.
DOCUMENT_CHILDREN = ["id", "code", "text", "effectiveTime", "componentOf", "component"]
SERIES_CHILDREN = ["id", "code", "effectiveTime", "author", "component"]


def decode(content: bytes) -> np.ndarray:
    """Signals in mV as a reader of the format finds them: every sequence placed by its set's own time base."""
    signals = np.full((12, 5000), np.nan)
    for sequence_set in ElementTree.fromstring(content).iter(f"{H}sequenceSet"):
        time, *leads = sequence_set.findall(f"{H}component/{H}sequence")
        assert time.find(f"{H}code").get("code") == "TIME_RELATIVE"
        assert time.find(f"{H}value").get(TYPE) == "GLIST_PQ"
        assert time.find(f"{H}value/{H}increment").attrib == {"value": "0.002", "unit": "s"}
        start = round(float(time.find(f"{H}value/{H}head").get("value")) * 500)
        lengths = set()
        for sequence in leads:
            value = sequence.find(f"{H}value")
            assert value.get(TYPE) == "SLIST_PQ"
            origin, scale = (value.find(H + tag) for tag in ("origin", "scale"))
            assert (origin.get("unit"), scale.get("unit")) == ("uV", "uV")
            digits = np.array(value.find(f"{H}digits").text.split(), int)
            name = sequence.find(f"{H}code").get("code").removeprefix("MDC_ECG_LEAD_")
            index = [lead.upper() for lead in LEADS].index(name)
            assert np.isnan(signals[index, start : start + digits.size]).all()
            signals[index, start : start + digits.size] = (
                float(origin.get("value")) + float(scale.get("value")) * digits
            )
            lengths.add(digits.size)
        assert len(lengths) == 1
    return signals / 1000


def test_samples_and_gaps(page_record, page_signals, tmp_path):
    (path,) = write_record(page_record, tmp_path, ["aecg"])
    np.testing.assert_allclose(decode(path.read_bytes()), page_signals, atol=0.5000001e-3)


def test_one_sequence_set_for_each_column_of_the_page(make_record, page_signals):
    signals = page_signals.copy()
    signals[0, 100:110] = 0.1
    (content,) = writers()["aecg"].files(make_record(signals)).values()
    assert len(list(ElementTree.fromstring(content).iter(f"{H}sequenceSet"))) == 4


def test_scattered_gaps(make_record):
    rng = np.random.default_rng(3)
    signals = np.where(rng.random((12, 5000)) < 0.02, np.round(rng.normal(0, 1, (12, 5000)), 3), np.nan)
    (content,) = writers()["aecg"].files(make_record(signals)).values()
    np.testing.assert_allclose(decode(content), signals, atol=1e-9)


def test_structure_of_the_schema(page_record):
    (content,) = writers()["aecg"].files(page_record).values()
    root = ElementTree.fromstring(content)
    assert root.tag == f"{H}AnnotatedECG"
    assert [child.tag.removeprefix(H) for child in root] == DOCUMENT_CHILDREN
    series = root.find(f"{H}component/{H}series")
    names = [child.tag.removeprefix(H) for child in series]
    assert list(dict.fromkeys(names)) == SERIES_CHILDREN
    assignment = f"{H}componentOf/{H}timepointEvent/{H}componentOf/{H}subjectAssignment"
    assert root.find(f"{assignment}/{H}subject/{H}trialSubject/{H}id").attrib == {"nullFlavor": "NI"}
    assert root.find(f"{assignment}/{H}componentOf/{H}clinicalTrial/{H}id").attrib == {"nullFlavor": "NI"}
    assert root.find(f"{H}effectiveTime").attrib == {"nullFlavor": "UNK"}
    assert "image of a printed ECG page" in root.find(f"{H}text").text
    software = series.find(f"{H}author/{H}seriesAuthor/{H}manufacturedSeriesDevice/{H}softwareName")
    assert software.text == "label_detector 1; grid_rectifier 2"


def test_lxml_reads_it_too(page_record):
    etree = pytest.importorskip("lxml.etree", reason="needs lxml")
    (content,) = writers()["aecg"].files(page_record).values()
    leads = etree.fromstring(content).xpath("//h:sequence/h:code/@code", namespaces={"h": "urn:hl7-org:v3"})
    assert set(leads) == {"TIME_RELATIVE"} | {f"MDC_ECG_LEAD_{lead.upper()}" for lead in LEADS if lead != "aVF"}


def test_out_of_range(make_record, page_signals):
    signals = page_signals.copy()
    signals[1, 9] = 1e12
    with pytest.raises(FormatError, match="aecg cannot hold lead II, sample 9"):
        writers()["aecg"].files(make_record(signals))
