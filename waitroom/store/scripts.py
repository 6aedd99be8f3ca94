"""The Lua scripts as texts, with the keys that their headers declare.

They ship as `waitroom/lua` in the wheel; an editable install reads the `lua/` folder beside the package.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

#: Oldest Redis that understands the `#!lua` flags at the top of each: (major, minor). Every Valkey does.
OLDEST_SERVER: Final = (7, 0)

NAMES: Final = ("enter", "status", "leave", "extend", "admit", "expire", "configure", "lease", "read", "look")


@dataclass(frozen=True, slots=True)
class ScriptSource:
    """One script: its name, its text, and the names of its KEYS in order."""

    name: str
    text: str
    keys: tuple[str, ...]


def folder() -> Traversable:
    """Where the scripts lie."""
    packaged = files("waitroom") / "lua"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "lua"


@cache
def load(name: str) -> ScriptSource:
    """The script of that name, one of NAMES."""
    text = (folder() / f"{name}.lua").read_text(encoding="utf-8")
    keys = re.search(r"^-- KEYS: (.+)$", text, re.MULTILINE)
    if keys is None:
        raise ValueError(f"lua/{name}.lua declares no KEYS")
    return ScriptSource(name, text, tuple(keys[1].split()))
