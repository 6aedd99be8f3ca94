"""Every shell block of the project's documents can be pasted into zsh, which tries comments as commands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.docs.pages import ROOT

#: Every document of the project. What lies in hidden folders or was made by a run is none.
DOCUMENTS: Final = sorted(
    path.relative_to(ROOT)
    for top in ROOT.iterdir()
    if not top.name.startswith(".") and top.name not in ("dist", "waitroom-data")
    for path in (top.rglob("*.md") if top.is_dir() else [top])
    if path.suffix == ".md" and "results" not in path.parts
)

#: A comment in a shell block, or a piece in which `#` begins none: something escaped, or quoted.
COMMENT: Final = re.compile(r"(?:^|(?<=\s))(#[^\n]*)|\\.|'[^']*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)


def comments(block: str) -> list[tuple[str, str]]:
    """Each comment of a shell block, with what stands before it on its line."""
    found = [match for match in COMMENT.finditer(block) if match[1]]
    return [(block[block.rfind("\n", 0, match.start()) + 1 : match.start()], match[1]) for match in found]


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_a_shell_block_can_be_pasted_into_zsh(document: Path) -> None:
    """Comments stand on lines of their own, where zsh tries them as a command `#`, which harms nothing.

    So a comment has no character by which a shell would begin anything else, such as a quote or a pipe.
    """
    text = (ROOT / document).read_text(encoding="utf-8")
    for block in re.findall(r"^ *```(?:sh|bash|zsh|shell|console)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        for before, comment in comments(block):
            assert before.strip() == "", f"{before}{comment}"
            assert not set(comment[1:]) & set("'\"`$;&|<>(){}[]*?!~\\#"), comment


def test_comments_are_told_from_what_looks_like_one() -> None:
    """A hash in quotes, in a word or behind a backslash begins none."""
    assert comments("echo '# a' \"# b\" c#d \\# e\n# f\nmake  # g\n") == [("", "# f"), ("make  ", "# g")]
    assert Path("README.md") in DOCUMENTS
    assert Path("deploy/nginx/README.md") in DOCUMENTS
