"""What all visitors share: asking, noting what was asked and told, and the steps of a visit.

Requests go straight to geventhttpclient, from the pool that FastHttpUser made: its session would take twice the time
for redirects and cookie rules that nobody here needs, and the generator shares its machine with what it measures.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, ClassVar, Final

import gevent
import orjson
from geventhttpclient.client import HTTPClient
from geventhttpclient.url import URL
from locust import task
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS, FastHttpUser
from locust.exception import StopUser

from crowd.history import Outcome, Recorder
from crowd.proofs import noted
from loadtest.plan import Plan
from loadtest.visitors.jar import Jar

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


@dataclass(frozen=True)
class Answer:
    """What a visitor was told. `status` is 0 if there was no answer."""

    status: int
    document: Mapping[str, Any] = field(default_factory=dict)
    passed: bool = False
    retry_after: float = 1.0

    @property
    def again(self) -> bool:
        """Whether to ask again later: there was no answer, nobody can serve it now, or the room is closed."""
        return self.status in (0, 503) or self.problem == "closed"

    @property
    def problem(self) -> str:
        """The last part of a problem's type; nothing where the answer is no problem document."""
        kind = str(self.document.get("type", ""))
        return kind.removeprefix("urn:waitroom:") if kind.startswith("urn:waitroom:") else ""

    @property
    def state(self) -> str:
        """`waiting`, `admitted`, or nothing of the kind."""
        return str(self.document.get("state", ""))

    @property
    def poll_after(self) -> float:
        """Seconds to stay away for, as told."""
        return float(self.document.get("poll_after_seconds", 1.0))


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
        self.jar.empty()
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
        while self.run_of.plan.patience_seconds and answer.again and self.idle(answer.retry_after):
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
        began = recorder.now()
        number = recorder.invoke(began, visitor=self.name, habit=self.habit, call=call, **sent)
        proofs = self.jar.header() if headers is None else headers
        try:
            response = self.http.request(method, path, headers={**_CALLER, **proofs})
            body = response.read()
        except FAILURE_EXCEPTIONS as error:
            ended = recorder.now()
            recorder.complete(number, "unknown", ended, {"error": repr(error)[:200]})
            self._report(method, call, (ended - began) * 1000, 0, error)
            return Answer(0)
        ended = recorder.now()
        answer, said = self._read(call, response.get_code(), body, response.get("set-cookie"), headers is None)
        answer = replace(answer, retry_after=_seconds(response.get("retry-after")))
        wrong = None if answer.status in good else AssertionError(f"{call}: {answer.status}")
        outcome = self.outcome(answer, told_when=response.get("retry-after") is not None) if wrong else "ok"
        if wrong is not None:
            said["error"] = body[:200].decode(errors="replace")
            said["problem"] = answer.problem
        recorder.complete(number, outcome, ended, said)
        self._report(method, call, (ended - began) * 1000, len(body), wrong)
        return answer

    @property
    def http(self) -> HTTPClient:
        """The connections of this visitor."""
        if self._http is None:
            self._http = self.client.client.clientpool.get_client(URL(str(self.host)))
        return self._http

    def outcome(self, answer: Answer, *, told_when: bool) -> Outcome:
        """What an answer is that this visitor should not get."""
        documented = answer.status == 503 and answer.problem and told_when
        return "unknown" if documented and self.run_of.plan.patience_seconds else "fail"

    def _told_before(self, attempt: str, brought: str | None) -> dict[str, Any]:
        known = self.identity if brought is None else brought
        return {name: value for name, value in (("attempt", attempt), ("brought", known)) if value}

    def _read(
        self, call: str, status: int, body: bytes, cookies: str | list[str] | None, own: bool
    ) -> tuple[Answer, dict[str, Any]]:
        """The answer, and what of it belongs into the history; cookies are kept where the proofs were one's `own`."""
        document = orjson.loads(body) if body.startswith(b"{") else {}
        passed = call == "gate" and status in (200, 204)
        jar = self.jar if own else Jar()
        jar.store(cookies)
        said: dict[str, Any] = {"status": status}
        if passed:
            said["passed"] = True
            granted = jar.proof("pass", self.run_of.plan.room) if cookies else ""
            document = {"state": "admitted", "pass": granted} if granted else {}
        said |= noted(document)
        if own and "identity" in said:
            self.identity, self.serial = said["identity"], said.get("serial", self.serial)
        return Answer(status, document, passed), said

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


def _seconds(text: str | list[str] | None) -> float:
    """A Retry-After; a second where there is none."""
    return float(text) if isinstance(text, str) and text.isdigit() else 1.0
