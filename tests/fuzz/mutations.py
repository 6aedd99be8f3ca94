"""Inputs that are nearly right: a valid one, cut, flipped, doubled, spliced and written in other ways."""

from __future__ import annotations

import base64
import os
import unicodedata
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import quote

from hypothesis import settings
from hypothesis import strategies as st

#: How many times as many inputs as in `make test`: `make fuzz` sets it.
FACTOR: Final = int(os.environ.get("WAITROOM_FUZZ", "1"))

#: Numbers at which something ends: a width, a precision, a length.
NUMBERS: Final = (
    *("-1", "-0", "0", "00", "1e400", "1e-400", "NaN", "Infinity", "-Infinity", "0x10", "1_0", "+1", "1.", ".1"),
    *(str(2**power + more) for power in (31, 32, 53, 63, 64, 1024) for more in (-1, 0, 1)),
    "9" * 5000,
)

#: What means something to one reader and nothing to another.
ODD: Final = (
    *("\0", "\t", "\n", "\r", "\r\n", " ", "\x0b", "\x1c", "\x7f", "\x80", "\x85", "\xa0", "\xad", "\xff"),
    *("\u0130", "\u017f", "\u2028", "\u202e", "\u212a", "\ufeff", "\uff0e", "\uff0f", "\ud7ff", "\U0001d7ce"),
    *("=", "==", "+", "/", "-", "_", ".", "..", ",", ";", ":", '"', "'", "\\", "%", "%00", "%2e", "%0d%0a", "&", "#"),
)

_DIGITS: Final = ("\u0660", "\u0966", "\uff10", "\U0001d7d8")  # zeros of other scripts


def fuzzed(examples: int) -> settings:
    """Settings for a property: so many inputs, more under `make fuzz`, and no time limit for one."""
    return settings(max_examples=examples * FACTOR, deadline=None)


def other_digits(text: str, zero: str) -> str:
    """The text with its digits in another script."""
    return "".join(chr(ord(zero) + ord(c) - ord("0")) if c in "0123456789" else c for c in text)


#: Other spellings of the same text, as some decoder or database would take it for the same.
SPELLINGS: Final[Sequence[Callable[[str], str]]] = (
    str.upper,
    str.lower,
    str.swapcase,
    lambda text: text + "=",
    lambda text: text + "\n",
    lambda text: " " + text,
    lambda text: f'"{text}"',
    lambda text: quote(text, safe=""),
    lambda text: "".join(f"%{ord(c) % 256:02x}" for c in text),
    lambda text: text.replace("-", "+").replace("_", "/"),
    lambda text: text.replace(".", "\uff0e"),
    lambda text: unicodedata.normalize("NFKD", text),
    lambda text: text.encode("utf-16-le").decode("latin-1"),
    lambda text: base64.urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).decode(),
    lambda text: text[::-1],
    *(lambda text, zero=zero: other_digits(text, zero) for zero in _DIGITS),
    lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
)


@st.composite
def mutated(draw: st.DrawFn, valid: Sequence[str]) -> str:
    """One of the valid texts, changed once to four times; rarely it comes back as it was."""
    text = draw(st.sampled_from(valid))
    for _ in range(draw(st.integers(1, 4))):
        text = draw(_CHANGES)(text, draw, valid)
    return text


def _flipped(text: str, draw: st.DrawFn, _valid: Sequence[str]) -> str:
    at = _place(text, draw)
    return text[:at] + "".join(chr(ord(c) ^ (1 << draw(st.integers(0, 7)))) for c in text[at : at + 1]) + text[at + 1 :]


def _cut(text: str, draw: st.DrawFn, _valid: Sequence[str]) -> str:
    first, second = sorted((_place(text, draw), _place(text, draw)))
    return draw(st.sampled_from([text[:first], text[first:], text[:first] + text[second:], text[first:second]]))


def _doubled(text: str, draw: st.DrawFn, _valid: Sequence[str]) -> str:
    first, second = sorted((_place(text, draw), _place(text, draw)))
    return text[:second] + text[first:]


def _spliced(text: str, draw: st.DrawFn, valid: Sequence[str]) -> str:
    other = draw(st.sampled_from(valid))
    return text[: _place(text, draw)] + other[_place(other, draw) :]


def _with_a_stranger(text: str, draw: st.DrawFn, _valid: Sequence[str]) -> str:
    at = _place(text, draw)
    stranger = draw(st.sampled_from([*ODD, *NUMBERS]) | st.text(max_size=3))
    return text[:at] + stranger + text[at + draw(st.integers(0, 1)) :]


def _parts_swapped(text: str, draw: st.DrawFn, valid: Sequence[str]) -> str:
    parts, others = text.split("."), draw(st.sampled_from(valid)).split(".")
    at = draw(st.integers(0, len(parts) - 1))
    parts[at] = draw(st.sampled_from(others))
    return ".".join(parts)


def _respelled(text: str, draw: st.DrawFn, _valid: Sequence[str]) -> str:
    return draw(st.sampled_from(SPELLINGS))(text)


def _place(text: str, draw: st.DrawFn) -> int:
    return draw(st.integers(0, len(text)))


_CHANGES: Final = st.sampled_from([_flipped, _cut, _doubled, _spliced, _with_a_stranger, _parts_swapped, _respelled])
