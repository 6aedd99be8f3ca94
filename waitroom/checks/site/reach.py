"""Whether the site answers at all, at which address visitors end up, and which room its gate names."""

from __future__ import annotations

import re
import socket
import ssl
from typing import Final
from urllib.parse import urlsplit

from waitroom.checks.finding import Finding
from waitroom.checks.site.gate import CALL, PAGE, PROOF, judge, without_pass
from waitroom.checks.site.line import SILENCE, Answer, Site
from waitroom.checks.site.visit import Places, document, problem, room_of
from waitroom.model import ROOM_NAME

#: Redirects of the front door that are followed.
_MOST_REDIRECTS: Final = 5

_NAMES_ROOM: Final = re.compile(r'(?:^|["\'])/wait/([a-z0-9][a-z0-9_-]{0,63})(?:[?"\'#]|\Z)')


def arrive(site: Site, target: str, places: Places) -> tuple[Finding, Site]:
    """Where a browser ends up that opens the address: under https, or another name of the same site."""
    led: list[str] = []
    for _ in range(_MOST_REDIRECTS):
        try:
            answer = site.ask("GET", target, PAGE)
        except SILENCE as error:
            return _silent(site, error), site
        places.note(site, answer)
        onward = _front_door(site, answer)
        if onward is None:
            break
        led.append(f"{site.origin} leads to {onward.origin}")
        site = onward
    told = "; ".join([*led, f"{site.origin} answers"])
    return Finding("reach", "ok", told), site


def _front_door(site: Site, answer: Answer) -> Site | None:
    """Where a redirect to https, or to or from `www.`, leads; None for every other answer."""
    if answer.status not in (301, 302, 303, 307, 308):
        return None
    try:
        parts = urlsplit(answer.headers.get("location", ""))
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or host.removeprefix("www.") != site.host.removeprefix("www."):
        return None
    onward = site.at(parts.scheme, host, port)
    upgraded = (site.scheme, onward.scheme) == ("http", "https")
    renamed = onward.host != site.host and onward.scheme == site.scheme
    return onward if upgraded or renamed else None


def _silent(site: Site, error: Exception) -> Finding:
    if isinstance(error, ssl.SSLCertVerificationError):
        detail = f"the certificate of {site.host} is not trusted: {error.verify_message}"
        remedy = "Install the whole chain of the certificate, or name your own authority's certificate: --ca-file FILE."
    elif isinstance(error, ssl.SSLError):
        detail = f"{site.host} port {site.port} does not speak TLS as a browser does: {error.reason or error}"
        remedy = "Ask for the port on which the site speaks https, or with http:// where it does not."
    elif isinstance(error, socket.gaierror):
        detail = f"the name {site.host} leads nowhere: {error.strerror}"
        remedy = "See that the name is in the DNS, or say where the site is: --connect HOST:PORT."
    else:
        detail = f"{site.origin} does not answer: {error or type(error).__name__}"
        remedy = "See that the server runs and that its port can be reached from here, then ask again."
    return Finding("reach", "unknown", detail, remedy)


def find_room(site: Site, targets: list[str], places: Places) -> str:
    """The room that the gate's answers name, or nothing."""
    for target in targets:
        for headers in (PAGE, CALL):
            try:
                answer = without_pass(site, "GET", target, headers)
            except SILENCE:
                continue
            places.note(site, answer)
            if found := _named(answer):
                return found
    return ""


def _named(answer: Answer) -> str:
    for cookie in answer.cookies:
        if match := PROOF.match(cookie):
            return match["room"]
    if room := room_of(answer.headers.get("x-waitroom-pass", "")):
        return room
    told = document(answer)
    if problem(answer) and ROOM_NAME.match(str(told.get("room"))):
        return str(told["room"])
    match = _NAMES_ROOM.search(answer.headers.get("location", ""))
    if match is None and judge(answer)[0] != "gated" and answer.status in (401, 403, 429, 503):
        match = _NAMES_ROOM.search(answer.text)
    return match[1] if match else ""


def examine_room(site: Site, room: str) -> Finding:
    """Whether there is such a room, and whether visitors' calls come to it."""
    try:
        answer = site.ask("GET", f"/v1/rooms/{room}", CALL)
    except SILENCE as error:
        remedy = "See that the proxy passes /v1/ on to the instances, and that they answer."
        return Finding("room", "fail", f"/v1/rooms/{room} does not answer: {error}", remedy)
    told = document(answer)
    if answer.status == 200 and told.get("room") == room:
        return _state(room, told)
    if problem(answer) == "room-unknown":
        return Finding(
            *("room", "fail", f"the instances know no room {room!r}"),
            f"Make it: waitroom room set {room} capacity=50. Or put the right name behind `set $waitroom_room`.",
            "The gate is asked for a room that is not there, and lets no visitor in.",
        )
    if problem(answer) or answer.status in (502, 503, 504):
        remedy = "See that an instance runs and is ready (/readyz), and that the proxy's upstream has its address."
        return Finding("room", "fail", f"/v1/rooms/{room}: {answer.status}, no instance can tell", remedy)
    return Finding(
        *("room", "fail", f"/v1/rooms/{room}: {answer.status}, and not by an instance of waitroom"),
        "In nginx put `include waitroom-locations.conf;` into the server, and take other locations out.",
        "Visitors' calls do not come to the instances.",
    )


def _state(room: str, told: dict[str, object]) -> Finding:
    state = told.get("state")
    seen = f"room {room} is {state}, {told.get('waiting')} wait, {told.get('occupancy')} are inside"
    if state == "closed":
        remedy = f"Open the room, or pause it, while the doctor asks: waitroom room pause {room}."
        return Finding("room", "unknown", f"{seen}: it gives no places, so that most cannot be told", remedy)
    return Finding("room", "ok", seen)
