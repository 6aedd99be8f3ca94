"""The mutants of a script: each is the script with one fault, and its key says which."""

from __future__ import annotations

import difflib
from typing import Final

import pytest

from tests.mutants import judging, lua
from waitroom.store import scripts

SCRIPT: Final = """#!lua
-- a: comments stay < as they are
local wait_key, seen_key = unpack(KEYS)
if a < 12 and not b then return 'word' end
redis.call('ZADD', seen_key, -1, c)
"""


def test_each_kind_of_fault() -> None:
    """Comparisons, words, numbers, texts, keys, conditions and whole statements."""
    lines = SCRIPT.splitlines()
    faulty = [set(mutant.text.splitlines()) - set(lines) for mutant in lua.of("a", SCRIPT)]
    assert [line for each in faulty for line in each] == [
        "if not (a < 12 and not b) then return 'word' end",
        "if a <= 12 and not b then return 'word' end",
        "if a > 12 and not b then return 'word' end",
        "if a < 13 and not b then return 'word' end",
        "if a < 12 or not b then return 'word' end",
        "if a < 12 and  b then return 'word' end",
        "if a < 12 and not b then return 'wordx' end",
        "",
        "redis.call('ZADD', wait_key, -1, c)",
        "redis.call('ZADD', seen_key, -2, c)",
    ]


@pytest.mark.parametrize("name", scripts.NAMES)
def test_of_every_script(name: str) -> None:
    """A script and its blocks have many mutants."""
    files = [name, *(f"shared/{block}" for block in scripts.includes(scripts.source(name)))]
    assert sum(len(list(lua.of(file, scripts.source(file)))) for file in files) > 30


@pytest.mark.parametrize("name", lua.files())
def test_of_every_file(name: str) -> None:
    """Every mutant differs from the file in one line of code, from each other mutant, and has a key of its own.

    A file without a fault is part of the script as it is loaded, and a fault of a block is in it once.
    """
    text = scripts.source(name)
    mutants = list(lua.of(name, text))
    assert mutants
    assert len({mutant.key for mutant in mutants}) == len({mutant.text for mutant in mutants}) == len(mutants)
    loaded = scripts.load(lua.scripts_with(name)[0]).text
    assert lua.whole(name, text) == loaded
    for before, after in [(loaded, lua.whole(name, mutants[0].text)), *((text, mutant.text) for mutant in mutants)]:
        changed = [line for line in difflib.ndiff(before.split("\n"), after.split("\n")) if line.startswith("- ")]
        assert len(changed) == 1
        assert not changed[0][2:].lstrip().startswith("--")


def test_every_reason_is_of_a_mutant() -> None:
    """No reason is left of a line that has changed."""
    made = [mutant.key for name in lua.files() for mutant in lua.of(name, scripts.source(name))]
    assert judging.judge(made=made, survivors=[]) == []


def test_a_wrapped_line_changes_no_key() -> None:
    """A fault is known by the tokens beside it, whatever lines they are on, and whatever the comments say."""
    wrapped = SCRIPT.replace("seen_key, -1", "seen_key,  -- a place\n  -1")
    for text in (SCRIPT, wrapped):
        assert "a: , seen_key, - {1 -> 2} , c)" in {mutant.key for mutant in lua.of("a", text)}
