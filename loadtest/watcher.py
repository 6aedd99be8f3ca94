"""A page that holds an event stream, asks in person as rarely as it may, and reconnects as it is told to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final, Literal

import gevent
import orjson
from gevent.queue import Empty, Queue
from geventhttpclient.response import HTTPSocketPoolResponse
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS

from crowd.answers import Answer
from crowd.habits import Ask, Step, Watch
from crowd.history import EVENT, clock
from crowd.proofs import noted
from loadtest.visitors import Visitor, read

#: Seconds until a broken stream is opened again where the room has not said when: what browsers do by themselves.
_RETRY_SECONDS: Final = 3.0

#: What a stream says to the one who waits: its last event, that it broke, or that there is none to be had.
Word = Literal["admitted", "over", "reconnect", "broken", "poll"]


class Watcher(Visitor):
    """Watches the event stream for crowd/habits.py's watcher. When the plan says so it breaks, with all others."""

    abstract = True

    def due(self) -> None:
        """Forget the streams of the turn before."""
        self._words: Queue[Word] = Queue()
        self._stream: gevent.Greenlet[[], None] | None = None
        self._retry, self._open_at = _RETRY_SECONDS, 0.0
        self._dropped = time.monotonic() >= self.run_of.drop_at

    def step(self, step: Step) -> Any:
        """Watch too; the stream is closed before anything but a question is asked."""
        if isinstance(step, Watch):
            return self._watch(self.turn.answer)
        if isinstance(step, Ask) and step.call != "status":
            self._close()
        return super().step(step)

    def _watch(self, answer: Answer) -> bool:
        """Watch until it is time to ask in person; False if the run is over."""
        latest = float(answer.document.get("latest_poll_seconds", answer.poll_after))
        ask_at = time.monotonic() + latest * self.dice.uniform(0.8, 1)
        while self.run_of.patience_left() > 0:
            now = time.monotonic()
            if now >= ask_at:
                return True
            if self._stream is None and now >= self._open_at:
                self._stream = gevent.spawn(self._read_stream)
            self._drop_in_time(now)
            word = self._word(min(ask_at, self._wakes_at(now)) - now)
            if word in ("admitted", "over"):
                self._close()
                return True
            if word == "poll":
                ask_at = min(ask_at, now + answer.poll_after)
        return False

    def _wakes_at(self, now: float) -> float:
        times = [now + self.run_of.patience_left()]
        if self._stream is None:
            times.append(self._open_at)
        if not self._dropped and self.run_of.drop_at > now:
            times.append(self.run_of.drop_at)
        return min(times)

    def _word(self, seconds: float) -> Word | None:
        try:
            word: Word = self._words.get(timeout=max(seconds, 0.001))
        except Empty:
            return None
        self._stream = None
        self._open_at = float("inf") if word == "poll" else time.monotonic() + self._retry
        return word

    def _drop_in_time(self, now: float) -> None:
        """Break the stream when all break."""
        if self._dropped or now < self.run_of.drop_at:
            return
        self._dropped = True
        if self._stream is not None:
            self._close()
            self._open_at = now + self._retry
            self.run_of.recorder.note(about="drop", visitor=self.turn.name, at=clock())

    def _close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.kill()

    def _read_stream(self) -> None:
        word: Word = "broken"
        try:
            response = self._opened()
            if response is None:
                word = "poll"
                return
            for event, data in self._events(response):
                if event == "place":
                    self._note_place(orjson.loads(data))
                elif event in ("admitted", "over", "reconnect"):
                    word = event  # type: ignore[assignment]  # one of the words
                    return
        except FAILURE_EXCEPTIONS:
            pass
        finally:
            self._words.put(word)

    def _opened(self) -> HTTPSocketPoolResponse | None:
        """The stream, or None if the room says to poll instead. Raises what a connection raises."""
        turn = self.turn
        began = {"visitor": turn.name, "habit": turn.habit, "call": "events", "brought": turn.identity}
        number = turn.notes.invoke(clock(), **began)
        try:
            path = f"/v1/rooms/{turn.manner.room}/events"
            response = self.http.request("GET", path, headers={"Accept": "text/event-stream", **turn.jar.header()})
        except FAILURE_EXCEPTIONS as error:
            turn.notes.complete(number, "unknown", clock(), {"error": repr(error)[:200]})
            raise
        if response.get_code() == 200:
            turn.notes.complete(number, "ok", clock(), {"status": 200})
            return response
        answer = read(response)
        instead = b"poll-instead" in answer.body or answer.status == 410  # the turn has come or gone meanwhile: ask
        outcome = answer.outcome([answer.status] if instead else [], bearing=turn.manner.bears)
        turn.notes.complete(
            number, outcome, answer.at, {"status": answer.status} if instead else answer.said(answer.text)
        )
        return None

    def _events(self, response: HTTPSocketPoolResponse) -> Iterator[tuple[str, bytes]]:
        """Each event and its data, until the stream ends; `retry` is taken over on the way."""
        event, data = "message", b""
        while line := response.readline(b"\n"):
            name, _, value = line.rstrip(b"\r\n").partition(b":")
            value = value.removeprefix(b" ")
            if name == b"event":
                event = value.decode()
            elif name == b"data":
                data += value
            elif name == b"retry" and value.isdigit():
                self._retry = int(value) / 1000
            elif not name and not value and data:
                yield event, data
                event, data = "message", b""

    def _note_place(self, document: dict[str, Any]) -> None:
        turn, at = self.turn, clock()
        number = turn.notes.invoke(at, visitor=turn.name, habit=turn.habit, call=EVENT)
        turn.notes.complete(number, "ok", at, {"identity": turn.identity, "serial": turn.serial, **noted(document)})
