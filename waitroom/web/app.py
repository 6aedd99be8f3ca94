"""The application: which address leads where.

The gate, `enter` and `status` are found by one look at the path. Starlette's router and the layers around it, which
would take as long again as all that `enter` does itself, serve everything else, also requests that are not exactly of
that form. What endpoints raise is answered by the same table for all of them.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from waitroom.errors import WaitroomError
from waitroom.web import openapi
from waitroom.web.admin.calls import AdminCall, Handler
from waitroom.web.admin.key import AdminKey
from waitroom.web.admin.rooms import RoomAdmin
from waitroom.web.answers import ANSWERS, PROBLEM_JSON, Problem, problem_of
from waitroom.web.arrivals import Reception
from waitroom.web.events import Events
from waitroom.web.forward import ForwardAuth
from waitroom.web.gate import Gate
from waitroom.web.headers import NO_STORE
from waitroom.web.instance import Instance
from waitroom.web.page.files import Files
from waitroom.web.probes import Alive, Metrics, Ready
from waitroom.web.seen import Seen
from waitroom.web.visitors import Enter, Leave, PublicRoom, Status
from waitroom.web.wait import Wait
from waitroom.web.wire import respond


class _ExactRoute(Route):
    """A route with a pattern that ends where the path ends: Starlette's also matches before a final line break."""

    def __init__(self, path: str, endpoint: ASGIApp, *, methods: list[str] | None, name: str) -> None:
        super().__init__(path, endpoint, methods=methods, name=name)
        self.path_regex = re.compile(self.path_regex.pattern.removesuffix("$") + r"\Z", re.DOTALL)


Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]

#: The paths of the hot addresses. The second group is empty for the gate.
_HOT_PATH: Final = re.compile(r"/(?:v1/rooms/([^/]+)/(enter|status)|gate/([^/]+))\Z")


class Application(Starlette):
    """The application of one `instance`. `lifespan` runs what works in the background."""

    def __init__(self, instance: Instance, *, lifespan: Lifespan | None = None) -> None:
        self.instance = instance
        answered = dict.fromkeys((Problem, *ANSWERS), _answered)
        super().__init__(routes=routes(instance), lifespan=lifespan or _idle, exception_handlers=answered)
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
        except Exception as error:
            # A full room refuses a flood: that must not cost more than to take it. So no name here may keep the error:
            # its traceback holds this frame, and objects that hold each other wait for the garbage collector.
            await _told(send, problem_of(error))
            if not isinstance(error, WaitroomError):
                raise  # as Starlette does: the server logs it

    def _hot_endpoint(self, scope: Scope) -> ASGIApp | None:
        """The endpoint of a hot address, with the room's name in the scope as the router would leave it, else None."""
        found = _HOT_PATH.match(scope["path"]) if scope["type"] == "http" and not scope.get("root_path") else None
        if found is None:
            return None
        room, call, gated = found.groups()
        scope["path_params"] = {"room": room or gated}
        return self._gate if gated else self._calls.get((scope["method"], call))


def _told(send: Send, problem: Problem) -> Awaitable[None]:
    """Send a problem."""
    return respond(send, problem.status, problem.body(), headers=problem.headers, content_type=PROBLEM_JSON)


async def _answered(_request: Request, error: Exception) -> Response:
    """The same answer where Starlette catches the error."""
    problem = problem_of(error)
    response = Response(problem.body(), problem.status, media_type=PROBLEM_JSON.decode())
    response.raw_headers += [NO_STORE, *problem.headers]
    return response


def routes(instance: Instance) -> list[Route]:
    """Every address that is answered, the hot ones first."""
    gate, reception, rooms = Gate(instance), Reception(instance), RoomAdmin(instance)
    forward, key = ForwardAuth(gate), AdminKey(instance.settings.admin_key)
    wait = Wait(instance, reception)

    def admin(handle: Handler) -> AdminCall:
        return AdminCall(key, handle)

    table: list[tuple[str, str | None, str, ASGIApp]] = [
        ("gate", None, "/gate/{room}", gate),
        ("forward_auth", None, "/forward-auth/{room}", forward),
        ("forward_auth_below", None, "/forward-auth/{room}/{tail:path}", forward),
        ("status", "GET", "/v1/rooms/{room}/status", Status(instance)),
        ("enter", "POST", "/v1/rooms/{room}/enter", Enter(instance, reception)),
        ("leave", "POST", "/v1/rooms/{room}/leave", Leave(instance)),
        ("events", "GET", "/v1/rooms/{room}/events", Events(instance)),
        ("seen", "GET", "/v1/rooms/{room}/seen", Seen(instance)),
        ("room", "GET", "/v1/rooms/{room}", PublicRoom(instance.rooms)),
        ("asset", "GET", "/wait/_assets/{name}", Files(instance.pages)),
        ("wait", "GET", "/wait/{room}", wait),
        ("accept", "POST", "/wait/{room}", wait),
        ("list_rooms", "GET", "/admin/rooms", admin(rooms.list_rooms)),
        ("read_room", "GET", "/admin/rooms/{room}", admin(rooms.read)),
        ("put_room", "PUT", "/admin/rooms/{room}", admin(rooms.put)),
        ("patch_room", "PATCH", "/admin/rooms/{room}", admin(rooms.patch)),
        ("delete_room", "DELETE", "/admin/rooms/{room}", admin(rooms.delete)),
        ("revoke_room", "POST", "/admin/rooms/{room}/revoke", admin(rooms.revoke)),
        ("pause_room", "POST", "/admin/rooms/{room}/pause", admin(rooms.pause)),
        ("resume_room", "POST", "/admin/rooms/{room}/resume", admin(rooms.resume)),
        ("close_room", "POST", "/admin/rooms/{room}/close", admin(rooms.close)),
        ("livez", "GET", "/livez", Alive()),
        ("readyz", "GET", "/readyz", Ready(instance)),
        ("metrics", "GET", "/metrics", Metrics(instance.rooms)),
        ("openapi", "GET", "/openapi.json", openapi.Document()),
    ]
    return [
        _ExactRoute(path, endpoint, methods=[method] if method else None, name=name)
        for name, method, path, endpoint in table
    ]


@asynccontextmanager
async def _idle(_app: Starlette) -> AsyncIterator[None]:
    yield
