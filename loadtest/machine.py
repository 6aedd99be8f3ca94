"""Who took the machine's CPU time during a run: the servers, the load generator, this program, or somebody else."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import psutil

from rig.accounting import Accountable, Bill, accounted

#: Share of the machine that others may take before its figures are doubtful.
TOLERATED: Final = 0.05

#: Kinds of CPU time in which a processor does something for somebody here.
_BUSY: Final = ("user", "nice", "system", "irq", "softirq")


@dataclass
class Account:
    """Filled in when the block that it is for has ended.

    `servers`: CPU seconds by name. `others`: the share of the machine that processes took which had nothing to do with
    the run, and that was `stolen` by other guests of a virtual machine's host.
    """

    servers: Bill = field(default_factory=Bill)
    others: float = 0.0
    stolen: float = 0.0


@contextmanager
def accounting(*servers: Accountable) -> Iterator[Account]:
    """An account of the block, in which children of this process come and go."""
    account = Account()
    began, busy, stolen, own = time.monotonic(), _busy(), _stolen(), _own()
    with accounted(*servers) as account.servers:
        yield account
    whole = (time.monotonic() - began) * (os.cpu_count() or 1)
    known = sum(account.servers.seconds.values()) + _own() - own
    account.others = max(_busy() - busy - known, 0.0) / whole
    account.stolen = (_stolen() - stolen) / whole


def _busy() -> float:
    times = psutil.cpu_times()
    return sum(float(getattr(times, kind, 0.0)) for kind in _BUSY)


def _stolen() -> float:
    return float(getattr(psutil.cpu_times(), "steal", 0.0))


def _own() -> float:
    """What this process took, and those of its children that have ended."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in both)
