"""The pages of the documents, and the blocks in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt

ROOT: Final = Path(__file__).parent.parent.parent

#: Every page that readers are meant to follow, by its path in the project.
PAGES: Final = sorted(
    str(path.relative_to(ROOT)) for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")) if path.is_file()
)

#: What the shell calls where no test can: engines, clusters, service managers, packages, editors.
_ELSEWHERE: Final = re.compile(
    r"(?:^|[|&;(`]|\bsudo)\s*(docker|podman|kubectl|helm|systemctl|journalctl|apt-get|apt|dnf|editor|ssh|scp)\b",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file that it is for, if any, and the output that the page shows after it.

    Lines that stay, such as a server in the foreground, have said `until` when the reader may go on.
    """

    page: str
    line: int
    language: str
    title: str
    until: str
    text: str
    shown: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_shell(self) -> bool:
        """Whether a reader pastes it into a shell."""
        return self.language in {"sh", "bash"} and not self.title

    @property
    def runs(self) -> bool:
        """Whether it is for a shell, and everything that it calls is here."""
        return self.is_shell and not _ELSEWHERE.search(self.text)


def blocks(page: str) -> list[Block]:
    """The blocks of a page, in order. A `text` block right after one for the shell is what that one shows."""
    found: list[Block] = []
    tokens = MarkdownIt("commonmark").parse((ROOT / page).read_text(encoding="utf-8"))
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "fence":
            language, *more = [*shlex.split(token.info), ""]
            named = dict(word.split("=", 1) for word in more if "=" in word)
            shown = after.content if after and after.type == "fence" and after.info.strip() == "text" else ""
            titles = named.get("title", ""), named.get("until", "")
            found.append(Block(page, (token.map or [0])[0] + 1, language, *titles, token.content, shown))
    return found


def prose(page: str) -> str:
    """The page without its blocks and without code in its lines."""
    text = (ROOT / page).read_text(encoding="utf-8")
    text = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`\n]*`", "code", text)
    return re.sub(r"\]\([^)]*\)", "]", text)


def words(text: str) -> list[str]:
    """Its words."""
    return re.findall(r"[A-Za-z][A-Za-z'\u2019-]*", text)


def all_blocks() -> Iterator[Block]:
    """Those of every page."""
    for page in PAGES:
        yield from blocks(page)
