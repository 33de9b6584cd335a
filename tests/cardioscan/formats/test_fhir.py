from __future__ import annotations

import json

import numpy as np
import pytest

from cardioscan.errors import FormatError
from cardioscan.formats import write_record, writers
from cardioscan.page.leads import LEADS

# ISO/IEEE 11073-10101 potentials, as in the ECG example of the FHIR specification.
POTENTIALS = ["131329", "131330", "131389", "131390", "131391", "131392", *(str(131331 + v) for v in range(6))]


@pytest.fixture
def observation(page_record, tmp_path):
    (path,) = write_record(page_record, tmp_path, ["fhir"])
    return json.loads(path.read_text(encoding="utf-8"))


def test_validates_against_the_r4b_model(observation):
    module = pytest.importorskip("fhir.resources.R4B.observation", reason="needs fhir.resources")
    parsed = module.Observation.model_validate(observation)
    assert len(parsed.component) == 13
    assert parsed.contained[0].deviceName[0].name == "CardioScan page digitizer"


def test_coding(observation):
    assert observation["code"]["coding"][0]["code"] == "34534-8"
    assert observation["status"] == "preliminary"
    codings = [component["code"]["coding"][0] for component in observation["component"]]
    assert [coding["code"] for coding in codings[:12]] == POTENTIALS
    assert [coding["display"] for coding in codings[:12]] == [f"MDC_ECG_ELEC_POTL_{lead.upper()}" for lead in LEADS]
    assert {coding["system"] for coding in codings[:12]} == {"urn:iso:std:iso:11073:10101"}
    assert observation["component"][12]["valueQuantity"]["value"] == 71.5


def test_samples(observation, page_signals):
    for component, expected in zip(observation["component"][:12], page_signals, strict=True):
        if np.isnan(expected).all():
            assert "valueSampledData" not in component
            assert component["dataAbsentReason"]["coding"][0]["code"] == "unknown"
            continue
        data = component["valueSampledData"]
        assert data["origin"] == {"value": 0, "unit": "mV", "system": "http://unitsofmeasure.org", "code": "mV"}
        assert (data["period"], data["dimensions"]) == (2, 1)
        texts = data["data"].split(" ")
        values = np.array([np.nan if text == "E" else int(text) for text in texts]) * data["factor"]
        np.testing.assert_allclose(values, expected, atol=0.5000001e-3)


def test_no_subject_no_date(observation):
    assert not {"subject", "effectiveDateTime", "issued", "performer", "encounter"} & set(observation)


def test_origin_and_confidence_are_notes(observation):
    texts = " ".join(note["text"] for note in observation["note"])
    assert "image of a printed ECG page" in texts
    assert "aVR 0.75, aVL 0.75, aVF 0.00" in texts


def test_larger_values_than_16_bit_fit_up_to_32_bit(make_record, page_signals):
    signals = page_signals.copy()
    signals[1, 0] = -1234.567
    (content,) = writers()["fhir"].files(make_record(signals)).values()
    assert json.loads(content)["component"][1]["valueSampledData"]["data"].startswith("-1234567 ")
    signals[1, 0] = 1e300
    with pytest.raises(FormatError, match="fhir cannot hold lead II, sample 0"):
        writers()["fhir"].files(make_record(signals))
