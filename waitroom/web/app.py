"""The application: which address leads where, and which error becomes which answer."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from waitroom import metrics
from waitroom.errors import Full, Overloaded, RoomBroken, RoomUnknown, Unavailable
from waitroom.instance import Instance
from waitroom.web import openapi
from waitroom.web.gate import Gate
from waitroom.web.operators import Operators
from waitroom.web.probes import Alive, Metrics, Ready
from waitroom.web.visitors import Enter, Leave, PublicRoom, Status, retry_after
from waitroom.web.wait import Asset, Wait
from waitroom.web.wire import Header, Problem

logger = logging.getLogger(__name__)

#: Seconds after which a client may try again what Redis or the instance could not do.
_TRY_AGAIN_SECONDS = 2.0


class _ExactRoute(Route):
    """A route whose pattern ends where the path ends: Starlette's also matches before a final line break."""

    def __init__(self, path: str, endpoint: Callable[..., Any], *, methods: list[str] | None, name: str) -> None:
        super().__init__(path, endpoint, methods=methods, name=name)
        self.path_regex = re.compile(self.path_regex.pattern.removesuffix("$") + r"\Z")


Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def create_app(instance: Instance, *, lifespan: Lifespan | None = None) -> Starlette:
    """The application of one instance. `lifespan` runs what works in the background."""
    app = Starlette(
        routes=routes(instance),
        lifespan=lifespan or _idle,
        exception_handlers={
            Problem: _problem,
            RoomUnknown: _room_unknown,
            Full: _full,
            Overloaded: _overloaded,
            Unavailable: _unavailable,
            RoomBroken: _room_broken,
            HTTPException: _http_exception,
            Exception: _unexpected,
        },
    )
    # /v1/rooms/shop/ is another address than /v1/rooms/shop, and no room of ours.
    app.router.redirect_slashes = False
    return app


def routes(instance: Instance) -> list[Route]:
    """Every address that is answered, the hot ones first."""
    enter, operators = Enter(instance), Operators(instance)
    admin = operators.endpoint
    return [
        _ExactRoute("/gate/{room}", Gate(instance), methods=None, name="gate"),
        _ExactRoute("/v1/rooms/{room}/status", Status(instance), methods=["GET"], name="status"),
        _ExactRoute("/v1/rooms/{room}/enter", enter, methods=["POST"], name="enter"),
        _ExactRoute("/v1/rooms/{room}/leave", Leave(instance), methods=["POST"], name="leave"),
        _ExactRoute("/v1/rooms/{room}", PublicRoom(instance), methods=["GET"], name="room"),
        _ExactRoute("/wait/_assets/{name}", Asset(), methods=["GET"], name="asset"),
        _ExactRoute("/wait/{room}", Wait(enter), methods=["GET"], name="wait"),
        _ExactRoute("/admin/rooms", admin(operators.list_rooms), methods=["GET"], name="list_rooms"),
        _ExactRoute("/admin/rooms/{room}", admin(operators.read), methods=["GET"], name="read_room"),
        _ExactRoute("/admin/rooms/{room}", admin(operators.put), methods=["PUT"], name="put_room"),
        _ExactRoute("/admin/rooms/{room}", admin(operators.patch), methods=["PATCH"], name="patch_room"),
        _ExactRoute("/admin/rooms/{room}", admin(operators.delete), methods=["DELETE"], name="delete_room"),
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
