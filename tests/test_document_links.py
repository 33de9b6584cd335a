"""Links, anchors and paths in README and docs lead somewhere, and their tables are whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cardioscan.errors import RefusalCode
from cardioscan.formats import format_names
from cardioscan_client.cli import main
from tests.document_blocks import DOCUMENTS, PLACES_NOT_THERE, ROOT, relative


def slug(heading: str) -> str:
    """The anchor that a heading has on GitHub."""
    plain = re.sub(r"`|\*|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def prose(path: Path) -> str:
    return re.sub(r"(?ms)^```.*?^```$", "", path.read_text("utf-8"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        place = (path.parent / name).resolve() if name else path
        assert place.exists(), f"{target} is not there"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", place.read_text("utf-8"), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, f"{target}: no such heading"


def home(place: str) -> bool:
    """Whether a path of the documents exists: from the top, or within the folder of a package."""
    return any((ROOT / folder / place).exists() for folder in (".", "client", "export", "cardioscan"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_paths_exist(path: Path) -> None:
    tops = {item.name for item in ROOT.iterdir() if not item.name.startswith(".")}
    tops |= {"cardioscan_client", "cardioscan_export", "data", "node_modules"}
    found = re.findall(r"`([\w.-]+(?:/[\w.-]+)+/?)`", prose(path)) + re.findall(r"\bdocs/[\w/-]+\.md\b", prose(path))
    for place in found:
        parts = place.strip("/").split("/")
        # Results of a user, and placeholders such as NETWORK, are no files of ours.
        if parts[0] not in tops - {"out", "runs"} or any(part.isupper() for part in parts) or place in PLACES_NOT_THERE:
            continue
        assert home(place), f"{place} is not there"


# --- what documents must name


def table_codes(document: str, heading: str) -> list[str]:
    text = (ROOT / "docs" / document).read_text("utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE)


def test_the_table_of_reasons_is_whole() -> None:
    assert table_codes("limits.md", "When a page is refused") == [code.value for code in RefusalCode]


def test_every_format_and_every_command_has_its_line() -> None:
    formats = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "formats.md").read_text("utf-8").split("\n## ")[0], re.M)
    assert formats == list(format_names())
    commands = re.findall(
        r"^\| `([\w-]+)` \|", (ROOT / "docs" / "command-line.md").read_text("utf-8").split("\n## ")[0], re.M
    )
    assert sorted(commands) == sorted(main.commands)


def test_readme_leads_to_every_document() -> None:
    linked = set(re.findall(r"\]\((docs/[\w/-]+\.md)\)", (ROOT / "README.md").read_text("utf-8")))
    notes = {relative(path) for path in DOCUMENTS if path.parent.name == "notes" and path.name != "README.md"}
    assert linked >= {relative(path) for path in DOCUMENTS} - notes - {"README.md"}
    listed = re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs" / "notes" / "README.md").read_text("utf-8"))
    assert {f"docs/notes/{name}" for name in listed} == notes
