"""Names of the files that a batch writes: each page its own, whatever the inputs are called."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

MAX_STEM_BYTES: Final = 180
"""Longest stem, UTF-8: with page number and ``.overlay.png`` it stays below the 255 bytes of a file name."""

_PAGE_OF_DOCUMENT = re.compile(r"(.+)-p\d+")
_SNIFFED_BYTES = 1024


def unique_stems(files: Sequence[Path]) -> list[str]:
    """One stem per file, in order, so that no two files of a batch write to the same names.

    A file keeps its own stem unless an earlier one has it (upper and lower case counting as the same, as on many file
    systems); then it gets the first of ``stem-2``, ``stem-3``, ... that no other file has or wants. A stem that looks
    like a page of another file of the batch (``scan-p2`` beside ``scan``) is treated so as well, where that other file
    is a PDF or TIFF and may really have such a page.
    """
    wanted = [safe_stem(file) for file in files]
    documents: dict[str, list[Path]] = {}
    for file, stem in zip(files, wanted, strict=True):
        documents.setdefault(stem.casefold(), []).append(file)
    reserved = set(documents)
    taken: set[str] = set()
    stems: list[str] = []
    for stem in wanted:
        key = stem.casefold()
        match = _PAGE_OF_DOCUMENT.fullmatch(key)
        clash = match is not None and any(may_have_pages(file) for file in documents.get(match[1], ()))
        number = 1
        while key in taken or clash:
            number += 1
            candidate = f"{stem}-{number}"
            clash = candidate.casefold() in reserved
            key = candidate.casefold()
        taken.add(key)
        stems.append(stem if number == 1 else f"{stem}-{number}")
    return stems


def page_name(stem: str, page: int, n_pages: int) -> str:
    """Name of the files of one page: the stem alone for the only page, else with the page number from 1."""
    return stem if n_pages == 1 else f"{stem}-p{page + 1}"


def safe_stem(file: Path) -> str:
    """The stem of a file name as valid UTF-8 without separators, shortened to ``MAX_STEM_BYTES``; never empty."""
    stem = re.sub(r"[/\\\x00-\x1f\x7f]", "_", printable(file.stem))
    stem = stem.encode()[:MAX_STEM_BYTES].decode(errors="ignore")
    return stem if stem.strip(" .") else "page"


def printable(text: str | os.PathLike[str]) -> str:
    """A path as valid UTF-8: bytes that the file system could not decode become question marks."""
    return os.fspath(text).encode("utf-8", "replace").decode()


def may_have_pages(file: Path) -> bool:
    """Whether a file begins as a PDF or TIFF does; False where it cannot be read."""
    try:
        with file.open("rb") as stream:
            head = stream.read(_SNIFFED_BYTES)
    except (OSError, ValueError):
        return False
    return b"%PDF-" in head or head.startswith((b"II", b"MM"))
