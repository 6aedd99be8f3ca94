"""Programs on one core each, so that what is measured does not share it with what measures.

The server under test has the first core for itself; Redis, nginx, origins and the load share the second.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from rig.machine import program

#: Which core a server under test runs on, and which everything else does.
SERVER_CORE, OTHER_CORE = 0, 1


def core(number: int) -> int:
    """The machine's number for our first, second … core; a single core serves for all."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[number % len(cores)]


def pinned(number: int) -> tuple[str, ...]:
    """What starts a program on that core. Raises Missing."""
    return (program("taskset", package="util-linux"), "-c", str(core(number)))


@contextmanager
def on_core(number: int) -> Iterator[None]:
    """Run this process itself, and what it starts meanwhile, on one core."""
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core(number)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, every)
