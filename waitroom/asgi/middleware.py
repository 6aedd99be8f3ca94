"""The middleware: each request and WebSocket is let through or refused before the application hears of it.

Only waitroom's own addresses, the application's exempt paths, and the lifespan go past the gate. An error here is
a refusal. An error in the application is left to the server.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from typing import Final, Unpack
from urllib.parse import quote, quote_from_bytes

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from waitroom.asgi import arguments, lifespan
from waitroom.asgi.keeper import Keepers
from waitroom.asgi.paths import ExemptPaths, OwnPaths, plain_path, root_of
from waitroom.errors import Unavailable
from waitroom.web.answers import Problem
from waitroom.web.gate import Decision
from waitroom.web.headers import Header
from waitroom.web.proofs import PASS_HEADER
from waitroom.web.refusals import Refusal, refusal, whole
from waitroom.web.visits import HEADERS, form_of_no

logger = logging.getLogger(__name__)

#: All that the gate is told of a request beside its method (I22).
_FOR_THE_GATE: Final = frozenset({b"cookie", b"user-agent", PASS_HEADER, *(name.encode() for name in HEADERS)})

_NO_ANSWER: Final = Decision(503)

#: Seconds between two lines of the log about an outage.
_QUIET_SECONDS: Final = 10.0

_PRIVATE: Final[Header] = (b"cache-control", b"private, no-store")

#: Printable ASCII but the question mark, which in a path does not begin a query.
_PATH_AS_SENT: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "?")
_QUERY_AS_SENT: Final = _PATH_AS_SENT + "?"


class WaitroomGate:
    """Gates `app` for one `room`: against the waitroom server at `server`, or on the Redis at `redis_url`.

    With `redis_url` the process holds an instance of its own. Then `settings` are those of a server (`signing_keys` is
    needed), and `rooms` the rooms to create, without it the room with its defaults. `exempt` are exact paths and
    `exempt_prefixes` folders that need no pass. Raises SettingsError that names what is wrong.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        room: str,
        server: str | None = None,
        redis_url: str | None = None,
        exempt: Collection[str] = (),
        exempt_prefixes: Collection[str] = (),
        **settings: Unpack[arguments.Settings],
    ) -> None:
        self._app = app
        self._keepers = Keepers(arguments.opening(room, server, redis_url, settings))
        self._room = room
        self._quiet_until = 0.0
        self._own = OwnPaths(room)
        self._exempt = ExemptPaths(*arguments.exemptions(exempt, exempt_prefixes))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application's answer, waitroom's, or a refusal."""
        if scope["type"] == "lifespan":
            await lifespan.live(self._app, self._keepers, scope, receive, send)
        elif scope["type"] not in ("http", "websocket"):
            raise ValueError(f"a connection of the unknown type {scope['type']!r} cannot be gated")
        elif (path := plain_path(scope)) is not None and scope["type"] == "http" and path in self._own:
            await self._serve(scope, path, receive, send)
        elif path is not None and path in self._exempt:
            await self._app(_without_pass(scope), receive, send)
        else:
            await self._gated(scope, receive, send)

    async def _gated(self, scope: Scope, receive: Receive, send: Send) -> None:
        decision = await self._decide(scope)
        if decision.status == 204:
            await self._app(_without_pass(scope), receive, _handing_out(send, decision))
        elif scope["type"] == "http":
            await _refuse(send, self._refusal(scope, decision))
        else:
            await _refuse_websocket(scope, receive, send, self._refusal(scope, decision))

    async def _decide(self, scope: Scope) -> Decision:
        try:
            keeper = await self._keepers.get()
            return await keeper.decide(_told(scope))
        except Unavailable as error:
            self._note_outage(error)
        except Exception:
            logger.exception("room %s: unexpected failure, the request does not go on", self._room)
        return _NO_ANSWER

    async def _serve(self, scope: Scope, path: str, receive: Receive, send: Send) -> None:
        """Answer a visitor's call, from a scope made anew: what frameworks have put into this one is not meant."""
        names = ("type", "asgi", "http_version", "method", "scheme", "query_string", "headers", "client", "server")
        call = {name: scope[name] for name in names if name in scope}
        call |= {"path": path, "raw_path": path.encode("ascii"), "root_path": ""}
        try:
            keeper = await self._keepers.get()
            await keeper.serve(call, receive, send)
        except Problem as problem:
            await _refuse(send, whole(problem))
        except Unavailable as error:
            logger.debug("room %s: a visitor's call was not answered: %s", self._room, error)
            await _refuse(send, self._refusal(scope, _NO_ANSWER))

    def _note_outage(self, error: Unavailable) -> None:
        """Log that there is an outage now and then, not for each request in it."""
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET_SECONDS
            logger.error("room %s: no decision, the request does not go on: %s", self._room, error)

    def _refusal(self, scope: Scope, decision: Decision) -> Refusal:
        return refusal(
            decision.status,
            self._room,
            form=form_of_no(_told(scope)),
            address=_address(scope),
            wait=dict(decision.headers).get(b"retry-after", b""),
        )


def _told(scope: Scope) -> Scope:
    """What the gate is told. A WebSocket has the method that it has in HTTP/2."""
    headers = [line for line in scope["headers"] if line[0] in _FOR_THE_GATE]
    return {"type": "http", "method": scope.get("method", "CONNECT"), "headers": headers}


def _address(scope: Scope) -> str:
    """What was asked for, as it was sent: path and query, percent-encoded."""
    raw, root = scope.get("raw_path"), root_of(scope)
    path = quote_from_bytes(raw, safe=_PATH_AS_SENT) if raw is not None else quote(scope["path"])
    if root and not path.startswith(f"{root}/"):
        # The proxy before the server has taken the root off.
        path = f"{quote(root)}{path}"
    query = quote_from_bytes(scope["query_string"], safe=_QUERY_AS_SENT)
    return f"{path}?{query}" if query else path


def _without_pass(scope: Scope) -> Scope:
    """The pass of clients without cookies is for the gate, not for the application."""
    if not any(name == PASS_HEADER for name, _ in scope["headers"]):
        return scope
    return {**scope, "headers": [line for line in scope["headers"] if line[0] != PASS_HEADER]}


def _handing_out(send: Send, decision: Decision) -> Send:
    """Where a pass was just given or claimed, its cookie goes with the answer, which no cache may keep then."""
    cookies = [line for line in decision.headers if line[0] == b"set-cookie"]
    if not cookies:
        return send

    async def sending(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
            kept = [line for line in message.get("headers", ()) if line[0].lower() != b"cache-control"]
            message = {**message, "headers": [*kept, _PRIVATE, *cookies]}
        await send(message)

    return sending


async def _refuse(send: Send, answer: Refusal, kind: str = "http.response") -> None:
    headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
    await send({"type": f"{kind}.start", "status": answer.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": answer.body})


async def _refuse_websocket(scope: Scope, receive: Receive, send: Send, answer: Refusal) -> None:
    """Before it is accepted: with the whole answer where the server can send one, else its 403."""
    if (await receive())["type"] != "websocket.connect":
        return
    if "websocket.http.response" in (scope.get("extensions") or {}):
        await _refuse(send, answer, "websocket.http.response")
    else:
        await send({"type": "websocket.close", "code": 1008})
