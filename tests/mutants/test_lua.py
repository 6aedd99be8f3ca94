"""The mutants of a script: each is the script with one fault, and its key says which."""

from __future__ import annotations

import difflib
from typing import Final

import pytest

from tests.mutants import lua
from waitroom.store import scripts

SCRIPT: Final = """#!lua
-- a: comments stay < as they are
local wait_key, seen_key = unpack(KEYS)
if a < 12 and not b then return 'word' end
redis.call('ZADD', seen_key, -1, c)
"""


def test_each_kind_of_fault() -> None:
    """Comparisons, words, numbers, texts, keys, conditions and whole statements."""
    assert [mutant.key.partition(" -> ")[2] for mutant in lua.of("a", SCRIPT)] == [
        "if not (a < 12 and not b) then return 'word' end",
        "if a <= 12 and not b then return 'word' end",
        "if a > 12 and not b then return 'word' end",
        "if a < 13 and not b then return 'word' end",
        "if a < 12 or not b then return 'word' end",
        "if a < 12 and  b then return 'word' end",
        "if a < 12 and not b then return 'wordx' end",
        "nothing",
        "redis.call('ZADD', wait_key, -1, c)",
        "redis.call('ZADD', seen_key, -2, c)",
    ]


@pytest.mark.parametrize("name", scripts.NAMES)
def test_of_every_script(name: str) -> None:
    """Every mutant differs from the script in one line of code, from each other mutant, and has a key of its own."""
    text = scripts.load(name).text
    mutants = list(lua.of(name, text))
    assert len(mutants) > 30
    assert len({mutant.key for mutant in mutants}) == len({mutant.text for mutant in mutants}) == len(mutants)
    for mutant in mutants:
        changed = [line for line in difflib.ndiff(text.split("\n"), mutant.text.split("\n")) if line.startswith("- ")]
        assert len(changed) == 1
        assert not changed[0][2:].lstrip().startswith("--")
