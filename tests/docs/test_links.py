"""Every link of the documents leads somewhere."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT


@cache
def anchors(path: Path) -> frozenset[str]:
    """The anchors that a page's headings make."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)", text, re.MULTILINE)
    return frozenset(re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Every relative link is a file or folder of the project, and every section that it names is there."""
    here = ROOT / page
    text = re.sub(r"`[^`\n]*`", "", here.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, anchor = link.partition("#")
        if "://" in link or not link.strip("#"):
            continue
        target = (here.parent / name).resolve() if name else here
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_anchors_are_looked_at() -> None:
    """A section that is not there would be found."""
    found = anchors(ROOT / "docs" / "explanation" / "failures.md")
    assert "a-rooms-keys-are-corrupt" in found
    assert "nothing-of-this-name" not in found
