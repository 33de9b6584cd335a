"""The page in headless Chromium: from upload to download, by mouse, by finger-sized screen and by keyboard alone."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from cardioscan.evaluate.measure import compare
from cardioscan.formats import read_signals

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SWITCHES = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SIZES = {"desktop": (1440, 1000), "phone": (390, 844)}
SHOWN = "#shown:not([hidden])"
WAIT_MS = 300_000

pytestmark = [
    pytest.mark.skipif(find_spec("playwright") is None, reason="the package playwright is not installed"),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt install chromium)"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield running
        running.close()


@pytest.fixture
def visit(browser: Any, url: str) -> Iterator[Callable[..., Any]]:
    """``visit(size)``: a fresh browser at the page; the test fails where its console tells of an unexpected error."""
    contexts, errors = [], []

    def go(size: str = "desktop", address: str = url, expected: str = "-", **options: Any) -> Any:
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda said: said.type == "error" and expected not in said.text and errors.append(said.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        return page

    yield go
    for context in contexts:
        context.close()
    assert errors == []


def send(page: Any, content: bytes, name: str = "page.jpg") -> None:
    page.set_input_files("#files", [{"name": name, "mimeType": "image/jpeg", "buffer": content}])


def axe_findings(page: Any) -> list[str]:
    """Serious findings of axe-core; the test is skipped where that is not installed."""
    pytest.importorskip("axe_playwright_python")
    page.evaluate((resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{finding['id']}: {finding['nodes'][0]['html'][:120]}"
        for finding in found["violations"]
        if finding["impact"] in ("serious", "critical")
    ]


def until(page: Any, condition: str) -> None:
    """Wait for a condition; what Playwright has for that needs the `eval` that the page's policy forbids."""
    for _ in range(WAIT_MS // 50):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never came true: {condition}")


def fits(page: Any) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def test_the_page_without_a_result_is_there_at_once(visit: Any) -> None:
    page = visit()
    assert page.evaluate("document.querySelectorAll('script[src], link[rel=stylesheet]').length") == 2
    assert axe_findings(page) == [] and fits(page)


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_from_upload_to_download(visit: Any, photo: bytes, tmp_path: Path, size: str, scheme: str) -> None:
    page = visit(size, color_scheme=scheme)
    send(page, photo, "page-photo.jpg")
    page.wait_for_selector(SHOWN, timeout=WAIT_MS)
    assert page.inner_text("#result-title") == "page-photo"
    until(page, "!document.querySelector('#measures').textContent.includes('measuring')")
    assert "/min" in page.inner_text("#measures")
    assert "Digitized" in page.inner_text("#jobs")
    for name in ("page", "sheet", "numbers", "place", "stages", "files"):
        page.click(f"#tab-{name}")
        page.wait_for_selector(f"#panel-{name}:not([hidden])")
        if name == "stages":
            until(page, "[...document.images].length == 6 && [...document.images].every(i => i.naturalWidth)")
        assert fits(page), name
        assert axe_findings(page) == [], name
    with page.expect_download() as download:
        page.click("#downloads >> text=CSV")
    download.value.save_as(tmp_path / "page.csv")
    assert download.value.suggested_filename == "page-photo.csv"
    assert np.isfinite(read_signals(tmp_path / "page.csv").signals[1]).sum() > 4900
    with page.expect_download() as download:
        page.click("#downloads >> text=The sheet")
    download.value.save_as(tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 50_000


def painted(page: Any, canvas: str, colour: str) -> int:
    """Number of pixels of a canvas that have about the colour of that name."""
    script = """([canvas, name]) => {
      const target = document.querySelector(canvas);
      const value = getComputedStyle(target).getPropertyValue(`--${name}`).trim();
      const want = [1, 3, 5].map((at) => parseInt(value.slice(at, at + 2), 16));
      const { data } = target.getContext("2d").getImageData(0, 0, target.width, target.height);
      let count = 0;
      for (let i = 0; i < data.length; i += 4) {
        if (want.reduce((sum, value, k) => sum + Math.abs(data[i + k] - value), 0) < 40) count++;
      }
      return count;
    }"""
    page.wait_for_timeout(100)  # for the next frame
    return int(page.evaluate(script, [canvas, colour]))


def job_of(page: Any) -> str:
    return str(page.get_attribute("#jobs li", "data-id"))


def drag(page: Any, box: dict[str, float], *points: tuple[float, float]) -> None:
    """Drag over shares of a box."""
    for index, (x, y) in enumerate(points):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        if index == 0:
            page.mouse.down()
    page.mouse.up()


def test_leads_zoom_and_caliper_on_the_page(visit: Any, photo: bytes) -> None:
    page = visit()
    send(page, photo)
    page.wait_for_selector(SHOWN, timeout=WAIT_MS)
    canvas = "#panel-page canvas"
    before = painted(page, canvas, "sure")
    assert before > 1000
    page.click("#panel-page >> text=All or none")
    assert painted(page, canvas, "sure") < before / 10
    page.click("#panel-page .chips >> text='V2'")
    assert page.get_attribute("#panel-page [data-lead=V2]", "aria-pressed") == "true"
    page.click("#panel-page >> text=All or none")
    page.click("#panel-page [data-mode=caliper]")
    box = page.locator(canvas).bounding_box()
    scale = min(box["width"] / 2200, box["height"] / 1700)
    start = (0.3, 0.6)
    drag(
        page,
        box,
        start,
        (0.35, 0.6),
        (start[0] + 196.85 * scale / box["width"], start[1] - 78.74 * scale / box["height"]),
    )
    text = page.inner_text("#panel-page .readout")
    ms, mv = (float(part.split()[0].replace("−", "-")) for part in text.split(",")[:2])
    assert ms == pytest.approx(1000, abs=15) and mv == pytest.approx(1, abs=0.03) and "60/min" in text
    page.click("#panel-page [data-mode=move]")
    page.click("#panel-page >> text='+'")
    page.click("#panel-page >> text='+'")
    drag(page, box, (0.5, 0.5), (0.4, 0.4))
    assert painted(page, canvas, "sure") > 500


def test_a_piece_is_drawn_anew_erased_and_undone(visit: Any, url: str, photo: bytes) -> None:
    page = visit()
    send(page, photo)
    page.wait_for_selector(SHOWN, timeout=WAIT_MS)

    def edits() -> list[dict[str, Any]]:
        return list(httpx.get(f"{url}/v1/jobs/{job_of(page)}/result").json()["record"]["edits"])

    page.click("#panel-page [data-mode=redraw]")
    box = page.locator("#panel-page canvas").bounding_box()
    with page.expect_response("**/edits"):
        drag(page, box, (0.56, 0.42), (0.58, 0.38), (0.60, 0.42))
    (edit,) = edits()
    assert (edit["kind"], edit["lead"]) == ("redraw", "V1") and len(edit["points"]) == 3
    assert painted(page, "#panel-page canvas", "hand") > 20
    page.click("#panel-page [data-mode=erase]")
    with page.expect_response("**/edits"):
        drag(page, box, (0.1, 0.75), (0.15, 0.75))
    assert [(edit["kind"], edit["lead"]) for edit in edits()] == [("redraw", "V1"), ("erase", "III")]
    for left in (1, 0):
        with page.expect_response("**/edits"):
            page.click("#panel-page >> text=/^Undo/")
        assert len(edits()) == left
    assert page.is_disabled("#panel-page >> text=/^Undo/")


def test_a_keyboard_alone_suffices(visit: Any, photo: bytes, tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_bytes(photo)
    page = visit()

    def tab_to(selector: str) -> None:
        for _ in range(80):
            if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"{selector} cannot be reached by Tab")

    # Listening from the start: a dialog that opens before Chromium is told so would be its own.
    page.on("filechooser", lambda chooser: chooser.set_files(tmp_path / "page.jpg"))
    tab_to("#choose")
    page.keyboard.press("Enter")
    page.wait_for_selector(SHOWN, timeout=WAIT_MS)
    tab_to("#tab-page")
    tab_to("[data-mode=caliper]")
    page.keyboard.press("Enter")
    tab_to("canvas")
    page.keyboard.press("Enter")
    for _ in range(2):
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Enter")
    assert page.inner_text("#panel-page .readout").startswith("400 ms, 0.00 mV")
    page.focus("#tab-page")
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.id") == "tab-files"
    tab_to("#downloads button:not(.primary)")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "page.csv"


DROP = """async ([encoded, names]) => {
  const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
  const carrier = new DataTransfer();
  for (const name of names) {
    const bad = name.startsWith("letter");
    carrier.items.add(new File([bad ? "Dear colleague" : bytes], name, { type: "image/jpeg" }));
  }
  document.dispatchEvent(new DragEvent("drop", { dataTransfer: carrier, bubbles: true, cancelable: true }));
}"""


def test_twenty_pages_dropped_at_once_all_finish_and_the_bad_one_is_named(visit: Any, photo: bytes) -> None:
    page = visit()
    names = [f"page-{number:02d}.jpg" for number in range(19)]
    names.insert(7, "letter.jpg")
    page.evaluate(DROP, [base64.b64encode(photo).decode(), names])
    until(page, "document.querySelectorAll('#jobs li.digitized, #jobs li.refused, #jobs li.failed').length == 20")
    assert page.locator("#jobs li.digitized").count() == 19 and page.locator("#jobs li.failed").count() == 0
    bad = page.locator("#jobs li.refused")
    assert bad.locator(".name").inner_text() == "letter" and "none of PNG" in bad.locator(".state").inner_text()
    assert [text.split("\n")[0] for text in page.locator("#jobs .name").all_inner_texts()] == [
        name.removesuffix(".jpg") for name in names
    ]
    bad.locator(".job").click()
    page.wait_for_selector("#refusal:not([hidden])")
    assert "Send a PNG, JPEG" in page.inner_text("#refusal") and "not_an_image" in page.inner_text("#refusal")
    page.reload()  # results are held by the server, so the list comes back
    until(page, "document.querySelectorAll('#jobs li.digitized').length == 19")


def test_a_page_that_was_refused_is_placed_by_hand_and_read(
    visit: Any, url: str, nameless: bytes, corners: list[list[float]], truth: dict[str, np.ndarray]
) -> None:
    page = visit()
    send(page, nameless)
    page.wait_for_selector("#refusal:not([hidden])", timeout=WAIT_MS)
    assert "place the sheet by hand" in page.inner_text("#refusal")
    before = job_of(page)
    result = httpx.get(f"{url}/v1/jobs/{before}/result").json()
    size = np.array([result["geometry"]["width"], result["geometry"]["height"]])
    page.click("#tab-place")
    page.evaluate("document.querySelector('#place-canvas').scrollIntoView({block: 'end'})")
    page.wait_for_timeout(300)
    box = page.locator("#place-canvas").bounding_box()
    scale = min(np.array([box["width"], box["height"]]) / (size + 0.06 * size.max()))  # with its margin
    offset = (np.array([box["width"], box["height"]]) - scale * size) / 2 + [box["x"], box["y"]]
    drags = 0
    for name, corner in zip(("Upper left", "Upper right", "Lower right", "Lower left"), corners, strict=True):
        mark = page.locator(f"[aria-label='{name} corner']").bounding_box()
        page.mouse.move(mark["x"] + mark["width"] / 2, mark["y"] + mark["height"] / 2)
        page.mouse.down()
        page.mouse.move(*(offset + scale * np.array(corner)).tolist(), steps=3)
        page.mouse.up()
        drags += 1
    assert drags < 6
    page.click("#place-run")
    page.wait_for_selector("#measures:not([hidden])", timeout=WAIT_MS)
    again = httpx.get(f"{url}/v1/jobs/{job_of(page)}/result").json()
    assert job_of(page) != before and [edit["kind"] for edit in again["record"]["edits"]] == ["corners"]
    placed = np.array(again["record"]["edits"][0]["corners"])
    assert np.linalg.norm(placed - corners, axis=1).max() < 4 / scale
    from cardioscan.page.leads import LEADS

    signals = np.full((12, 5000), np.nan)
    for row, lead in enumerate(LEADS):
        part = again["leads"][lead]
        signals[row, part["first"] : part["first"] + len(part["mv"])] = np.array(part["mv"], np.float64)
    assert compare(signals, truth["signals"]).snr_db > 5  # and nothing before


def test_the_token_is_asked_for(visit: Any, serve: Any) -> None:
    with serve(token="geheim") as url:
        page = visit(address=url, expected="401")  # which the browser itself notes
        page.wait_for_selector("dialog[open]")
        assert axe_findings(page) == []
        page.keyboard.type("geheim")
        page.keyboard.press("Enter")
        until(page, "document.querySelector('#limits').textContent.includes('MiB')")
        send(page, json.dumps("no picture").encode())
        page.wait_for_selector("#refusal:not([hidden])")
