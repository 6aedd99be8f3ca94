"""Where the middleware stands: added by the framework, below a path, or behind a proxy that takes one off."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi import FastAPI
from fastapi.exceptions import FastAPIDeprecationWarning
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.asgi.apps import bare_origin, fastapi_origin
from tests.asgi.running import gated, visiting
from tests.web.sites import SIGNING_KEY, Site, running
from waitroom.asgi import WaitroomGate
from waitroom.errors import SettingsError

pytestmark = pytest.mark.usefixtures("unhurried")

NewRoom = Callable[..., str]


@pytest.fixture
def room(site: Site, new_room: NewRoom) -> str:
    """A full room."""
    name = new_room(capacity=1)
    site.pass_of_new(name)
    return name


@pytest.mark.parametrize("mode", ["server", "redis"])
def test_added_by_the_framework(site: Site, new_room: NewRoom, mode: str) -> None:
    """As `app.add_middleware`; a wrong argument is told at the start."""
    room, origin = new_room(capacity=1), fastapi_origin()
    assert isinstance(origin.app, FastAPI)
    if mode == "server":
        origin.app.add_middleware(WaitroomGate, room=room, server=site.url)
    else:
        url = f"unix://{site.redis.connection_pool.connection_kwargs['path']}"
        origin.app.add_middleware(WaitroomGate, room=room, redis_url=url, signing_keys=[SIGNING_KEY])
    with running(origin.app) as url, visiting(url) as visitor:
        assert visitor.get("/x").json()["path"] == "/x"
        visitor.cookies.clear()
        assert visitor.get("/x").status_code == 303
        assert visitor.get(f"/v1/rooms/{room}").status_code == 200
    assert len(origin.seen) == 1
    wrong = FastAPI()
    wrong.add_middleware(WaitroomGate, room="Shop", server=site.url)
    with pytest.raises(SettingsError, match="room: must be"):
        wrong.build_middleware_stack()


def test_behind_a_proxy_that_takes_a_path_off(site: Site, room: str) -> None:
    """Visitors come back to where they were; exemptions are those of the application's own paths."""
    origin = bare_origin()
    gate = gated("server", origin.app, room, site, exempt=["/healthz"])
    with running(gate, root_path="/api") as url, visiting(url) as visitor:
        assert visitor.get("/x?a=1").headers["location"] == f"/wait/{room}?return=%2Fapi%2Fx%3Fa%3D1"
        assert visitor.get("/api/healthz").status_code == 303
        assert visitor.get("/healthz").status_code == 200
        assert "You are number" in visitor.get(f"/wait/{room}").text
    assert origin.seen == [("GET", "/api/healthz")]


def test_below_a_path(site: Site, room: str) -> None:
    """The room guards what is below it, whatever is in the path; beside it nothing is guarded."""
    origin = bare_origin()
    gate = gated("server", origin.app, room, site, exempt=["/healthz"])
    with running(Starlette(routes=[Mount("/{shop}/inner", gate)])) as url, visiting(url) as visitor:
        assert visitor.get("/a/inner/x").headers["location"] == f"/wait/{room}?return=%2Fa%2Finner%2Fx"
        assert visitor.get("/%5Ca/inner/x").headers["location"] == f"/wait/{room}?return=%2F"
        assert visitor.get("/a/healthz").status_code == 404
        assert visitor.get("/a/inner/healthz").status_code == 200
        assert visitor.get("/a/inner/inner/healthz").status_code == 303
    assert len(origin.seen) == 1


def test_a_framework_that_is_told_of_a_path_taken_off(site: Site, room: str) -> None:
    """FastAPI's own `root_path`, which stands in no path."""
    with pytest.warns(FastAPIDeprecationWarning):
        app = FastAPI(root_path="/api")
    app.add_middleware(WaitroomGate, room=room, server=site.url, exempt=["/healthz"])
    app.add_api_route("/healthz", lambda: "well")
    with running(app) as url, visiting(url) as visitor:
        assert visitor.get("/x").headers["location"] == f"/wait/{room}?return=%2Fapi%2Fx"
        assert visitor.get("/healthz").json() == "well"
