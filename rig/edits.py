"""Shipped files as an operator edits them. What an edit changes must be there."""

from __future__ import annotations

from collections.abc import Callable, Mapping

Edit = Callable[[str], str]


def exchanged(text: str, exchange: Mapping[str, str]) -> str:
    """The text with every key of `exchange` replaced; raises ValueError for one that it does not have."""
    for old, new in exchange.items():
        if old not in text:
            raise ValueError(f"the file has no {old.strip()!r} any more")
        text = text.replace(old, new)
    return text


def replaced(old: str, new: str) -> Edit:
    """The text with every `old` replaced."""
    return lambda text: exchanged(text, {old: new})
