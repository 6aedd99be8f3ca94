"""Visitors of the load tests: crowd/habits.py's on gevent, each a user of Locust that comes again and again.

Requests go straight to geventhttpclient, from the pool that FastHttpUser made: its session would take twice the time
for redirects and cookie rules that nobody here needs, and the generator shares its machine with what it measures.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar, Final

import gevent
from geventhttpclient.client import HTTPClient
from geventhttpclient.response import HTTPSocketPoolResponse
from geventhttpclient.url import URL
from locust import task
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS, FastHttpUser
from locust.exception import StopUser

from crowd import habits
from crowd.answers import Answer
from crowd.habits import HABITS, Ask, Both, Idle, Manner, Step, Steps, T
from crowd.history import Recorder, clock
from loadtest.plan import Plan

#: Seconds of silence after which a visitor hangs up first: instances close idle connections after 75 s.
_HANG_UP_SECONDS: Final = 30.0

_CALLER: Final = {"Accept": "application/json"}


@dataclass
class Run:
    """What all visitors of this process know: the plan, where the history goes, and when it is over.

    `ends_at` and `drop_at` (when all event streams break) are on the monotonic clock.
    """

    plan: Plan
    recorder: Recorder
    worker: int = 0
    ends_at: float = float("inf")
    drop_at: float = float("inf")
    manner: Manner = field(init=False)

    def __post_init__(self) -> None:
        self.manner = Manner(
            room=self.plan.room,
            gate=self.plan.gate,
            pages=(1, 2),
            stay_seconds=self.plan.stay_seconds / 2,
            abandon_seconds=float(self.plan.settings.get("abandon_seconds", 120)),
            claims=False,
            bears=bool(self.plan.patience_seconds),
            refusals=(),
        )

    def seconds_left(self) -> float:
        """Until no visitor comes any more."""
        return self.ends_at - time.monotonic()

    def patience_left(self) -> float:
        """Until those who are there go home, whatever they wait for."""
        return self.seconds_left() + self.plan.patience_seconds


class Visitor(FastHttpUser):
    """Comes, again and again until the run is over, each time as a new visitor with the habit of its class."""

    abstract = True
    habit: ClassVar[str]
    run_of: ClassVar[Run]

    network_timeout = 20.0
    connection_timeout = 10.0

    _numbers: ClassVar[count[int]] = count()

    def on_start(self) -> None:
        """Get ready to come."""
        self._client, self._turns = f"{self.run_of.worker}-{next(self._numbers)}", count(1)
        seed = self.run_of.plan.seed
        self.dice = random.Random() if seed is None else random.Random(f"{seed} {self._client}")
        self._http: HTTPClient | None = None

    @task
    def visit(self) -> None:
        """One turn, from arrival to whatever end."""
        if self.run_of.seconds_left() <= 0:
            raise StopUser
        due = self.due()
        name = f"{self._client}.{next(self._turns)}"
        self.turn = habits.Visitor(name, self.habit, self.run_of.manner, self.run_of.recorder, self.dice, due)
        self.take(HABITS[self.habit](self.turn))

    def due(self) -> float | None:
        """When this turn's entry is due, where arrivals follow a schedule."""
        return None

    def take(self, steps: Steps[T]) -> T:
        """Take these steps; what they return."""
        came: Any = None
        while True:
            try:
                step = steps.send(came)
            except StopIteration as done:
                result: T = done.value
                return result
            came = self.step(step)

    def step(self, step: Step) -> Any:
        """Take one step; what came of it."""
        match step:
            case Ask():
                return self._ask(step)
            case Idle():
                return self._idle(step.seconds, offline=step.offline)
            case Both():
                both = [gevent.spawn(self.take, each) for each in step]
                gevent.joinall(both)
                return [each.get() for each in both]
            case _:
                raise TypeError(f"a load test does not take the step {step!r}")

    def _idle(self, seconds: float, *, offline: bool) -> bool:
        left = self.run_of.patience_left()
        if offline or seconds > _HANG_UP_SECONDS:
            self.client.client.clientpool.close()
            self._http = None
        gevent.sleep(max(min(seconds, left), 0))
        return seconds < left

    @property
    def http(self) -> HTTPClient:
        """The connections of this visitor."""
        if self._http is None:
            self._http = self.client.client.clientpool.get_client(URL(str(self.host)))
        return self._http

    def _ask(self, step: Ask) -> Answer:
        began = clock()
        wrong: BaseException | None = None
        try:
            response = self.http.request(step.method, step.path, headers={**_CALLER, **step.headers})
            answer = read(response)
        except FAILURE_EXCEPTIONS as error:
            answer, wrong = Answer(error=repr(error)[:200]), error
        else:
            wrong = None if answer.status in step.good else AssertionError(f"{step.call}: {answer.status}")
        self.environment.events.request.fire(
            request_type=step.method,
            name=step.call,
            response_time=(answer.at - began) * 1000,
            response_length=len(answer.body),
            exception=wrong,
            context={},
            response=None,
        )
        return answer


def read(response: HTTPSocketPoolResponse) -> Answer:
    """The whole of an answer."""
    body = response.read()
    return Answer.read(response.get_code(), body, response.get("set-cookie"), response.get("retry-after"))


class Arriving(Visitor):
    """Takes arrivals from a schedule until there are no more: an open model, whatever the answers take.

    The pool of users shares one schedule. A user that is free takes the next time on it, waits for it, and asks. When
    all are busy the next arrivals are late: they are still sent, and the history has both times.
    """

    abstract = True
    #: The places that are left on the schedule of this process, and the time of its first, on the recorder's clock.
    places: ClassVar[Iterator[int] | None] = None
    first: ClassVar[float]

    @classmethod
    def open(cls, run: Run, *, first: float) -> None:
        """Make this process's schedule; processes take turns, so that arrivals are evenly spaced together."""
        cls.first = first
        cls.places = iter(range(run.worker, run.plan.offered, run.plan.processes))

    def due(self) -> float | None:
        """The next time on the schedule, once it has come."""
        while self.places is None:
            gevent.sleep(0.05)  # not everybody is there yet
        place = next(self.places, None)
        if place is None:
            raise StopUser
        due = self.first + place / self.run_of.plan.rate
        gevent.sleep(max(due - clock(), 0))
        return due
