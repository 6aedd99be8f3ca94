"""How rooms and findings look on a terminal, and what is said beside them."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from waitroom.checks.finding import Finding
from waitroom.rooms.room import Room

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "unknown": "yellow"}


def warn(lines: str) -> None:
    """Say something on stderr, beside the command's own output."""
    for line in lines.splitlines():
        sys.stderr.write(f"waitroom: {line}\n")


def print_rooms(rooms: Iterable[Room]) -> None:
    """One row for each room."""
    table = Table("room", "state", "waiting", "inside", "capacity", "per second", "message")
    for room in rooms:
        table.add_row(*map(Text, _row(room)))
    Console().print(table)


def print_room(room: Room) -> None:
    """A room's settings and counts."""
    table = Table("setting", "value", title=f"{room.name}, version {room.reading.version}")
    for name, value in room.settings.model_dump().items():
        table.add_row(name, Text(str(value)))
    console = Console()
    console.print(table)
    counts = room.reading.counts
    console.print(
        f"waiting {room.reading.waiting:,}, inside {room.reading.occupancy:,}; entered {counts.entered:,}, "
        f"admitted {counts.admitted:,}, left {counts.left:,}, finished {counts.finished:,}, "
        f"no-show {counts.no_show:,}, abandoned {counts.abandoned:,}, restored {counts.restored:,}"
    )


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
