"""The application: which address leads where, and which error becomes which answer.

The gate, `enter` and `status` are found by one look at the path. Starlette's router and the layers around it, which
would take as long again as all that `enter` does itself, serve everything else, and whatever is not exactly such a
request.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from waitroom import metrics
from waitroom.errors import Full, Overloaded, RoomBroken, RoomUnknown, Unavailable, WaitroomError
from waitroom.web import openapi
from waitroom.web.admin.rooms import Operators
from waitroom.web.events import Events
from waitroom.web.forward import ForwardAuth
from waitroom.web.gate import Gate
from waitroom.web.instance import Instance
from waitroom.web.page.wait import Asset, Wait
from waitroom.web.probes import Alive, Metrics, Ready
from waitroom.web.visitors import Enter, Leave, PublicRoom, Status
from waitroom.web.wire import Header, Problem, respond, retry_after

logger = logging.getLogger(__name__)

#: Seconds after which a client may try again what Redis or the instance could not do.
_TRY_AGAIN_SECONDS = 2.0


class _ExactRoute(Route):
    """A route whose pattern ends where the path ends: Starlette's also matches before a final line break."""

    def __init__(self, path: str, endpoint: Callable[..., Any], *, methods: list[str] | None, name: str) -> None:
        super().__init__(path, endpoint, methods=methods, name=name)
        self.path_regex = re.compile(self.path_regex.pattern.removesuffix("$") + r"\Z", re.DOTALL)


Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]

#: The paths of the hot addresses; the second group is empty for the gate.
_HOT_PATH: Final = re.compile(r"/(?:v1/rooms/([^/]+)/(enter|status)|gate/([^/]+))\Z")


class Application(Starlette):
    """The application of one instance. `lifespan` runs what works in the background."""

    def __init__(self, instance: Instance, *, lifespan: Lifespan | None = None) -> None:
        super().__init__(routes=routes(instance), lifespan=lifespan or _idle, exception_handlers=_ANSWERS)
        # /v1/rooms/shop/ is another address than /v1/rooms/shop, and no room of ours.
        self.router.redirect_slashes = False
        hot = {route.name: route for route in self.routes if isinstance(route, Route)}
        self._gate: ASGIApp = hot["gate"].app
        self._calls = {("POST", "enter"): hot["enter"].app, ("GET", "status"): hot["status"].app}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or run the lifespan."""
        endpoint = self._hot_endpoint(scope)
        if endpoint is None:
            await super().__call__(scope, receive, send)
            return
        try:
            await endpoint(scope, receive, send)
        except Problem as problem:
            # A full room refuses a flood: that must not cost more than to take it.
            await respond(
                *(send, problem.status, problem.body()),
                headers=problem.headers,
                content_type=b"application/problem+json",
            )
        except Exception as error:
            response = await _answer_to(error, Request(scope))
            await response(scope, receive, send)
            if not isinstance(error, WaitroomError):
                raise  # as Starlette does: the server logs it

    def _hot_endpoint(self, scope: Scope) -> ASGIApp | None:
        """The endpoint of a hot address, with the room's name in the scope as the router would leave it; else None."""
        found = _HOT_PATH.match(scope["path"]) if scope["type"] == "http" and not scope.get("root_path") else None
        if found is None:
            return None
        room, call, gated = found.groups()
        scope["path_params"] = {"room": room or gated}
        return self._gate if gated else self._calls.get((scope["method"], call))


def routes(instance: Instance) -> list[Route]:
    """Every address that is answered, the hot ones first."""
    enter, status, operators = Enter(instance), Status(instance), Operators(instance)
    admin = operators.endpoint
    gate = Gate(instance)
    forward = ForwardAuth(gate)
    return [
        _ExactRoute("/gate/{room}", gate, methods=None, name="gate"),
        _ExactRoute("/forward-auth/{room}", forward, methods=None, name="forward_auth"),
        _ExactRoute("/forward-auth/{room}/{tail:path}", forward, methods=None, name="forward_auth_below"),
        _ExactRoute("/v1/rooms/{room}/status", status, methods=["GET"], name="status"),
        _ExactRoute("/v1/rooms/{room}/enter", enter, methods=["POST"], name="enter"),
        _ExactRoute("/v1/rooms/{room}/leave", Leave(instance), methods=["POST"], name="leave"),
        _ExactRoute("/v1/rooms/{room}/events", Events(instance, status), methods=["GET"], name="events"),
        _ExactRoute("/v1/rooms/{room}", PublicRoom(instance), methods=["GET"], name="room"),
        _ExactRoute("/wait/_assets/{name}", Asset(), methods=["GET"], name="asset"),
        _ExactRoute("/wait/{room}", Wait(enter, instance.streams), methods=["GET"], name="wait"),
        _ExactRoute("/admin/rooms", admin(operators.list_rooms), methods=["GET"], name="list_rooms"),
        _ExactRoute("/admin/rooms/{room}", admin(operators.read), methods=["GET"], name="read_room"),
        _ExactRoute("/admin/rooms/{room}", admin(operators.put), methods=["PUT"], name="put_room"),
        _ExactRoute("/admin/rooms/{room}", admin(operators.patch), methods=["PATCH"], name="patch_room"),
        _ExactRoute("/admin/rooms/{room}", admin(operators.delete), methods=["DELETE"], name="delete_room"),
        _ExactRoute("/admin/rooms/{room}/revoke", admin(operators.revoke), methods=["POST"], name="revoke_room"),
        *(
            _ExactRoute(f"/admin/rooms/{{room}}/{command}", admin(handle), methods=["POST"], name=f"{command}_room")
            for command, handle in operators.commands()
        ),
        _ExactRoute("/livez", Alive(), methods=["GET"], name="livez"),
        _ExactRoute("/readyz", Ready(instance), methods=["GET"], name="readyz"),
        _ExactRoute("/metrics", Metrics(instance), methods=["GET"], name="metrics"),
        _ExactRoute("/openapi.json", openapi.Document(), methods=["GET"], name="openapi"),
    ]


@asynccontextmanager
async def _idle(_app: Starlette) -> AsyncIterator[None]:
    yield


def _answer(problem: Problem, *headers: Header) -> Response:
    response = Response(problem.body(), problem.status, media_type="application/problem+json")
    response.raw_headers += [(b"cache-control", b"no-store"), *problem.headers, *headers]
    return response


def _again(slug: str, title: str, detail: str = "") -> Response:
    return _answer(Problem(503, slug, title, detail, headers=(retry_after(_TRY_AGAIN_SECONDS),)))


async def _problem(_request: Request, error: Any) -> Response:
    return _answer(error)


async def _room_unknown(_request: Request, _error: Exception) -> Response:
    return _answer(Problem(404, "room-unknown", "No such room"))


async def _full(_request: Request, _error: Exception) -> Response:
    return _again("full", "The wait queue is full", "the store takes nobody new for now")


async def _overloaded(_request: Request, _error: Exception) -> Response:
    metrics.OVERLOADED.inc()
    return _again("overloaded", "Too many requests at once")


async def _unavailable(_request: Request, _error: Exception) -> Response:
    return _again("unavailable", "The queue cannot be reached", "places are kept; try again")


async def _room_broken(_request: Request, error: Exception) -> Response:
    logger.error("%s", error)
    return _again("degraded", "The room cannot be served", "its operator has been told; places are kept")


async def _http_exception(_request: Request, error: Any) -> Response:
    status = HTTPStatus(error.status_code)
    slug = status.phrase.lower().replace(" ", "-")
    headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
    return _answer(Problem(status.value, slug, status.phrase), *headers)


async def _unexpected(_request: Request, _error: Exception) -> Response:
    # Starlette raises the error again after this answer, and the server logs it.
    return _answer(Problem(500, "internal", "Internal error"))


_ANSWERS: Final[dict[Any, Callable[[Request, Any], Awaitable[Response]]]] = {
    Problem: _problem,
    RoomUnknown: _room_unknown,
    Full: _full,
    Overloaded: _overloaded,
    Unavailable: _unavailable,
    RoomBroken: _room_broken,
    HTTPException: _http_exception,
    Exception: _unexpected,
}


async def _answer_to(error: Exception, request: Request) -> Response:
    """What is answered where that error was raised: by its kind, the most specific first."""
    kind = next(kind for kind in type(error).__mro__ if kind in _ANSWERS)
    return await _ANSWERS[kind](request, error)
