"""What scripts share stands once, in `lua/shared`, and is in each of them when it is loaded."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from waitroom.store import scripts

FOLDER: Final = Path(str(scripts.folder()))
PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "scripts.md"
BLOCKS: Final = sorted(path.stem for path in (FOLDER / "shared").iterdir())

#: Lines of code in a row that stand in two places for one reason: what both mean by them.
ALIKE: Final = 4

every_script = pytest.mark.parametrize("name", scripts.NAMES)
every_block = pytest.mark.parametrize("block", BLOCKS)


def including(block: str) -> list[str]:
    """The scripts that include a block."""
    return [name for name in scripts.NAMES if block in scripts.includes(scripts.source(name))]


def code_of(text: str) -> list[str]:
    """The lines of code without comments."""
    stripped = [line.partition(" -- ")[0].strip() for line in text.splitlines()]
    return [line for line in stripped if line and not line.startswith(("--", "#!"))]


def names_under(block: str, title: str) -> list[str]:
    """What the header of a block lists under Needs or Gives."""
    lines = re.findall(rf"^-- {title}: (.+)$", scripts.source(f"shared/{block}"), re.MULTILINE)
    assert lines, f"shared/{block} has no line {title}:"
    return re.findall(r"\w+", re.sub(r"\(.*?\)|^nothing$", "", " ".join(lines)))


def defined_in(code: str) -> set[str]:
    """The names of the functions and variables at the outermost level."""
    functions = re.findall(r"^local function (\w+)", code, re.MULTILINE)
    variables = re.findall(r"^local (?!function )([\w, ]+?)(?: =|$)", code, re.MULTILINE)
    return {*functions, *(name for listed in variables for name in listed.split(", "))}


@every_script
def test_a_script_is_one_text(name: str) -> None:
    """Each include is in it, once and whole; no line that includes is left, and the first line is the script's."""
    file, whole = scripts.source(name), scripts.load(name).text
    assert "-- include" not in whole
    assert whole.splitlines()[0] == file.splitlines()[0]
    assert whole.startswith("#!lua")
    for block in scripts.includes(file):
        text = scripts.source(f"shared/{block}")
        assert whole.count(text) == 1, block
        file = file.replace(f"-- include: {block}\n", text)
    assert whole == file


@every_block
def test_a_block_is_shared(block: str) -> None:
    """Two scripts at least include it; else it is a part of one."""
    assert len(including(block)) > 1


@every_block
def test_what_a_block_gives(block: str) -> None:
    """It begins with what it is for, what it needs and what it gives, and all that it gives is defined in it."""
    lines = scripts.source(f"shared/{block}").splitlines()
    titles = [match[1] for line in lines if (match := re.match(r"-- (\w+):", line))]
    assert list(dict.fromkeys(titles)) == [block, "Needs", "Gives"]
    assert set(names_under(block, "Gives")) <= defined_in("\n".join(lines))


@every_block
def test_what_a_block_needs(block: str) -> None:
    """It uses all that it says to need, and nothing else of the script; whoever includes it has that by then."""
    code = "\n".join(code_of(scripts.source(f"shared/{block}")))
    needed = set(names_under(block, "Needs"))
    words = set(re.findall(r"(?<![\w.'])[a-z]\w*", re.sub(r"'[^']*'", "''", code)))
    assert needed <= words
    for name in including(block):
        before, _, after = scripts.source(name).partition(f"-- include: {block}\n")
        elsewhere = scripts.expanded(name, before), scripts.expanded(name, after)
        assert needed <= defined_in(elsewhere[0]), name
        assert (words & defined_in("\n".join(elsewhere))) - defined_in(code) - local_to(code) <= needed, name


def local_to(code: str) -> set[str]:
    """Names that are defined further in: in functions, as their arguments, or by loops."""
    inner = re.findall(r"^\s+local ([\w, ]+?)(?: =|$)", code, re.MULTILINE)
    inner += re.findall(r"function(?: \w+)?\(([\w, ]*)\)", code) + re.findall(r"for ([\w, ]+?) (?:in|=)", code)
    return {name for listed in inner for name in listed.split(", ")}


def test_every_block_is_in_the_page() -> None:
    """The table of docs/reference/scripts.md has each block once."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## Shared blocks\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == BLOCKS


def test_no_lines_stand_twice() -> None:
    """Four lines of code in a row, whatever they mean, are in one place only."""
    places = defaultdict[tuple[str, ...], set[str]](set)
    for path in FOLDER.rglob("*.lua"):
        for number, lines in windows(path.read_text(encoding="utf-8")):
            places[lines].add(f"{path.relative_to(FOLDER)}:{number}")
    assert {lines: found for lines, found in places.items() if len(found) > 1} == {}


def windows(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Every so many lines of code in a row, with the number of the first."""
    code = code_of(text)
    for at in range(len(code) - ALIKE + 1):
        yield at, tuple(code[at : at + ALIKE])


@pytest.mark.parametrize(
    ("includes", "fault"),
    [
        (["three"], "includes 'three': there is no lua/shared/three.lua"),
        ([""], "includes '': there is no lua/shared/.lua"),
        (["clock "], "includes 'clock ': there is no"),
        (["clock", "marks", "clock"], "includes 'clock' 2 times"),
    ],
)
def test_what_cannot_be_included(includes: list[str], fault: str) -> None:
    """The error names the script and the block."""
    text = "".join(f"-- include: {block}\n" for block in includes)
    with pytest.raises(ValueError, match=f"lua/a.lua {re.escape(fault)}"):
        scripts.expanded("a", f"#!lua\n{text}return 1\n")
