"""What a crowd is judged by: the settings of the room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

#: Seconds of admissions that the room may make up for at once, beside the first (docs/reference/scripts.md, Decisions).
LATENESS_SECONDS: Final = 0.2

#: What a time that is told in milliseconds may hide, in seconds.
MILLISECOND: Final = 0.001


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The settings of the room that bound what visitors may see; 0 = unlimited, as in the room's own settings."""

    capacity: int = 0
    admit_per_second: float = 0.0
    session_seconds: float = 300.0
    claim_seconds: float = 60.0
    abandon_seconds: float = 120.0
    sliding: bool = False

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Those of a room with these settings."""
        return cls(**{name: settings[name] for name in cls.__dataclass_fields__ if name in settings})

    @property
    def returns_after_seconds(self) -> float:
        """Silence after which a visitor may have lost the place, and get it back: a return."""
        return min(self.abandon_seconds, self.claim_seconds)
