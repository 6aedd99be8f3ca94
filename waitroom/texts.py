"""How a text that an operator gives is cleaned: the one rule for settings, files of secrets and options.

Editors, shells and env files add what is not seen: a line end, a blank, a byte order mark, quotes. At the ends it is
taken off. Inside it is refused, for there it may be a mistake that changes what the text means.
"""

from __future__ import annotations

import unicodedata
from typing import Final

#: Control characters, invisible ones with the direction overrides, halves of a character, and the Unicode line ends.
_UNSEEN: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")

#: Byte order mark, zero-width space and word joiner: what copying from a page or an editor leaves at the ends.
_ZERO_WIDTH: Final = "\ufeff\u200b\u2060"

_QUOTES: Final = "\"'"


def stripped(text: str) -> str:
    """The text without blanks, line ends and invisible characters at its ends."""
    start, end = 0, len(text)
    while start < end and _is_blank(text[start]):
        start += 1
    while start < end and _is_blank(text[end - 1]):
        end -= 1
    return text[start:end]


def cleaned(text: str) -> str:
    """The text, stripped. Raises ValueError for a line end or an invisible character inside."""
    text = stripped(text)
    unseen = next((character for character in text if unicodedata.category(character) in _UNSEEN), None)
    if unseen is not None:
        raise ValueError(f"must be one line without control or invisible characters, but holds U+{ord(unseen):04X}")
    return text


def without_odd_blanks(text: str) -> str:
    """The text, if no blank in it is one that only looks like a space. Raises ValueError."""
    odd = next((character for character in text if character.isspace() and character != " "), None)
    if odd is not None:
        raise ValueError(f"must have no blank but the space, but holds U+{ord(odd):04X}")
    return text


def unquoted(text: str) -> str:
    """The text without the quotes around it, which `docker run --env-file` leaves where a shell takes them off."""
    text = stripped(text)
    if len(text) > 1 and text[0] == text[-1] and text[0] in _QUOTES and text[0] not in text[1:-1]:
        return stripped(text[1:-1])
    return text


def line_in(content: bytes) -> str:
    """The one line of a file that holds a secret. Raises ValueError that does not show it."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    text = without_odd_blanks(cleaned(text))
    if not text:
        raise ValueError("empty, but must be one line")
    return text


def _is_blank(character: str) -> bool:
    return character.isspace() or character in _ZERO_WIDTH
