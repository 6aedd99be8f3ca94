"""A hundred workers in several real processes share five slots, and three of them are killed while they hold one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from rig.instance import serving
from rig.waiting import until
from waitroom.client import AdmissionLost, WaitroomClient

pytestmark = [pytest.mark.system, pytest.mark.timeout(150)]

CAPACITY: Final = 5
WORKERS: Final = 100
KILLED: Final = 3
PROCESSES: Final = 4

#: How long a job takes, and after how long the slot of a killed holder comes back: a holder extends it after a third
#: of that, and must not be too late on a busy machine.
JOB_SECONDS: Final = 0.15
SESSION_SECONDS: Final = 9.0

#: Who waits asks every 0.5 s; a visitor who is late for that comes back to the same place.
ROOM: Final = {"capacity": CAPACITY, "sliding": True, "session_seconds": SESSION_SECONDS, "abandon_seconds": 1.5}

ROOT: Final = Path(__file__).parent.parent.parent

#: Seconds that everything together may take on a busy machine.
PATIENCE_SECONDS: Final = 100.0


# What runs in the workers' processes: `python -m tests.system.test_admission URL JOURNAL SECONDS NAME...`.


def note(journal: int, word: str, name: str) -> None:
    """A line of the journal: written at once and whole, so that it survives the writer."""
    os.write(journal, f"{time.monotonic_ns()} {word} {name}\n".encode())


async def work(client: WaitroomClient, journal: int, seconds: float, name: str) -> None:
    """Do one job in a slot of the room; again from the start where the slot was lost."""
    while True:
        try:
            async with client.admission("jobs"):
                note(journal, "in", name)
                try:
                    await asyncio.sleep(seconds)
                finally:
                    note(journal, "out", name)
        except AdmissionLost:
            continue
        note(journal, "done", name)
        return


async def work_all(url: str, path: str, seconds: str, *names: str) -> None:
    """These workers at once."""
    journal = os.open(path, os.O_WRONLY | os.O_APPEND)
    async with WaitroomClient(url) as client, asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(work(client, journal, float(seconds), name))


# The test.


@dataclass(frozen=True)
class Line:
    """A line of the journal; every process of the machine has the same monotonic clock."""

    at: int
    word: str
    name: str


def lines_of(journal: Path) -> list[Line]:
    """The whole lines of the journal so far, in the order of time."""
    texts = journal.read_text().split("\n")[:-1]
    return sorted((Line(int(at), word, name) for at, word, name in map(str.split, texts)), key=lambda line: line.at)


def names_of(lines: list[Line], word: str) -> set[str]:
    """Who has written that word."""
    return {line.name for line in lines if line.word == word}


def most_inside(lines: list[Line]) -> int:
    """How many were inside at once, at most."""
    inside: set[str] = set()
    most = 0
    for line in lines:
        if line.word == "in":
            assert line.name not in inside
            inside.add(line.name)
            most = max(most, len(inside))
        elif line.word in ("out", "killed"):
            inside.discard(line.name)
    return most


@contextmanager
def working(url: str, journal: Path, seconds: float, names: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process with these workers, gone at the end."""
    command = [sys.executable, "-m", "tests.system.test_admission", url, str(journal), str(seconds), *names]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)


async def all_at_once(url: str, path: Path) -> None:
    """As many holders as there are slots, none of whom goes before all are in."""
    journal = os.open(path, os.O_WRONLY | os.O_APPEND)
    barrier = asyncio.Barrier(CAPACITY)

    async def meet(client: WaitroomClient, name: str) -> None:
        async with client.admission("jobs"):
            note(journal, "in", name)
            await barrier.wait()
            note(journal, "out", name)

    async with asyncio.timeout(PATIENCE_SECONDS), WaitroomClient(url) as client, asyncio.TaskGroup() as group:
        for number in range(CAPACITY):
            group.create_task(meet(client, f"last-{number}"))
    os.close(journal)


def test_a_hundred_workers_and_three_kills(tmp_path: Path) -> None:
    """Never more than five inside, all who live get their turn, and the slots of the killed come back."""
    path = tmp_path / "journal"
    path.touch()
    victims = [f"victim-{number}" for number in range(KILLED)]
    workers = [f"worker-{number}" for number in range(WORKERS - KILLED)]
    with serving(tmp_path / "serve", rooms={"jobs": ROOM}) as served, ExitStack() as stack:
        url = f"http://127.0.0.1:{served.port}"
        # The victims are in from the beginning, each in a process of its own, and never end by themselves.
        doomed = [stack.enter_context(working(url, path, 10_000, [name])) for name in victims]
        until(lambda: set(victims) <= names_of(lines_of(path), "in"), "victims inside", seconds=PATIENCE_SECONDS)
        shares = [workers[number::PROCESSES] for number in range(PROCESSES)]
        processes = [stack.enter_context(working(url, path, JOB_SECONDS, share)) for share in shares]
        # Longer than a session: the victims' slots are theirs because they extend them.
        time.sleep(SESSION_SECONDS * 1.5)
        assert not names_of(lines_of(path), "out") & set(victims)
        assert not names_of(lines_of(path), "done") >= set(workers)
        for name, process in zip(victims, doomed, strict=True):
            process.kill()
            process.wait(PATIENCE_SECONDS)
            with path.open("a") as journal:
                # Inside until now at the latest.
                journal.write(f"{time.monotonic_ns()} killed {name}\n")
        until(lambda: set(workers) <= names_of(lines_of(path), "done"), "the end of all work", seconds=PATIENCE_SECONDS)
        assert [process.wait(PATIENCE_SECONDS) for process in processes] == [0] * PROCESSES
        asyncio.run(all_at_once(url, path))
    lines = lines_of(path)
    assert most_inside(lines) == CAPACITY
    assert names_of(lines, "done") == set(workers)
    assert names_of(lines, "killed") == set(victims)


def test_the_journal_finds_one_too_many() -> None:
    """The count that the test above relies on."""
    words = ["in a", "in b", "out a", "in c", "killed b", "in d", "in a"]
    lines = [Line(number, *text.split()) for number, text in enumerate(words)]
    assert [most_inside(lines[:end]) for end in (0, 1, 2, 5, 6, 7)] == [0, 1, 2, 2, 2, 3]


if __name__ == "__main__":
    asyncio.run(work_all(*sys.argv[1:]))
