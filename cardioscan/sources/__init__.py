"""The source categories: the kinds of capture that pages come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class SourceCategory:
    """One of the 12 categories of the PhysioNet challenge data, by the suffix of its files.

    ``published`` is False for reserved suffixes, of which no file has been published.
    """

    code: str
    description: str
    published: bool = True


CATEGORIES: Final = (
    SourceCategory("0001", "digital original"),
    SourceCategory("0002", "reserved", published=False),
    SourceCategory("0003", "colour scan"),
    SourceCategory("0004", "black-and-white scan"),
    SourceCategory("0005", "phone photograph"),
    SourceCategory("0006", "photograph of a screen"),
    SourceCategory("0007", "reserved", published=False),
    SourceCategory("0008", "reserved", published=False),
    SourceCategory("0009", "photograph of a stained page"),
    SourceCategory("0010", "photograph of a damaged page"),
    SourceCategory("0011", "colour scan of a mouldy page"),
    SourceCategory("0012", "black-and-white scan of a mouldy page"),
)
"""All categories in the order of the source classifier's outputs."""
