"""Each script's header, its body, the words of Python and docs/reference/scripts.md say the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from waitroom.model import Outcome, Standing
from waitroom.store import keys, scripts

ROOT: Final = Path(__file__).parent.parent.parent
FOLDER: Final = Path(str(scripts.folder()))
PAGE: Final = (ROOT / "docs" / "reference" / "scripts.md").read_text(encoding="utf-8")

#: What may be done when memory is full: whatever lets the queue drain.
FLAGS: Final = {
    "enter": "#!lua",
    "pass_through": "#!lua",
    "enter_guarded": "#!lua",
    "configure": "#!lua",
    "status": "#!lua flags=allow-oom",
    "leave": "#!lua flags=allow-oom",
    "extend": "#!lua flags=allow-oom",
    "restore": "#!lua flags=allow-oom",
    "finish": "#!lua flags=allow-oom",
    "admit": "#!lua flags=allow-oom",
    "expire": "#!lua flags=allow-oom",
    "lease": "#!lua flags=allow-oom",
    "read": "#!lua flags=no-writes",
    "look": "#!lua flags=no-writes",
}

#: Commands that a script may use: each is bounded by its arguments, or by a hash of a few dozen fields.
COMMANDS: Final = {
    *("TIME", "EXISTS", "HGET", "HMGET", "HGETALL", "HLEN", "HSET", "HINCRBY"),
    *("ZADD", "ZREM", "ZREMRANGEBYRANK", "ZCARD", "ZCOUNT", "ZRANGE", "ZRANK", "ZSCORE", "ZMSCORE"),
}

OUTCOMES: Final = {outcome.value for outcome in Outcome}
STANDINGS: Final = {standing.value for standing in Standing}

every_script = pytest.mark.parametrize("name", scripts.NAMES)


def header(name: str) -> list[str]:
    """The comment lines between the first line and the body."""
    lines = scripts.load(name).text.splitlines()[1:]
    end = next(at for at, line in enumerate(lines) if not line.startswith("--"))
    return lines[:end]


def section(name: str, title: str) -> list[str]:
    """The lines of one part of the header, without comment marks; the first without its title."""
    found: list[str] = []
    for line in header(name):
        if line.startswith(f"-- {title}:"):
            found.append(line.partition(":")[2].strip())
        elif found and line.startswith("--   "):
            found.append(line[2:].strip())
        elif found:
            break
    return found


def body(name: str) -> str:
    """The code without any comment."""
    lines = scripts.load(name).text.splitlines()[1 + len(header(name)) :]
    return "\n".join(line for line in lines if not line.lstrip().startswith("--"))


def literals(code: str) -> set[str]:
    """Every quoted text in the code."""
    return set(re.findall(r"'([^']*)'", code))


def standings_said(name: str) -> set[str]:
    """The words that the body answers for a visitor."""
    return set(re.findall(r"(?:\breturn |\banswer\(i, )'(\w+)'", body(name)))


def standings_declared(name: str) -> set[str]:
    """The words that the header lists for a visitor: first words between bars, up to the remarks in brackets."""
    lines = section(name, "Replies")
    for at, said in enumerate(lines, start=1):
        if "{standing" in said:
            return {part.split()[0] for part in " ".join(lines[at:]).partition("(")[0].split("|")}
    return set()


def table(title: str) -> dict[str, list[str]]:
    """The page's table under a heading: first cell, without its marks, to the other cells."""
    part = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("| `")]
    return {cells[0].strip(" `"): [cell.strip() for cell in cells[1:]] for cells in rows}


def test_folder() -> None:
    """The scripts in the folder are those that Python knows."""
    assert sorted(path.stem for path in FOLDER.glob("*.lua")) == sorted(scripts.NAMES)


@every_script
def test_flags(name: str) -> None:
    """The first line says what the script may do when memory is full."""
    assert scripts.load(name).text.splitlines()[0] == FLAGS[name]


@every_script
def test_header_is_complete(name: str) -> None:
    """Purpose, KEYS, ARGV, Replies and Cost are there, in this order."""
    titles = [match[1] for line in header(name) if (match := re.match(r"-- (\w+):", line))]
    assert titles == [name, "KEYS", "ARGV", "Replies", "Cost"]
    assert all(section(name, title)[0] for title in titles)


@every_script
def test_keys(name: str) -> None:
    """The keys that the header declares are those that the body unpacks, of the names that Python knows."""
    declared = section(name, "KEYS")[0].split()
    (unpacked,) = re.findall(r"^local (.+) = unpack\(KEYS\)$", body(name), re.MULTILINE)
    assert unpacked.split(", ") == [f"{key}_key" for key in declared]
    assert tuple(declared) == scripts.load(name).keys
    assert set(declared) <= set(keys.ROOM_KEYS) or declared == ["lease"]


@every_script
def test_only_declared_keys(name: str) -> None:
    """Every command names a declared key, and none is put together."""
    code = body(name)
    declared = {f"{key}_key" for key in scripts.load(name).keys}
    calls = re.findall(r"redis\.call\('(\w+)'(?:, ([^,()]+))?", code)
    assert len(calls) == code.count("redis.call(")
    used = {key for command, key in calls if command != "TIME"}
    if "key" in used:
        # A function of the script that takes a key: look at what it is called with.
        (function,) = re.findall(r"local function (\w+)\(key, ", code)
        used = used - {"key"} | set(re.findall(rf"(?<!function )\b{function}\((\w+)", code))
    assert used == declared
    assert not re.search(r"_key\s*\.\.|\.\.\s*\w+_key|\bKEYS\[", code)


@every_script
def test_commands(name: str) -> None:
    """Nothing that walks the key space, takes unbounded time or differs from run to run."""
    code = body(name)
    assert set(re.findall(r"redis\.call\('(\w+)'", code)) <= COMMANDS
    assert not re.search(r"redis\.pcall|math\.random|\bos\.|\bloadstring\b|\bdofile\b|\bwhile\b|\brepeat\b", code)


@every_script
def test_time_and_numbers(name: str) -> None:
    """The time is read once, and no number is made text by a function that loses digits."""
    code = body(name)
    assert code.count("redis.call('TIME')") == 1
    assert "tostring(" not in code


@every_script
def test_outcomes(name: str) -> None:
    """The outcome words of the header, of its reply lines and of the body are the same, and Python knows them."""
    first, *lines = section(name, "Replies")
    declared = first.split()
    said = literals(body(name)) & OUTCOMES
    assert set(declared) == said
    first_words = set(re.findall(r"return (?:nil, )?\{'(\w+)'", body(name)))
    assert first_words - set(table("State")) <= OUTCOMES
    explained = [line.split()[0] for line in lines]
    assert [word for word in explained if word in OUTCOMES] == declared


def test_every_outcome_is_used() -> None:
    """Python knows no outcome that no script says."""
    assert {word for name in scripts.NAMES for word in section(name, "Replies")[0].split()} == OUTCOMES


@every_script
def test_standings(name: str) -> None:
    """The standings of the header are those of the body, and Python knows them."""
    assert standings_declared(name) == standings_said(name)
    assert standings_said(name) <= STANDINGS


def test_every_standing_is_used() -> None:
    """Python knows no standing that no script says."""
    assert {word for name in scripts.NAMES for word in standings_said(name)} == STANDINGS


def test_page_scripts() -> None:
    """The page's table has every script with its KEYS, outcome words and flags."""
    rows = table("Scripts")
    assert list(rows) == list(scripts.NAMES)
    for name, cells in rows.items():
        _does, key_names, _arguments, outcomes, flags, _cost = cells
        assert key_names.strip("`").split() == section(name, "KEYS")[0].split()
        assert outcomes.strip("`").split() == section(name, "Replies")[0].split()
        assert flags.strip("`") == (FLAGS[name].partition("flags=")[2] or "none")


def test_page_arguments() -> None:
    """The page's table has every script's ARGV as its header has them."""
    for name, cells in table("Scripts").items():
        declared = re.split(r"\s{3,}", section(name, "ARGV")[0])[0]
        assert cells[2].strip("`") == declared


def test_page_keys() -> None:
    """The page's table has every key, and says of each which scripts write it."""
    rows = table("Keys")
    named = [*(f"waitroom:{{room}}:{name}" for name in keys.ROOM_KEYS), keys.LEASE, keys.ROOMS, keys.signer_key("ID")]
    assert list(rows) == named
    writing = r"redis\.call\('(?:HSET|HINCRBY|ZADD|ZREM|ZREMRANGEBYRANK)', (\w+)_key"
    for key, cells in rows.items():
        short = key.rpartition(":")[2]
        writers = {name for name in scripts.NAMES if short in re.findall(writing, body(name))}
        assert set(re.findall(r"`(\w+)`", cells[3])) & set(scripts.NAMES) == writers, key


def test_page_words() -> None:
    """The page explains every outcome and every standing."""
    assert set(table("Outcomes")) == OUTCOMES
    assert set(table("Standings")) == STANDINGS


def test_page_state() -> None:
    """The page lists every field of `state` that a script writes."""
    written: set[str] = set()
    for name in scripts.NAMES:
        code = body(name)
        for call in re.findall(r"redis\.call\('HSET', state_key, ([^\n]+)", code):
            written |= literals(call)
        written |= set(re.findall(r"redis\.call\('HINCRBY', state_key, '(\w+)'", code))
        written |= set(re.findall(r"\bbump\('(\w+)'", code))
        written |= {word for word in literals(code) if word.startswith("pace_")}
        written |= set(re.findall(r"\braise\('(\w+)'", code))
    assert set(table("State")) == written
