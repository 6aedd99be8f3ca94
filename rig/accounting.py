"""What processes took, by their own account: CPU seconds and memory, children included."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil


class Accountable(Protocol):
    """A server, or anything else that has a name and takes CPU time."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def cpu_seconds(self) -> float:
        """CPU time taken so far."""
        ...


@dataclass
class Bill:
    """CPU seconds by name, filled in when the block that it accounts for ends."""

    seconds: dict[str, float] = field(default_factory=dict)

    def us_per(self, number: float) -> dict[str, float]:
        """CPU µs for each of so many requests, by name."""
        return {name: taken / number * 1_000_000 if number else 0.0 for name, taken in self.seconds.items()}


@contextmanager
def accounted(*those: Accountable) -> Iterator[Bill]:
    """The CPU time that each took during the block."""
    bill = Bill()
    before = {each.name: each.cpu_seconds() for each in those}
    yield bill
    bill.seconds = {each.name: each.cpu_seconds() - before[each.name] for each in those}


def cpu_seconds(pid: int) -> float:
    """CPU time that a process, its living descendants, and those it has waited for took so far."""
    total = 0.0
    for process in family(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def thread_cpu_us(pid: int) -> float:
    """CPU time that a process's first thread took so far, to the nanosecond; Linux only."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1000


def memory_bytes(pid: int) -> dict[str, int]:
    """Memory of a process and its living descendants: `rss`, and `uss`, which no other process shares."""
    found: Mapping[str, Callable[[psutil.Process], int]] = {
        "rss": lambda process: int(process.memory_info().rss),
        "uss": lambda process: int(process.memory_full_info().uss),
    }
    return {kind: sum(read(process) for process in family(pid)) for kind, read in found.items()}


def descriptors(pid: int) -> int:
    """Open files and connections of a process and its living descendants."""
    return sum(process.num_fds() for process in family(pid))


def family(pid: int) -> list[psutil.Process]:
    """A process and its living descendants, without the watcher of its guard."""
    parent = psutil.Process(pid)
    return [parent, *(child for child in parent.children(recursive=True) if not _watches(child))]


def _watches(process: psutil.Process) -> bool:
    try:
        return any(word.startswith("waitroom-guard:") for word in process.cmdline())
    except psutil.NoSuchProcess:
        return True
