"""The gate for proxies that hand its answer on to the visitor: Caddy, Traefik, Envoy, HAProxy.

The decision is the gate's. What the proxy says of the request (its address and method) and what the client says of
itself shape the form of a "no", and may keep a request from a free place. They let no request through.
"""

from __future__ import annotations

from typing import Final

from starlette.types import Receive, Scope, Send

from waitroom.model import ROOM_NAME
from waitroom.returns import HOME
from waitroom.web.answers import Problem
from waitroom.web.gate import GO_ON, Decision, Gate
from waitroom.web.headers import NO_STORE, Header, header
from waitroom.web.refusals import refusal
from waitroom.web.visits import HEADERS as OF_THE_REQUEST
from waitroom.web.visits import form_of_no

#: Segments of our own address before the visitor's begins: "", "forward-auth" and the room.
_OWN_SEGMENTS: Final = 3

#: Headers of the visitor's request that an answer depends on: a proxy has to pass them on.
HEADERS: Final = tuple(sorted({*OF_THE_REQUEST, "cookie", "user-agent", "x-waitroom-pass"}))

_VARY: Final[Header] = (b"vary", ", ".join(HEADERS).encode())


class ForwardAuth:
    """Any method on /forward-auth/{room}, or below it: there the rest is the visitor's own path, as Envoy sends it."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """200 go on, 303 a visit to the waiting page, else 401 must wait, 403 revoked, closed, or no such room."""
        name = scope["path_params"]["room"]
        # No such room can be, and what is no name must not get into an address or a page either.
        if not ROOM_NAME.match(name):
            raise Problem(403, "no-entry", "No entry", "there is no such room")
        decision = await self._gate.decide(scope, name)
        if decision.status == GO_ON.status:
            await _go_on(send, decision)
        else:
            await _refuse(scope, send, name, decision)


def requested(scope: Scope) -> str | None:
    """The path and query that the visitor asked for, as they were sent. None where the proxy does not say."""
    below = scope["raw_path"].split(b"/", _OWN_SEGMENTS)[_OWN_SEGMENTS:]
    query = scope["query_string"]
    address = b"/" + below[0] + (b"?" + query if query else b"") if below else header(scope, b"x-forwarded-uri")
    return None if address is None else address.decode("latin-1")


async def _go_on(send: Send, decision: Decision) -> None:
    # Caddy and Traefik take any 2xx for a yes, Envoy only 200.
    await _send(send, 200, [NO_STORE, *decision.headers], b"")


async def _refuse(scope: Scope, send: Send, name: str, decision: Decision) -> None:
    answer = refusal(
        decision.status,
        name,
        form=form_of_no(scope),
        address=requested(scope) or HOME,
        wait=dict(decision.headers).get(b"retry-after", b""),
    )
    await _send(send, answer.status, [*answer.headers, _VARY], answer.body)


async def _send(send: Send, status: int, headers: list[Header], body: bytes) -> None:
    lines = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})
