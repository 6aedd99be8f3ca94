"""The words of the waiting page in one language, and how numbers and times are put into them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from importlib import resources
from types import MappingProxyType
from typing import Final

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR


class Wording:
    """Every sentence of the page by name, in that language. A translation is one more file of them."""

    def __init__(self, language: str = "en") -> None:
        file = resources.files("waitroom.web.page") / "templates" / f"strings.{language}.json"
        self.language = language
        self.sentences: Mapping[str, str] = MappingProxyType(json.loads(file.read_bytes()))

    def __getitem__(self, name: str) -> str:
        """The sentence of that name."""
        return self.sentences[name]

    def counted(self, name: str, count: int) -> str:
        """The sentence about so many, in the singular or the plural."""
        return self[f"{name}_{'one' if count == 1 else 'other'}"].format(n=f"{count:,}")

    def eta(self, low_seconds: float | None, high_seconds: float | None) -> str:
        """An expected wait as a range in words, rounded outwards so that it never claims more than is known."""
        if low_seconds is None or high_seconds is None:
            return self["eta_unknown"]
        low, high = max(0.0, min(low_seconds, high_seconds)), max(low_seconds, high_seconds)
        if high <= _MINUTE:
            return self["eta_moment"]
        unit, size = _eta_unit(high)
        least, most = _outwards(low / size, unit, math.floor), _outwards(high / size, unit, math.ceil)
        form = "up_to" if least == 0 else "about" if least == most else "between"
        return self[f"{unit}_{form}"].format(low=f"{least:,}", high=f"{most:,}")

    def duration(self, seconds: float) -> str:
        """A span of time in its two largest units, rounded down: a promise, so never more than is kept."""
        rest = max(1, math.floor(seconds))
        parts = []
        for unit, size in (("day", _DAY), ("hour", _HOUR), ("minute", _MINUTE), ("second", 1)):
            count, rest = divmod(rest, size)
            parts.append(self.counted(unit, count) if count else "")
        first = next(index for index, part in enumerate(parts) if part)
        return " ".join(part for part in parts[first : first + 2] if part)


def _eta_unit(high_seconds: float) -> tuple[str, int]:
    if high_seconds >= 2 * _DAY:
        return "days", _DAY
    if high_seconds >= 3 * _HOUR:
        return "hours", _HOUR
    return "minutes", _MINUTE


def _outwards(amount: float, unit: str, rounding: Callable[[float], int]) -> int:
    step = 5 if unit == "minutes" and amount > 20 else 1
    return rounding(amount / step) * step
