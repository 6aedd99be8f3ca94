"""The process table, read from /proc."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("reads /proc", allow_module_level=True)

#: A process: its id and when it began, so that a number used again is not taken for the old process.
Process = tuple[int, str]


def _table() -> dict[Process, int]:
    """The parent's id by process, without those that have ended and only wait to be reaped."""
    table = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rsplit(")", 1)[1].split()
        except OSError:  # ended meanwhile
            continue
        if fields[0] != "Z":
            table[int(stat.parent.name), fields[19]] = int(fields[1])
    return table


def descendants(pid: int) -> set[Process]:
    """Every living process below `pid`."""
    table = _table()
    found: set[Process] = set()
    parents = {pid}
    while parents:
        children = {process for process, parent in table.items() if parent in parents} - found
        found |= children
        parents = {process[0] for process in children}
    return found


def alive(processes: Iterable[Process]) -> set[Process]:
    """Those of the processes that still run."""
    return set(processes) & _table().keys()


def command(process: Process) -> str:
    """The command line of a process, "" if it has ended."""
    try:
        return Path(f"/proc/{process[0]}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
