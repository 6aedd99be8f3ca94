"""What all visitors share: asking, noting what was asked and told, and the steps of a visit.

Requests go straight to geventhttpclient, from the pool that FastHttpUser made: its session would take twice the time
for redirects and cookie rules that nobody here needs, and the generator shares its machine with what it measures.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, ClassVar, Final

import gevent
import orjson
from geventhttpclient.client import HTTPClient
from geventhttpclient.url import URL
from locust import task
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS, FastHttpUser
from locust.exception import StopUser

from crowd.answers import Answer, Jar
from crowd.history import Outcome, Recorder, clock
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

    def seconds_left(self) -> float:
        """Until nobody comes any more."""
        return self.ends_at - time.monotonic()

    def patience_left(self) -> float:
        """Until those who are there go home, whatever they wait for."""
        return self.seconds_left() + self.plan.patience_seconds


class Visitor(FastHttpUser):
    """Somebody who comes, again and again until the run is over. A kind overrides `turn`."""

    abstract = True
    habit: ClassVar[str] = "visitor"
    run_of: ClassVar[Run]

    network_timeout = 20.0
    connection_timeout = 10.0

    _numbers: ClassVar[count[int]] = count()

    def on_start(self) -> None:
        """Get ready to come."""
        self.jar = Jar()
        self.identity, self.serial = "", 0
        self._client = f"{self.run_of.worker}-{next(self._numbers)}"
        seed = self.run_of.plan.seed
        self.dice = random.Random() if seed is None else random.Random(f"{seed} {self._client}")
        self._turn = 0
        self._http: HTTPClient | None = None
        self.room = f"/v1/rooms/{self.run_of.plan.room}"

    @task
    def visit(self) -> None:
        """One turn, from arrival to whatever end; nobody comes any more once the run is over."""
        if self.run_of.seconds_left() <= 0:
            raise StopUser
        self.begin_turn()
        self.turn()

    def turn(self) -> None:
        """What this kind of visitor does."""
        raise NotImplementedError

    def begin_turn(self) -> None:
        """Be somebody new."""
        self._turn += 1
        self.jar.clear()
        self.identity, self.serial = "", 0

    @property
    def name(self) -> str:
        """This turn's name in the history."""
        return f"{self._client}.{self._turn}"

    # Steps of a visit

    def enter(self, **how: Any) -> Answer:
        """Ask for a place, with the proofs at hand."""
        return self.until_served(lambda: self.ask("enter", "POST", f"{self.room}/enter", good=(200, 202), **how))

    def status(self, **how: Any) -> Answer:
        """Ask where one stands."""
        return self.until_served(lambda: self.ask("status", "GET", f"{self.room}/status", good=(200,), **how))

    def leave(self, **how: Any) -> Answer:
        """Say goodbye."""
        return self.until_served(lambda: self.ask("leave", "POST", f"{self.room}/leave", good=(204,), **how))

    def gate(self, **how: Any) -> Answer:
        """Ask for what the room protects."""
        return self.ask("gate", "GET", self.run_of.plan.gate, **{"good": (200, 204), **how})

    def queue(self, answer: Answer, look: Callable[[], Answer] | None = None) -> bool:
        """Wait as told until admitted; False when the run was over first, or nothing good came any more."""
        while answer.state == "waiting":
            if not self.idle(answer.poll_after):
                return False
            answer = (look or self.status)()
        return answer.state == "admitted"

    def go_through(self, answer: Answer, look: Callable[[], Answer] | None = None) -> None:
        """Wait, look round, and leave, also where the run was over first."""
        if self.queue(answer, look):
            self.look_round()
        if self.identity:
            self.leave()

    def glance(self, most: int) -> None:
        """Enter, and ask a few times where one stands."""
        answer = self.enter()
        for _ in range(self.dice.randint(0, most)):
            if answer.state != "waiting" or not self.idle(answer.poll_after):
                break
            answer = self.status()

    def look_round(self) -> None:
        """Be inside for a while, and look at a page or two."""
        for _ in range(self.dice.randint(1, 2)):
            self.until_served(self.gate)
            self.idle(self.dice.uniform(0, self.run_of.plan.stay_seconds / 2))

    def idle(self, seconds: float) -> bool:
        """Do nothing for so long; False if the run was over meanwhile, which ends the rest."""
        left = self.run_of.patience_left()
        if seconds > _HANG_UP_SECONDS:
            self.hang_up()
        gevent.sleep(max(min(seconds, left), 0))
        return seconds < left

    def hang_up(self) -> None:
        """Close the connections."""
        self.client.client.clientpool.close()
        self._http = None

    def until_served(self, ask: Callable[[], Answer]) -> Answer:
        """Ask, and in a crowd that bears outages ask again as told; the last answer."""
        answer = ask()
        while self.run_of.plan.patience_seconds and answer.again and self.idle(answer.retry_after or 1.0):
            answer = ask()
        return answer

    # Asking and noting

    def ask(
        self,
        call: str,
        method: str,
        path: str,
        *,
        good: Collection[int],
        headers: Mapping[str, str] | None = None,
        due: float | None = None,
        attempt: str = "",
        brought: str | None = None,
    ) -> Answer:
        """Ask and note it. `good` are the answers that this visitor may get; `headers` instead of the cookies."""
        recorder, sent = self.run_of.recorder, self._told_before(attempt, brought)
        if due is not None:
            sent["due"] = due
        began = clock()
        number = recorder.invoke(began, visitor=self.name, habit=self.habit, call=call, **sent)
        proofs = self.jar.header() if headers is None else headers
        try:
            response = self.http.request(method, path, headers={**_CALLER, **proofs})
            body = response.read()
        except FAILURE_EXCEPTIONS as error:
            ended = clock()
            recorder.complete(number, "unknown", ended, {"error": repr(error)[:200]})
            self._report(method, call, (ended - began) * 1000, 0, error)
            return Answer()
        ended = clock()
        jar = self.jar if headers is None else Jar()
        held = jar.proof("pass", self.run_of.plan.room)
        jar.store(response.get("set-cookie"))
        given = jar.proof("pass", self.run_of.plan.room)
        granted = given if given != held else ""
        document = orjson.loads(body) if body.startswith(b"{") else {}
        answer = Answer.of(call, response.get_code(), document, seconds(response.get("retry-after")), granted)
        outcome = self.outcome(answer, good)
        wrong = None if outcome == "ok" else AssertionError(f"{call}: {answer.status}")
        said = answer.said("" if wrong is None else body.decode(errors="replace") or "no body")
        if headers is None and "identity" in said:
            self.identity, self.serial = said["identity"], said.get("serial", self.serial)
        recorder.complete(number, outcome, ended, said)
        self._report(method, call, (ended - began) * 1000, len(body), wrong)
        return answer

    @property
    def http(self) -> HTTPClient:
        """The connections of this visitor."""
        if self._http is None:
            self._http = self.client.client.clientpool.get_client(URL(str(self.host)))
        return self._http

    def outcome(self, answer: Answer, good: Collection[int]) -> Outcome:
        """What an answer is to this visitor, who should get one of the `good`."""
        return answer.outcome(good, bearing=bool(self.run_of.plan.patience_seconds))

    def _told_before(self, attempt: str, brought: str | None) -> dict[str, Any]:
        known = self.identity if brought is None else brought
        return {name: value for name, value in (("attempt", attempt), ("brought", known)) if value}

    def _report(self, method: str, call: str, took_ms: float, length: int, error: BaseException | None) -> None:
        self.environment.events.request.fire(
            request_type=method,
            name=call,
            response_time=took_ms,
            response_length=length,
            exception=error,
            context={},
            response=None,
        )


def seconds(text: str | list[str] | None) -> float | None:
    """A Retry-After."""
    return float(text) if isinstance(text, str) and text.isdigit() else None
