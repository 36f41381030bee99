"""Every document has one title, and its relative links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tidy.project import ROOT, own_files

FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)")
DOCUMENTS = own_files(".md")


def prose(path: Path) -> str:
    """The text without code, in which `#` and brackets mean other things."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", path.read_text()))


def anchors(path: Path) -> set[str]:
    """The names by which headings are linked to."""
    text = FENCE.sub("", path.read_text())
    titles = [match.group(1) for match in re.finditer(r"^#{1,6} +(.+?) *#*$", text, re.MULTILINE)]
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_document(path: Path) -> None:
    titles = re.findall(r"^# .+$", FENCE.sub("", path.read_text()), re.MULTILINE)
    assert len(titles) == 1, f"a document has one title, this one has {titles}"
    broken = []
    for link in LINK.findall(prose(path)):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        place = (path.parent / target).resolve() if target else path
        if not place.exists() or (anchor and place.suffix == ".md" and anchor not in anchors(place)):
            broken.append(link)
    assert not broken, f"links that lead nowhere: {broken}"


def test_there_is_a_readme() -> None:
    assert ROOT / "README.md" in DOCUMENTS
