"""GET /v1/rooms/{room}/events: what becomes of a place, as server-sent events (HTML Standard, 9.2).

A plain ASGI loop: a library for these few lines of text took 2.7 times the memory of a stream. To open a stream is to
be heard, as by `status`. Afterwards it only tells: to be heard again, and to claim an offer, a client asks for the
status.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from typing import Any, Final

import orjson
from prometheus_client import Counter
from starlette.types import Receive, Scope, Send

from waitroom import metrics
from waitroom.errors import StreamsFull
from waitroom.model import Place, Standing, Visitor
from waitroom.rooms.room import Room
from waitroom.rooms.streams import BEAT_SECONDS, LAST, News, Stream, Streams
from waitroom.web import documents
from waitroom.web.answers import Problem
from waitroom.web.headers import Header, headers_of, retry_after
from waitroom.web.instance import Instance
from waitroom.web.places import held, no_place
from waitroom.web.seen import asked_by_doctor

logger = logging.getLogger(__name__)

#: Seconds that a visitor may take to read what was said, once the connection holds no more.
_READ_SECONDS: Final = 15.0

#: Milliseconds after which a browser comes back when its stream has ended: spread, for all may end at the same moment.
_RETRY_MS: Final = (1_000, 30_000)

#: Events are told at once, and as they are: nothing between may collect or change them.
_HEADERS: Final[tuple[Header, ...]] = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
)

_HEARTBEAT: Final = b":\n\n"

#: As which visitor the streams of `waitroom doctor` are counted.
_DOCTOR: Final = Visitor("doctor")

#: Seconds after which such a stream ends.
_BEAT_SECONDS: Final = 360


class Events:
    """GET /v1/rooms/{room}/events"""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._rooms = instance.rooms
        self._desk = instance.desk
        self._streams = instance.streams
        self._proxies = instance.proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """200 and a stream. Needs a ticket or a pass. 503 where the client should poll instead."""
        room = self._rooms.get(scope["path_params"]["room"])
        proof = self._desk.of_visitor(scope, room)
        brought = proof.ticket or proof.granted
        by_doctor = asked_by_doctor(self._instance, scope, room.name) is not None
        if brought is None and not by_doctor:
            raise no_place(room, Standing.EXPIRED)
        if scope["http_version"] == "1.0":
            raise poll_instead(room.settings.longest_poll_seconds, "a stream needs HTTP/1.1")
        visitor = _DOCTOR if by_doctor or brought is None else brought.visitor
        try:
            with self._streams.slot(visitor, self._address(scope)):
                if by_doctor:
                    await _beat(scope, receive, send, self._streams)
                else:
                    place = await held(room, proof)
                    await self._answer(scope, receive, send, room, place)
        except StreamsFull as full:
            metrics.STREAMS_REFUSED.labels(full.limit).inc()
            raise poll_instead(room.settings.longest_poll_seconds, str(full)) from None

    def _address(self, scope: Scope) -> str:
        """The address that the stream counts for: the peer's where the proxies in front are not known."""
        peer = (scope.get("client") or ("",))[0]
        client = self._proxies.client(peer, headers_of(scope, b"x-forwarded-for"))
        return str(client) if client is not None else peer

    async def _answer(self, scope: Scope, receive: Receive, send: Send, room: Room, place: Place) -> None:
        waits = place.standing is Standing.WAITING
        if not waits and place.standing not in (Standing.ADMITTED, Standing.OFFERED):
            raise no_place(room, place.standing)
        await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
        elif waits:
            with self._streams.listening(room, place) as stream:
                await _go_on(receive, send, room, stream)
        else:
            await _say(send, room, place, News.ADMITTED)


async def _beat(scope: Scope, receive: Receive, send: Send, streams: Streams) -> None:
    """Say as little as a stream of a quiet room: `waitroom doctor` listens whether it is cut on the way."""
    await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
    if scope["method"] == "HEAD":
        await send({"type": "http.response.body", "body": b""})
        return
    gone = asyncio.create_task(_until_gone(receive))
    try:
        for second in range(_BEAT_SECONDS):
            if streams.ending:
                break
            if second % round(BEAT_SECONDS) == 0:
                await send({"type": "http.response.body", "body": _HEARTBEAT, "more_body": True})
            done, _ = await asyncio.wait([gone], timeout=1)
            if done:
                return
        await send({"type": "http.response.body", "body": b"event: reconnect\ndata: {}\n\n"})
    finally:
        gone.cancel()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass  # a body, which is of no interest


async def _go_on(receive: Receive, send: Send, room: Room, stream: Stream) -> None:
    """Say what there is to be said until the last word, or until the visitor is gone or reads no more."""
    leaving = asyncio.create_task(_note_leaving(receive, stream))
    news = News.PLACE
    try:
        await _say(send, room, stream.place, news, first=True)
        while news not in LAST:
            news = await stream.news(room)
            if news is not News.GONE:
                await _say(send, room, stream.place, news)
    except TimeoutError:
        # Left unfinished, so that the server closes the connection, and soon drops what it holds.
        metrics.STREAMS_DROPPED.inc()
        logger.info("room %s: an event stream is dropped, its visitor does not read it", room.name)
    finally:
        leaving.cancel()


async def _note_leaving(receive: Receive, stream: Stream) -> None:
    await _until_gone(receive)
    stream.say(News.GONE)


async def _say(send: Send, room: Room, place: Place, news: News, *, first: bool = False) -> None:
    """Send one event. Raises TimeoutError where the client does not read."""
    text = _text(room, place, news)
    if first or news in LAST:
        text = b"retry: %d\n%s" % (random.randint(*_RETRY_MS), text)  # noqa: S311 - spreads load, no secret # nosec B311
    async with asyncio.timeout(_READ_SECONDS):
        await send({"type": "http.response.body", "body": text, "more_body": news not in LAST})
    _COUNTED[news].inc()


def _text(room: Room, place: Place, news: News) -> bytes:
    if news is News.HEARTBEAT:
        return _HEARTBEAT
    if news is News.PLACE:
        return event(news, place_document(room, place))
    return event(news, {"room": room.name, "state": news.value})


def place_document(room: Room, place: Place) -> dict[str, Any]:
    """The document of a waiting visitor without the ticket, which `status` renews."""
    document = documents.waiting(room, place, ticket="")
    del document["ticket"]
    return document


def event(name: str, document: Mapping[str, Any]) -> bytes:
    """One event. JSON has no line ends, so the data are one line."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(document))


def poll_instead(seconds: float, reason: str) -> Problem:
    """The answer to a client that may not have a stream. `seconds` is the longest that it may stay away."""
    detail = f"{reason}: poll the status instead, as often as it says"
    return Problem(503, "poll-instead", "Poll instead", detail, headers=(retry_after(seconds),))


_COUNTED: Final[dict[News, Counter]] = {
    news: metrics.STREAM_EVENTS.labels(news.value) for news in News if news is not News.GONE
}
