"""PDF pages are rendered at 200 dpi; documents that cannot be are refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cardioscan.errors import MissingDependencyError, RefusalCode
from cardioscan.imaging.images import count_pages, expand_inputs, load_image
from tests.cardioscan.imaging.encoded_pictures import encrypted_pdf_bytes, pdf_bytes, refused


def test_pdf_pages_are_rendered_at_200_dpi() -> None:
    pytest.importorskip("pypdfium2")
    data = pdf_bytes((792, 612), (612, 792))
    assert count_pages(data) == 2
    first, second = load_image(data), load_image(data, page=1)
    assert first.pixels.shape == (1700, 2200, 3)
    assert second.pixels.shape == (2200, 1700, 3)
    assert (first.format, first.dpi, second.page, second.n_pages) == ("PDF", 200.0, 1, 2)
    assert first.pixels[-100, 100].tolist() == [255, 0, 0]
    assert first.pixels[100, 100].tolist() == [255, 255, 255]
    red = (first.pixels == (255, 0, 0)).all(axis=-1)
    assert red.sum() == pytest.approx(200 * 200, rel=0.02)
    assert refused(data, page=2).code is RefusalCode.PAGE_NOT_FOUND


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (encrypted_pdf_bytes(), RefusalCode.ENCRYPTED_DOCUMENT),
        (pdf_bytes((14400, 14400)), RefusalCode.IMAGE_TOO_LARGE),
        (pdf_bytes((72, 72)), RefusalCode.IMAGE_TOO_SMALL),
        (pdf_bytes(), RefusalCode.CORRUPT_IMAGE),
        (b"%PDF-1.4\nnothing more", RefusalCode.CORRUPT_IMAGE),
    ],
)
def test_refused_pdfs(data: bytes, code: RefusalCode) -> None:
    pytest.importorskip("pypdfium2")
    assert refused(data).code is code


def test_missing_pdf_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    with pytest.raises(MissingDependencyError, match="pypdfium2"):
        load_image(pdf_bytes((792, 612)))


def test_real_pdf(shared_data: Path) -> None:
    pytest.importorskip("pypdfium2")
    loaded = load_image(expand_inputs([shared_data / "pdf_pages" / "*.pdf"])[0])
    assert loaded.pixels.shape == (1654, 2339, 3)
    assert loaded.pixels.std() > 5
