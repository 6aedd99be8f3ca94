"""The documents are plain: short, and about visitors, instances and operators."""

from __future__ import annotations

import re
from typing import Final

from tests.docs.pages import PAGES, prose, words

#: Most words in the README, semicolons in 1,000 words, and "who", "nobody" and their like in 10,000.
README_WORDS: Final = 900
SEMICOLONS: Final = 2
VAGUE: Final = 5

_VAGUE: Final = re.compile(r"\b(?:who|whom|whose|whoever|nobody|somebody|whatever)\b", re.IGNORECASE)


def test_the_readme_is_read_in_minutes() -> None:
    """It says what the project is, and leads on."""
    assert len(words(prose("README.md"))) <= README_WORDS


def test_the_prose_is_plain() -> None:
    """Over all pages; a failure names the worst of them."""
    texts = {page: prose(page) for page in PAGES}
    total = sum(len(words(text)) for text in texts.values())
    semicolons = {page: text.count(";") for page, text in texts.items()}
    vague = {page: len(_VAGUE.findall(text)) for page, text in texts.items()}
    assert sum(semicolons.values()) * 1_000 <= SEMICOLONS * total, _worst(semicolons)
    assert sum(vague.values()) * 10_000 <= VAGUE * total, _worst(vague)


def _worst(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: -item[1])[:8]
