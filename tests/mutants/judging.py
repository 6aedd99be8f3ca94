"""Which mutants may survive: those that `reasons.toml` names with a reason, and no other."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Final

_REASONS: Final = Path(__file__).parent / "reasons.toml"


def excused(kind: str) -> dict[str, str]:
    """The reason of every mutant of that kind, "lua" or "python", that no test can notice, by the mutant's key."""
    listed = tomllib.loads(_REASONS.read_text(encoding="utf-8"))["reason"]
    return {key: reason["why"] for reason in listed for key in reason.get(kind, ())}


def judge(kind: str, *, made: Collection[str], survivors: Collection[str]) -> list[str]:
    """What is wrong, one line each: a survivor without a reason, or a reason for a mutant that there is not."""
    reasons, asked = excused(kind), {_family(key) for key in made}
    return [
        *(f"survived: {key}" for key in survivors if key not in reasons),
        *(f"no such mutant any more: {key}" for key in reasons if _family(key) in asked and key not in made),
    ]


def _family(key: str) -> str:
    """What a run was about: the script, or the module."""
    return key.partition(":")[0]
