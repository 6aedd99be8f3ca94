"""One small application under FastAPI, Starlette and Django, and as a bare callable; each notes what reaches it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import django
from django.conf import settings as django_settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import re_path
from fastapi import FastAPI
from fastapi import WebSocket as FastWebSocket
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

#: What the application says of caching; an answer that carries a pass must say otherwise.
CACHING: Final = "public, max-age=60"


@dataclass
class Origin:
    """An application and what has reached it: method and path, and the header names of the last request."""

    app: ASGIApp
    seen: list[tuple[str, str]] = field(default_factory=list)
    headers: set[str] = field(default_factory=set)
    #: What it has begun and ended.
    lived: list[str] = field(default_factory=list)
    #: Lets a stream go on to its second part.
    go_on: threading.Event = field(default_factory=threading.Event)

    def note(self, method: str, path: str, headers: Any) -> None:
        """A request has reached the application."""
        self.seen.append((method, path))
        self.headers = {str(name).lower() for name in headers}

    async def parts(self) -> AsyncIterator[bytes]:
        """A body in two parts, of which the second waits."""
        yield b"first "
        while not self.go_on.is_set():
            await asyncio.sleep(0.01)
        yield b"second"


def starlette_origin() -> Origin:
    """Under Starlette, with a lifespan of its own."""

    async def page(request: Request) -> Response:
        origin.note(request.method, request.url.path, request.headers)
        if request.url.path == "/stream":
            return StreamingResponse(origin.parts())
        if request.url.path == "/boom":
            raise RuntimeError("boom")
        body = {"path": request.url.path, "body": (await request.body()).decode()}
        return JSONResponse(body, 418 if request.url.path == "/teapot" else 200, headers={"Cache-Control": CACHING})

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        origin.lived.append("began")
        yield
        origin.lived.append("ended")

    routes = [WebSocketRoute("/ws", _echo(lambda: origin)), Route("/{path:path}", page, methods=METHODS)]
    origin = Origin(Starlette(routes=routes, lifespan=lifespan))
    return origin


def fastapi_origin() -> Origin:
    """Under FastAPI; an /v1/ of its own beside the room's."""
    app = FastAPI()
    origin = Origin(app)

    @app.websocket("/ws")
    async def echo(websocket: FastWebSocket) -> None:
        await _echo(lambda: origin)(websocket)

    @app.get("/stream")
    async def stream() -> Response:
        return StreamingResponse(origin.parts())

    @app.get("/boom")
    async def boom() -> None:
        raise RuntimeError("boom")

    @app.api_route("/{path:path}", methods=METHODS)
    async def page(path: str, request: Request, response: Response) -> dict[str, str]:
        origin.note(request.method, request.url.path, request.headers)
        response.headers["Cache-Control"] = CACHING
        response.status_code = 418 if path == "teapot" else 200
        return {"path": f"/{path}", "body": (await request.body()).decode()}

    return origin


def django_origin() -> Origin:
    """Under Django, which takes no part in the lifespan protocol and knows no WebSockets."""
    if not django_settings.configured:
        django_settings.configure(
            ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="for tests only", MIDDLEWARE=[], LOGGING_CONFIG=None
        )
        django.setup()
    global _django
    _django = Origin(get_asgi_application())
    return _django


async def _django_page(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    _django.note(request.method or "", request.path, request.headers)
    if request.path == "/stream":
        return StreamingHttpResponse(_django.parts())
    if request.path == "/boom":
        raise RuntimeError("boom")
    body = b'{"path": "%s", "body": "%s"}' % (request.path.encode(), request.body)
    status = 418 if request.path == "/teapot" else 200
    return HttpResponse(body, status=status, headers={"Cache-Control": CACHING, "Content-Type": "application/json"})


_django = Origin(lambda *_: None)  # type: ignore[arg-type]
urlpatterns = [re_path(r".*", _django_page)]


def bare_origin() -> Origin:
    """A callable that answers everything, and does not mind how a path is written."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            raise ValueError("no lifespan here")
        origin.note(scope.get("method", "WEBSOCKET"), scope["path"], (name.decode() for name, _ in scope["headers"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"here"})

    origin = Origin(app)
    return origin


def _echo(origin: Callable[[], Origin]) -> Callable[[WebSocket], Any]:
    async def echo(websocket: WebSocket) -> None:
        origin().note("WEBSOCKET", websocket.url.path, websocket.headers)
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()

    return echo


ORIGINS: Final = {"fastapi": fastapi_origin, "starlette": starlette_origin, "django": django_origin}
