"""How rooms and findings look on a terminal, and what is said beside them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from waitroom.checks.finding import Finding
from waitroom.rooms.room import Room

#: Characters of a table at most where it is not printed on a terminal.
_WIDEST: Final = 100_000

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "unknown": "yellow"}


def warn(lines: str) -> None:
    """Say something on stderr, beside the command's own output."""
    for line in lines.splitlines():
        sys.stderr.write(f"waitroom: {line}\n")


def print_rooms(rooms: Iterable[Room], *, as_json: bool = False) -> None:
    """One row for each room, or a list of all as JSON."""
    if as_json:
        print_json([_document(room) for room in rooms])
        return
    table = Table("room", "state", "waiting", "inside", "capacity", "per second", "message")
    for room in rooms:
        table.add_row(*map(Text, _row(room)))
    _print_table(table)


def print_room(room: Room, *, as_json: bool = False) -> None:
    """A room's settings and counts."""
    if as_json:
        print_json(_document(room))
        return
    # Beside the table, which would break a long name to its own width.
    Console().print(f"{room.name}, version {room.reading.version}", markup=False, highlight=False, soft_wrap=True)
    table = Table("setting", "value")
    for name, value in room.settings.model_dump().items():
        table.add_row(name, Text(str(value)))
    _print_table(table)
    counts = room.reading.counts
    Console().print(
        f"waiting {room.reading.waiting:,}, inside {room.reading.occupancy:,}; entered {counts.entered:,}, "
        f"admitted {counts.admitted:,}, left {counts.left:,}, finished {counts.finished:,}, "
        f"no-show {counts.no_show:,}, abandoned {counts.abandoned:,}, restored {counts.restored:,}",
        soft_wrap=True,
    )


def print_json(document: object) -> None:
    """A document for a program. All of it is ASCII, so that no locale stands in its way."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def _document(room: Room) -> dict[str, object]:
    reading = room.reading
    return {
        "name": room.name,
        "version": reading.version,
        "waiting": reading.waiting,
        "inside": reading.occupancy,
        "settings": room.settings.model_dump(),
        "counts": asdict(reading.counts),
    }


def _print_table(table: Table) -> None:
    """On a terminal as wide as that is, elsewhere with whole cells: a program reads them."""
    console = Console()
    if not console.is_terminal:
        for column in table.columns:
            column.no_wrap = True
        wide = console.measure(table, options=Console(width=_WIDEST, height=25).options)
        console = Console(width=max(wide.maximum, 1), height=25)
    console.print(table)


def print_findings(findings: Iterable[Finding]) -> None:
    """What was found of a Redis or a site, each with why it is so and what to do."""
    console = Console()
    listed = list(findings)
    width = max((len(finding.verdict) for finding in listed), default=4)
    for finding in listed:
        _print_verdict(console, finding.verdict, width=max(width, 4))
        console.print(f"{finding.name}: ", end="")
        console.print(_plain(finding.detail), markup=False, highlight=False, soft_wrap=True)
        for mark, line in (("because", finding.cause), ("→", finding.remedy)):
            if line:
                console.print(
                    f"{' ' * (max(width, 4) + 1)}{mark} {_plain(line)}", markup=False, highlight=False, soft_wrap=True
                )


def _plain(text: str) -> str:
    """Without what a terminal would obey: a site's own words are in it."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _print_verdict(console: Console, verdict: str, *, width: int) -> None:
    console.print(f"[{_COLOURS[verdict]}]{verdict:<{width}}[/] ", end="")


def _row(room: Room) -> tuple[str, ...]:
    settings, reading = room.settings, room.reading
    capacity = str(settings.capacity) if settings.capacity else "unlimited"
    rate = f"{settings.admit_per_second:g}" if settings.admit_per_second else "unlimited"
    numbers = (f"{reading.waiting:,}", f"{reading.occupancy:,}")
    return (room.name, settings.state, *numbers, capacity, rate, settings.message)
