"""An arrival on a schedule: nothing but `enter`, at a constant rate, whatever the answers take (an open model).

The pool of users shares one schedule. Who is free takes the next time on it, waits for it, and asks. When all are busy
the next arrivals are late: they are still sent, and the history has both times.
"""

from __future__ import annotations

from itertools import count
from typing import ClassVar

import gevent
from locust.exception import StopUser

from crowd.history import clock
from loadtest.visitors.visitor import Run, Visitor


class Schedule:
    """The times at which this process lets visitors arrive, on the recorder's clock."""

    def __init__(self, *, first: float, rate: float, number: int) -> None:
        self._first = first
        self._rate = rate
        self._number = number
        self._numbers = count()

    def next(self) -> float | None:
        """The next time; None when all have been taken."""
        place = next(self._numbers)
        return self._first + place / self._rate if place < self._number else None


class Arrival(Visitor):
    """Takes arrivals from the schedule until there are no more."""

    habit = "arrival"
    schedule: ClassVar[Schedule | None] = None

    @classmethod
    def open(cls, run: Run, *, first: float) -> None:
        """Make this process's schedule; processes take turns, so that arrivals are evenly spaced together."""
        plan = run.plan
        share = plan.offered // plan.processes + (run.worker < plan.offered % plan.processes)
        cls.schedule = Schedule(first=first + run.worker / plan.rate, rate=plan.rate / plan.processes, number=share)

    def turn(self) -> None:
        """One arrival."""
        if self.schedule is None:
            gevent.sleep(0.05)  # not everybody is there yet
            return
        due = self.schedule.next()
        if due is None:
            raise StopUser
        gevent.sleep(max(due - clock(), 0))
        self.enter(due=due)
