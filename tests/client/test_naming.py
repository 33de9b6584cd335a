"""Names of results: no two pages of a batch share one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioscan_client.naming import MAX_STEM_BYTES, page_name, printable, safe_stem, unique_stems


@pytest.mark.parametrize(
    ("files", "stems"),
    [
        ([], []),
        (["page.jpg"], ["page"]),
        (["a/page.jpg", "b/page.jpg"], ["page", "page-2"]),
        (["page.jpg", "page.pdf", "x/page.png"], ["page", "page-2", "page-3"]),
        # The natural name of another input is never given away, whatever the order.
        (["a/page.jpg", "b/page.jpg", "page-2.jpg"], ["page", "page-3", "page-2"]),
        (["Page.jpg", "page.jpg"], ["Page", "page-2"]),
        # Pages photographed one by one: scan.jpg is missing here or no document, so nothing can collide.
        (["scan.jpg", "scan-p2.jpg"], ["scan", "scan-p2"]),
    ],
)
def test_unique_stems(files: list[str], stems: list[str]) -> None:
    assert unique_stems([Path(file) for file in files]) == stems


@pytest.mark.parametrize("head", [b"%PDF-1.7\n", b"II*\0", b"MM\0*"])
def test_a_name_that_a_document_needs_for_its_pages_is_not_given_away(tmp_path: Path, head: bytes) -> None:
    document, page = tmp_path / "scan.jpg", tmp_path / "scan-p2.jpg"
    document.write_bytes(head)
    page.write_bytes(b"\xff\xd8\xff")
    assert unique_stems([document, page]) == ["scan", "scan-p2-2"]


@settings(deadline=None)
@given(st.lists(st.text(min_size=1, max_size=12).map(Path)))
def test_stems_are_unique_valid_and_short(files: list[Path]) -> None:
    stems = unique_stems(files)
    assert len(stems) == len(files)
    assert len({stem.casefold() for stem in stems}) == len(stems)
    for stem in stems:
        assert stem.strip(" .") and not set(stem) & {"/", "\\", "\0", "\n"}
        stem.encode()


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("page.tar.gz", "page.tar"),
        (".jpg", ".jpg"),
        ("...jpg", "page"),
        (" .jpg", "page"),
        ("a\\b.jpg", "a_b"),
        ("line\nbreak.png", "line_break"),
        ("\udcff.png", "?"),
        ("é" * 120 + ".png", "é" * (MAX_STEM_BYTES // 2)),
    ],
)
def test_safe_stem(name: str, stem: str) -> None:
    assert safe_stem(Path(name)) == stem


@pytest.mark.parametrize(
    ("page", "n_pages", "name"), [(0, 1, "scan"), (0, 3, "scan-p1"), (2, 3, "scan-p3"), (11, 12, "scan-p12")]
)
def test_page_name(page: int, n_pages: int, name: str) -> None:
    assert page_name("scan", page, n_pages) == name


def test_printable_keeps_what_is_valid() -> None:
    assert printable(Path("ä/β.png")) == "ä/β.png"
    assert printable("a\udc80b") == "a?b"
