"""Which mutants may survive: those that `reasons.txt` names with a reason, and no other."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Final

_REASONS: Final = Path(__file__).parent / "reasons.txt"

_TOKEN: Final = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"|[\w.]+|[<>=~!]=|->|\S")

#: Tokens before and behind a fault that tell where it is.
_AROUND: Final = 4


def key(place: str, before: str, after: str) -> str:
    """What a mutant is called: the file or function, and the fault between the tokens beside it.

    It stays the same when lines are wrapped, and when other lines change.
    """
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    start = _alike(old, new)
    end = _alike(old[start:][::-1], new[start:][::-1])
    first, last = len(old) - end, len(new) - end
    fault = f"{{{_shown(old[start:first]) or 'nothing'} -> {_shown(new[start:last]) or 'nothing'}}}"
    left, right = _shown(old[max(start - _AROUND, 0) : start]), _shown(old[first : first + _AROUND])
    return f"{place}: {left} {fault} {right}".rstrip()


def _alike(some: Sequence[str], others: Sequence[str]) -> int:
    """How many of the first tokens are the same."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(some, others, strict=False)))


def _shown(tokens: Sequence[str]) -> str:
    """Tokens in one line, with blanks where people read them more easily, however they are spread over lines."""
    return re.sub(r"(?<=[\[(]) | (?=[\]),\[(:])", "", " ".join(tokens))


def excused() -> dict[str, str]:
    """The reason of every mutant that no test can notice, by the mutant's key."""
    return dict(_read(_REASONS.read_text(encoding="utf-8")))


def _read(text: str) -> Iterator[tuple[str, str]]:
    """A line is a reason; the lines below it that are indented are its mutants."""
    reason = ""
    for line in text.splitlines():
        if line.startswith("  "):
            yield line.strip(), reason
        else:
            reason = line


def judge(*, made: Collection[str], survivors: Collection[str]) -> list[str]:
    """What is wrong, one line each: a survivor without a reason, or a reason for a mutant that there is not."""
    reasons, asked = excused(), {_family(name) for name in made}
    return [
        *(f"survived: {name}" for name in survivors if name not in reasons),
        *(f"no such mutant any more: {name}" for name in reasons if _family(name) in asked and name not in made),
    ]


def _family(name: str) -> str:
    """What a run was about: the script, or the function."""
    return name.partition(":")[0]
