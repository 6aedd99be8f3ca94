"""The Lua scripts as texts, with the shared blocks that they include and the keys that their headers declare.

They ship as `waitroom/lua` in the wheel. An editable install reads the `lua/` folder beside the package.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

#: Oldest Redis that understands the `#!lua` flags at the top of each: (major, minor). Every Valkey does.
OLDEST_SERVER: Final = (7, 0)

NAMES: Final = (
    *("enter", "pass_through", "enter_guarded", "status", "leave", "extend", "restore", "finish"),
    *("admit", "expire", "configure", "lease", "read", "look"),
)

_INCLUDE: Final = re.compile(r"^-- include: (.*)$", re.MULTILINE)


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
    """The script of that name, one of NAMES, with all that it includes."""
    text = expanded(name, source(name))
    keys = re.search(r"^-- KEYS: (.+)$", text, re.MULTILINE)
    if keys is None:
        raise ValueError(f"lua/{name}.lua declares no KEYS")
    return ScriptSource(name, text, tuple(keys[1].split()))


def source(name: str) -> str:
    """The file `lua/NAME.lua` as it is. That of a shared block is named shared/NAME."""
    return (folder() / f"{name}.lua").read_text(encoding="utf-8")


def includes(text: str) -> list[str]:
    """The names of the shared blocks that a script's file includes, in order."""
    return _INCLUDE.findall(text)


def expanded(name: str, text: str) -> str:
    """The text of that script's file with the shared block in place of each line that includes one.

    Raises ValueError for a block that there is not, or that is included twice. Blocks include none.
    """
    for block, times in Counter(includes(text)).items():
        if times > 1:
            raise ValueError(f"lua/{name}.lua includes {block!r} {times} times")
        if not (folder() / "shared" / f"{block}.lua").is_file():
            raise ValueError(f"lua/{name}.lua includes {block!r}: there is no lua/shared/{block}.lua")
    return _INCLUDE.sub(lambda line: source(f"shared/{line[1]}").rstrip("\n"), text)
