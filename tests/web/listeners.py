"""Listening to a room's events as a browser does: lines of text, event by event."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tests.web.sites import PATIENCE_SECONDS, Site, bearer


@dataclass(frozen=True)
class Event:
    """One event; a comment alone is one without a name."""

    name: str = ""
    data: Any = None
    retry_ms: int | None = None
    comment: bool = False


class Listener:
    """A connection that has asked for events: the answer's head, and what comes after it."""

    def __init__(self, link: socket.socket) -> None:
        self._answer = http.client.HTTPResponse(link)
        self._answer.begin()
        self.status = self._answer.status
        self.headers = {name.lower(): value for name, value in self._answer.getheaders()}

    def event(self) -> Event | None:
        """The next event or comment; None at the end of the stream. Raises TimeoutError when neither comes in time."""
        fields: dict[str, str] = {}
        while line := self._answer.readline():
            text = line.decode().removesuffix("\n")
            if not text:
                return _event(fields)
            name, _, value = text.partition(":")
            assert name not in fields, f"{name!r} twice in one event"
            fields[name] = value.removeprefix(" ")
        assert not fields, "the stream ends inside an event"
        return None

    def next(self, name: str) -> Event:
        """The next event, which is of that name; comments before it are left out."""
        event = self.event()
        while event is not None and event.comment:
            event = self.event()
        assert event is not None, f"the stream has ended before {name!r}"
        assert event.name == name, event
        return event

    def later(self, name: str) -> Event:
        """The first event of that name, whatever comes before it."""
        event = self.event()
        while event is not None and event.name != name:
            event = self.event()
        assert event is not None, f"the stream has ended before {name!r}"
        return event

    def problem(self) -> dict[str, Any]:
        """The problem document that was sent instead of a stream."""
        assert self.headers["content-type"] == "application/problem+json"
        document: dict[str, Any] = json.loads(self._answer.read())
        assert document["status"] == self.status
        return document


def _event(fields: dict[str, str]) -> Event:
    assert fields.keys() <= {"event", "data", "retry", ""}, fields
    retry = fields.get("retry")
    data = fields.get("data")
    return Event(
        fields.get("event", ""),
        None if data is None else json.loads(data),
        None if retry is None else int(retry),
        comment="" in fields,
    )


def request(room: str, *lines: str | bytes, method: str = "GET", version: str = "HTTP/1.1") -> bytes:
    """The bytes that ask for a room's events."""
    head = [f"{method} /v1/rooms/{room}/events {version}".encode(), b"Host: a"]
    head += [line if isinstance(line, bytes) else line.encode("latin-1") for line in lines]
    return b"\r\n".join([*head, b"", b""])


@contextmanager
def listening(site: Site, room: str, proof: str | None = None, *lines: str | bytes, **how: Any) -> Iterator[Listener]:
    """A visitor who listens, with a proof as bearer or none, and more header lines."""
    carried = [f"{name}: {value}" for name, value in bearer(proof).items()]
    with site.connection(PATIENCE_SECONDS) as link:
        link.sendall(request(room, *carried, *lines, **how))
        try:
            yield Listener(link)
        finally:
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
