"""``cardioscan evaluate --report``: one HTML file, the worst page first, whatever names and reasons are like."""

from __future__ import annotations

import base64
import html.parser
import io
import json
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from cardioscan.evaluate.evaluation import PageRow, only_printed
from cardioscan.evaluate.measure import compare
from cardioscan.formats import write_record
from cardioscan.page.catalogue import find_layout
from cardioscan.page.leads import LEADS
from cardioscan.record import EcgRecord, Reason
from cardioscan_client.cli import main

for needed in ("jinja2", "matplotlib"):
    pytest.importorskip(needed, reason="needs the extra 'plot'")

from cardioscan_client.evaluation_report import EvaluationReport, as_scored, worst_first  # noqa: E402

HOSTILE = "bad-<img src=x onerror=alert(1)>'\"&amp;"
REASON = '<script>alert(1)</script> & "no grid" found'


def beat(shift: int = 0) -> np.ndarray:
    """(12, 5000) mV in the standard layout, every lead of another size."""
    time = np.arange(5000) / 500
    course = np.exp(-(((time % 0.8) - 0.3) ** 2) / 0.0008) + 0.2 * np.sin(2 * np.pi * 1.25 * time)
    return only_printed(np.roll(np.outer(np.linspace(0.5, 1.5, 12), course), shift, axis=1), find_layout("3x4+1"))


def write(folder: Path, name: str, signals: np.ndarray) -> None:
    write_record(EcgRecord(name, signals, np.isfinite(signals).astype(np.float32)), folder)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five truths: one read well, two badly, one refused under a hostile name, one without a page; and a stray page."""
    folder = tmp_path_factory.mktemp("evaluation")
    truth, out = beat(), folder / "out"
    rng = np.random.default_rng(1)
    for name, noise in (("good", 0.001), ("worse", 0.4), ("worst", 0.8)):
        write(out, name, truth + rng.normal(0, noise, truth.shape))
    write(out, "stray-<b>", truth)
    write_record(EcgRecord.refused(HOSTILE, [Reason("grid_not_found", REASON)]), out)
    Image.effect_noise((3000, 2000), 60).convert("RGB").save(out / "good.overlay.png")
    (out / "worse.overlay.png").write_bytes(b"no picture")
    names = ["bad", "gone", "good", "worse", "worst"]
    np.savez(folder / "truth.npz", signals=np.stack([truth] * len(names)), names=names)
    return folder


@pytest.fixture(scope="module")
def whole(results: Path) -> tuple[Document, str]:
    """The report with all pictures, parsed and as text."""
    return report(results, "--no-clinical")


def evaluate(folder: Path, *options: object) -> Result:
    arguments = ["evaluate", folder / "out", folder / "truth.npz", "--report", folder / "new" / "report.html", *options]
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


class Document(html.parser.HTMLParser):
    """What a browser would see: elements, balanced; text of headings and cells; attributes that name resources."""

    VOID = ("meta", "img", "br", "hr", "link", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.titles: list[str] = []
        self.rows: list[list[str]] = []
        self.policy = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if ("http-equiv", "Content-Security-Policy") in attrs:
            self.policy = str(dict(attrs)["content"])
        if tag not in self.VOID:
            self._open.append(tag)
        if tag in ("h1", "h2", "h3"):
            self.titles.append("")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"h1", "h2", "h3"} & set(self._open):
            self.titles[-1] += data
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data

    def values(self, tag: str, attribute: str) -> list[str]:
        return [value for t, name, value in self.attributes if (t, name) == (tag, attribute)]


def report(folder: Path, *options: object) -> tuple[Document, str]:
    result = evaluate(folder, *options)
    assert result.exit_code == 0, result.output
    assert "report: " in result.stderr
    text = (folder / "new" / "report.html").read_text("utf-8")
    return Document(text), text


def pages(document: Document) -> list[list[str]]:
    """Rank, page and truth of the table of pages."""
    return [row[:3] for row in document.rows if row[0].isdigit()]


def test_the_worst_page_comes_first(whole: tuple[Document, str]) -> None:
    document, text = whole
    assert pages(document) == [
        ["1", HOSTILE, "bad"],
        ["2", "none", "gone"],
        ["3", "worst", "worst"],
        ["4", "worse", "worse"],
        ["5", "good", "good"],
    ]
    assert [title.split(":")[0] for title in document.titles if title[0].isdigit()] == [
        f"1. {HOSTILE}", "2. gone", "3. worst", "4. worse", "5. good",
    ]  # fmt: skip
    assert "All pages." in text
    found = [" ".join(row[-1].split()) for row in document.rows if row[0] in ("1", "2")]
    assert found == [f"refused: grid_not_found {REASON}", "missing: missing no page belongs to this truth"]


def test_the_figures_are_those_of_the_command(results: Path, whole: tuple[Document, str]) -> None:
    total = json.loads(evaluate(results, "--json", "--no-clinical").stdout)["set"]
    document, text = whole
    shown = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text)
    assert dict(shown)["score (10 log10 of the mean ratio)"] == f"{total['snr_db']:.2f} dB"
    assert dict(shown)["refused"] == "40.0 %"
    per_lead = [row for row in document.rows if row[0] in LEADS]
    assert len(per_lead) == 12 * 4  # of the set and of the three pages that were read
    assert per_lead[0] == ["I", f"{total['lead_r']['I']:.4f}", f"{total['lead_rmse_mv']['I']:.4f}"]


def test_hostile_names_stay_text(whole: tuple[Document, str]) -> None:
    document, text = whole
    assert "script" not in document.tags
    assert not [name for _, name, _ in document.attributes if name.startswith("on")]
    assert set(document.values("img", "src")) == {
        source for source in document.values("img", "src") if source[:5] == "data:"
    }
    assert "stray-&lt;b&gt;" in text and "<b>" not in text


def test_nothing_comes_from_elsewhere(results: Path, whole: tuple[Document, str]) -> None:
    document, text = whole
    assert {"link", "iframe", "object", "base"}.isdisjoint(document.tags)
    assert all(target.startswith("#") for target in document.values("a", "href"))
    assert {target[1:] for target in document.values("a", "href")} <= set(document.values("article", "id"))
    assert document.policy.startswith("default-src 'none'")
    assert not re.search(r"url\(|@import|https?://|file:", text)
    assert str(results) not in text


def test_every_picture_can_be_seen_and_is_described(whole: tuple[Document, str]) -> None:
    document, _ = whole
    sizes = []
    for source in document.values("img", "src"):
        kind, content = source.removeprefix("data:image/").split(";base64,")
        with Image.open(io.BytesIO(base64.b64decode(content, validate=True))) as picture:
            picture.load()
            assert picture.format == kind.upper()
            sizes.append((kind, max(picture.size)))
    # Five plots; of the two overlays one is no picture.
    assert sorted(kind for kind, _ in sizes) == ["jpeg", *["png"] * 5]
    assert ("jpeg", 1600) in sizes and all(side > 2000 for kind, side in sizes if kind == "png")
    described = document.values("img", "alt")
    assert len(described) == 6 and all(described)
    assert sum("nothing was read" in text for text in described) == 2


def test_it_can_be_read_by_ear(whole: tuple[Document, str]) -> None:
    document, text = whole
    assert 'lang="en"' in text
    assert document.titles[:4] == ["Evaluation of digitized ECGs", "The set", "Pages, worst first", "Pictures"]
    assert document.tags.count("th") and set(document.values("th", "scope")) == {"col", "row"}
    assert len(document.values("th", "scope")) == document.tags.count("th")


def test_pictures_of_the_worst_alone(results: Path) -> None:
    document, text = report(results, "--no-clinical", "--report-pictures", 3)
    assert [title for title in document.titles if title[0].isdigit()] == [
        f"1. {HOSTILE}: refused", "2. gone: missing", f"3. worst: {pages_snr(document, '3')} dB",
    ]  # fmt: skip
    assert "The worst 3 of 5 pages" in text
    assert len(pages(document)) == 5 and document.values("a", "href") == ["#page-1", "#page-2", "#page-3"]
    document, text = report(results, "--no-clinical", "--report-pictures", 0)
    assert "img" not in document.tags and "The worst 0 of 5 pages" in text


def pages_snr(document: Document, rank: str) -> str:
    return next(row[3] for row in document.rows if row[0] == rank)


def test_of_a_large_set_the_worst_are_kept(tmp_path: Path) -> None:
    truth = beat()
    rng = np.random.default_rng(2)
    kept = EvaluationReport(tmp_path, pictures=2)
    rows = []
    for place in range(30):
        predicted = truth + rng.normal(0, 0.05 * (1 + place * 7 % 30), truth.shape)
        rows.append(PageRow(f"{place}", f"{place}", compare(predicted, truth)))
        kept.add(rows[-1], predicted, truth)
        assert len(kept._kept) <= 12
    kept._keep_the_worst()
    assert [seen.row for seen in kept._kept] == sorted(rows, key=worst_first)[:2]


@pytest.mark.skipif(find_spec("neurokit2") is None, reason="needs the extra 'clinical'")
def test_clinical_measures_are_shown(results: Path) -> None:
    document, text = report(results, "--report-pictures", 5)
    rows = [row for row in document.rows if row[0] == "heart rate"]
    assert rows[0][1] == "1/min" and int(rows[0][2]) >= 1
    assert any(row[:2] == ["heart rate", "1/min"] and row[3].startswith("75") for row in rows[1:])
    assert "Clinical measures" in document.titles


def test_the_same_results_give_the_same_file(results: Path, whole: tuple[Document, str]) -> None:
    assert report(results, "--no-clinical")[1] == whole[1]


def test_a_missing_package_is_told_before_the_work(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = evaluate(results, "--no-clinical")
    assert result.exit_code == 2
    assert "pip install 'cardioscan[plot]'" in result.output and "good" not in result.output


@pytest.mark.parametrize("shift", [0, 17, -40])
def test_signals_are_drawn_as_they_are_scored(shift: int) -> None:
    truth = beat()
    predicted = beat(shift) + 0.3 + np.random.default_rng(3).normal(0, 0.01, truth.shape)
    score = compare(predicted, truth)
    drawn = as_scored(predicted, truth, score)
    for row, lead in enumerate(LEADS):
        printed = np.isfinite(truth[row])
        residual = np.where(np.isfinite(drawn[row]), drawn[row], 0.0)[printed] - truth[row, printed]
        assert np.sqrt(np.mean(residual**2)) == pytest.approx(score.leads[lead].rmse_mv, rel=1e-9)
