"""Mutants of the Lua scripts and of the blocks that they share: each is a file with one small fault.

A fault in a block is a fault in every script that includes it, so it is made once, under the block's own name.

mutmut does not read Lua. This does not parse it either: it finds tokens, and leaves it to the server to say which
mutants are programs. Comments, the first line and the texts that Redis itself reads are left alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.mutants import judging
from waitroom.store import scripts

_TOKEN: Final = re.compile(
    r"(?P<comment>--[^\n]*)|(?P<text>'[^']*')|(?P<word>[A-Za-z_][\w.]*)|(?P<number>\d+(?:\.\d+)?)"
    r"|(?P<sign>[<>=~]=|\.\.+|[-+*/<>=#(){}\[\],^])|(?P<line>\n)|(?P<blank>[ \t]+)"
)

_COMMENT: Final = re.compile(r"--[^\n]*")

#: What stands for a token, one mutant each. A minus or plus only between two values.
_INSTEAD: Final = {
    "<": ("<=", ">"),
    ">": (">=", "<"),
    "<=": ("<",),
    ">=": (">",),
    "==": ("~=",),
    "~=": ("==",),
    "+": ("-",),
    "-": ("+",),
    "*": ("/",),
    "/": ("*",),
    "and": ("or",),
    "or": ("and",),
    "not": ("",),
    "true": ("false",),
    "false": ("true",),
    "math.min": ("math.max",),
    "math.max": ("math.min",),
    "math.floor": ("math.ceil",),
    "math.ceil": ("math.floor",),
}

#: Words of Redis's own language, and what a script says nothing by.
_REDIS: Final = re.compile(r"'(?:[A-Z]+|[-+]inf|\(|%\.\df|)'")

#: Sorted sets: each is put in the place of the one before it.
_SETS: Final = ("wait_key", "seen_key", "active_key", "offered_key", "used_key", "revoked_key")

#: A statement on a line of its own.
_STATEMENT: Final = re.compile(
    r"[\w.]+\(.*\)|return .+"
    r"|(?!local |function |for |if |return )[\w.\[\], #+*]+ = .+"
)

_CONDITION: Final = re.compile(r"\b(?:if|elseif) (.+?) then\b|\bwhile (.+?) do\b")


class Mutant(NamedTuple):
    """A file with a fault. `key` tells it from all others of all files."""

    key: str
    text: str


def files() -> list[str]:
    """Every script, and every shared block as `shared/NAME`."""
    blocks = [path.stem for path in Path(str(scripts.folder() / "shared")).glob("*.lua")]
    return [*scripts.NAMES, *(f"shared/{block}" for block in sorted(blocks))]


def scripts_with(file: str) -> list[str]:
    """The scripts that a file is part of: itself, or all that include the block."""
    block = file.removeprefix("shared/")
    if block == file:
        return [file]
    return [name for name in scripts.NAMES if block in scripts.includes(scripts.source(name))]


def whole(file: str, text: str) -> str:
    """What Redis would get of the first script that the file is part of, if the file had that text."""
    name = scripts_with(file)[0]
    if name != file:
        include = f"-- include: {file.removeprefix('shared/')}\n"
        text = scripts.source(name).replace(include, text)
    return scripts.expanded(name, text)


def of(name: str, text: str) -> Iterator[Mutant]:
    """Every mutant of a file that has another text than the file."""
    seen: Counter[str] = Counter()
    for line_at, faulty_line in _faults(text):
        lines = text.split("\n")
        lines[line_at] = faulty_line
        key = judging.key(name, _COMMENT.sub("", text), _COMMENT.sub("", "\n".join(lines)))
        seen[key] += 1
        again = f" ({seen[key]})" if seen[key] > 1 else ""
        yield Mutant(key + again, "\n".join(lines))


def _faults(text: str) -> Iterator[tuple[int, str]]:
    """The number of a line and what stands there instead."""
    lines = text.split("\n")
    for at, line in enumerate(lines):
        if at == 0 or line.lstrip().startswith("--") or "unpack(KEYS)" in line:
            continue
        yield from ((at, faulty) for faulty in _of_line(line))


def _of_line(line: str) -> Iterator[str]:
    statement = line.strip()
    if _STATEMENT.fullmatch(statement):
        yield ""
    for found in _CONDITION.finditer(line):
        group = 1 if found[1] else 2
        start, end = found.span(group)
        yield f"{line[:start]}not ({line[start:end]}){line[end:]}"
    tokens = list(_TOKEN.finditer(line))
    for number, token in enumerate(tokens):
        for instead in _instead(tokens, number):
            yield line[: token.start()] + instead + line[token.end() :]


def _instead(tokens: list[re.Match[str]], number: int) -> tuple[str, ...]:
    token = tokens[number]
    kind, text = token.lastgroup, token[0]
    if kind == "comment":
        return ()
    if kind == "number":
        # One more than a small number, twice a large one: a µs more makes no difference.
        return (str(int(text) + 1) if text.isdigit() and int(text) < 100 else f"{float(text) * 2:.9g}",)
    if kind == "text":
        return () if _REDIS.fullmatch(text) else (f"'{text[1:-1]}x'",)
    if text in _SETS:
        return (_SETS[_SETS.index(text) - 1],)
    if text in "+-" and not _is_between(tokens, number):
        return ()
    return _INSTEAD.get(text, ())


def _is_between(tokens: list[re.Match[str]], number: int) -> bool:
    """Whether a value stands before the sign."""
    before = [token for token in tokens[:number] if token.lastgroup != "blank"]
    return bool(before) and (before[-1].lastgroup in ("word", "number") or before[-1][0] in ")]")
