"""Whether an event stream comes through: at once, unbroken, and for as long as it lasts."""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping
from http.client import HTTPException
from typing import Final

from waitroom.checks.finding import Finding
from waitroom.checks.site.ending import ENDING
from waitroom.checks.site.gate import CALL
from waitroom.checks.site.line import SILENCE, Answer, Site
from waitroom.checks.site.visit import document, fresh

#: Seconds within which the first words must come, and those within which a quiet stream says something.
_FIRST_SECONDS: Final = 5.0
_QUIET_SECONDS: Final = 15.0

#: Events after which an instance itself ends a stream.
_LAST: Final = (b"event: admitted", b"event: over", b"event: reconnect")

_TIME_OUTS: Final = (
    "In nginx give the location of the streams `proxy_read_timeout 5m;`, as waitroom-locations.conf does. In every "
    "load balancer and CDN in front allow more than 15 s of silence, and 10 minutes for the whole."
)
_BUFFERS: Final = (
    "Turn off what collects or compresses answers on the way: `proxy_buffering off; gzip off;` in nginx for "
    "/v1/rooms/ROOM/events, and the same in every proxy or CDN in front."
)
_VERSION: Final = (
    'In nginx put `proxy_http_version 1.1; proxy_set_header Connection "";` into the location of the streams.'
)


def examine(site: Site, room: str, headers: Mapping[str, str], *, listen_seconds: float, by_key: bool) -> Finding:
    """Listen to a stream. `headers` open it: a waiting visitor's cookies, or the doctor's question (`by_key`)."""
    path = f"/v1/rooms/{room}/events"
    try:
        latency = _latency(site, room)
    except SILENCE as error:
        return Finding("streams", "unknown", f"the site does not answer: {error}", "Ask again.")
    ENDING.rest()
    began = time.monotonic() + latency
    sent = {"Accept": "text/event-stream", "Accept-Encoding": "gzip, deflate", **headers}
    opened = site.opened("GET", path, sent, seconds=max(listen_seconds, _FIRST_SECONDS * 2))
    heard: list[float] = []
    text, status = b"", 0
    try:
        with opened as (response, _, link):
            status = response.status
            if status != 200 or response.headers.get_content_type() != "text/event-stream":
                body = response.read(16_384)
                return _no_stream(path, Answer(status, dict(response.getheaders()), body=body))
            packed = zlib.decompressobj(47) if response.headers.get("Content-Encoding") else None
            while not heard or time.monotonic() - began < listen_seconds:
                words = response.read1(4096)
                if not words:
                    break
                heard.append(time.monotonic() - began)
                text += packed.decompress(words) if packed else words
                # The first word may take longer than to listen for so long. Further ones may not.
                link.settimeout(max(listen_seconds - heard[-1], 0.01))
            else:
                return _held(heard, listen_seconds)
    except TimeoutError:
        pass
    except (OSError, HTTPException, zlib.error) as error:
        if status == 0:
            return _fail(f"{path} does not answer: {error or type(error).__name__}", "", _TIME_OUTS)
    return _ended(path, heard, text, time.monotonic() - began, listen_seconds, by_key=by_key)


def _latency(site: Site, room: str) -> float:
    """Seconds that an answer takes which nothing holds back. Raises one of SILENCE."""
    began = time.monotonic()
    site.ask("GET", fresh(f"/v1/rooms/{room}"), CALL)
    return time.monotonic() - began


def _held(heard: list[float], seconds: float) -> Finding:
    if heard[0] > _FIRST_SECONDS:
        return _held_back(f"the first words came after {heard[0]:.1f} s")
    return Finding("streams", "ok", f"a stream was held for {seconds:.0f} s and {len(heard)} word(s) came")


def _ended(path: str, heard: list[float], text: bytes, after: float, wanted: float, *, by_key: bool) -> Finding:
    if not heard and after > _FIRST_SECONDS:
        return _held_back(f"{path}: 200, and not a word in {after:.1f} s")
    if heard and heard[0] > _FIRST_SECONDS:
        return _held_back(f"the first words came after {heard[0]:.1f} s, the stream ended after {after:.1f} s")
    if any(last in text for last in _LAST):
        told = f"a stream ended by itself after {after:.1f} s"
        if after > _QUIET_SECONDS + 2 or by_key:
            return Finding("streams", "ok", told)
        return Finding("streams", "unknown", f"{told}, since the visitor's turn came", NEEDS)
    if after >= wanted and heard:
        if after - heard[-1] <= _QUIET_SECONDS + 3:
            return _held(heard, wanted)
        return _held_back(f"{path}: nothing came between {heard[-1]:.1f} s and {after:.1f} s")
    return _fail(
        f"{path} was cut after {after:.1f} s",
        "A time-out in front of the instances is shorter than the silence between two heartbeats, or limits the whole.",
        _TIME_OUTS,
    )


#: What it takes to try streams.
NEEDS: Final = (
    "Give the admin key (--admin-key-file FILE or WAITROOM_ADMIN_KEY), or ask while the room is paused, so that the "
    "doctor's visitor waits: waitroom room pause ROOM."
)


def _no_stream(path: str, answer: Answer) -> Finding:
    detail = str(document(answer).get("detail", ""))
    told = f"{path}: {answer.status}{' ' + detail if detail else ''}"
    if "HTTP/1.1" in detail:
        return _fail(told, "The proxy asks the instances by HTTP/1.0, which has no streams.", _VERSION)
    if answer.status == 503 and detail:
        remedy = "Visitors poll meanwhile, which is sound. For streams raise max_streams, or see why so many are open."
        return Finding("streams", "unknown", told, remedy)
    if answer.status in (401, 410):
        return Finding("streams", "unknown", f"{told}: the doctor may not listen", NEEDS)
    if answer.status in (502, 503, 504):
        return _fail(told, "The proxy got no beginning of a stream from an instance in time.", _TIME_OUTS)
    remedy = "In nginx put `include waitroom-locations.conf;` into the server: it has the location of the streams."
    return _fail(told, "Something on the way answers in the instances' place.", remedy)


def _held_back(detail: str) -> Finding:
    cause = "Something on the way collects the events before it hands them on."
    return _fail(detail, cause, _BUFFERS)


def _fail(detail: str, cause: str, remedy: str) -> Finding:
    return Finding("streams", "fail", detail, remedy, cause)
