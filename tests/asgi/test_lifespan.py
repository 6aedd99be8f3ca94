"""The keeper begins and ends with the application, in whichever way that is started, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from redis import Redis
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message

from rig.waiting import until
from tests.asgi.apps import bare_origin, django_origin, fastapi_origin, starlette_origin
from tests.asgi.running import fetch, told
from tests.web import sites
from tests.web.sites import SIGNING_KEY, running
from waitroom.asgi import WaitroomGate
from waitroom.serve.assemble import assemble
from waitroom.settings.server import ServerSettings
from waitroom.web.instance import Instance

pytestmark = pytest.mark.usefixtures("unhurried")


@dataclass
class Stage:
    """A Redis that nobody but the application uses, so that its connections can be counted, and a server."""

    redis_url: str
    redis: Redis
    server_url: str

    def gated(self, mode: str, app: ASGIApp) -> WaitroomGate:
        """The application behind a gate."""
        if mode == "server":
            return WaitroomGate(app, room="shop", server=self.server_url)
        return WaitroomGate(
            app, room="shop", redis_url=self.redis_url, signing_keys=[SIGNING_KEY], redis_timeout_seconds=5.0
        )

    def connections(self) -> int:
        """How many the application has; one is ours."""
        return len(self.redis.client_list()) - 1

    def await_end(self) -> None:
        """Until it has none."""
        until(lambda: self.connections() == 0, what="the end of its connections")


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Both."""
    with (
        sites.own_redis() as (url, redis),
        sites.own_redis() as (other, its),
        sites.serving(its, sites.settings_for(other, rooms={"shop": {}})) as site,
    ):
        until(lambda: site.gate("shop").status_code == 204, what="the room")
        yield Stage(url, redis, site.url)


async def lived(gate: ASGIApp) -> list[Message]:
    """What a server hears that starts the application and ends it at once."""
    asked = iter(["lifespan.startup", "lifespan.shutdown"])
    heard: list[Message] = []

    async def receive() -> Message:
        return {"type": next(asked)}

    async def send(message: Message) -> None:
        heard.append(message)

    await gate({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    return heard


def kinds(heard: list[Message]) -> list[str]:
    """The types of the messages, without their common beginning."""
    return [message["type"].removeprefix("lifespan.") for message in heard]


@pytest.mark.parametrize("mode", ["server", "redis"])
@pytest.mark.parametrize("lifespan", ["on", "off"])
def test_a_server_starts_and_ends_it(stage: Stage, mode: str, lifespan: str) -> None:
    """The application's own lifespan runs inside; without one the first request opens, the loop's end closes."""
    origin = starlette_origin()
    with running(stage.gated(mode, origin.app), lifespan=lifespan) as url:
        assert fetch("GET", f"{url}/x").status_code == 200
        assert origin.lived == (["began"] if lifespan == "on" else [])
        if mode == "redis":
            assert stage.connections() > 0
    assert origin.lived == (["began", "ended"] if lifespan == "on" else [])
    stage.await_end()


@pytest.mark.parametrize("make", [starlette_origin, fastapi_origin, django_origin, bare_origin])
@pytest.mark.parametrize("mode", ["server", "redis"])
async def test_with_and_without_a_lifespan_of_its_own(stage: Stage, mode: str, make: Callable[[], Any]) -> None:
    """Django and the like refuse it: the server hears of a start and an end all the same."""
    assert kinds(await lived(stage.gated(mode, make().app))) == ["startup.complete", "shutdown.complete"]
    assert asyncio.all_tasks() == {asyncio.current_task()}
    stage.await_end()


async def test_a_waiting_room_that_cannot_be_opened_is_a_failed_start(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not an application without a lifespan: the server must not go on without the application's own startup."""

    def failing(_: ServerSettings) -> Instance:
        raise ValueError("made up")

    origin = starlette_origin()
    gate = stage.gated("redis", origin.app)
    monkeypatch.setattr("waitroom.asgi.instance.assemble", failing)
    (heard,) = await lived(gate)
    assert heard["type"] == "lifespan.startup.failed"
    assert "made up" in heard["message"]
    assert origin.lived == []


async def test_an_application_that_cannot_start_says_so_itself(stage: Stage) -> None:
    """Its failure goes on to the server, and the keeper is closed."""

    @asynccontextmanager
    async def failing(_app: Starlette) -> AsyncIterator[None]:
        if stage.redis_url:
            raise RuntimeError("no database")
        yield

    heard: list[Message] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        heard.append(message)

    gate = stage.gated("redis", Starlette(lifespan=failing))
    with pytest.raises(RuntimeError, match="no database"):
        await gate({"type": "lifespan", "state": {}}, receive, send)
    assert kinds(heard) == ["startup.failed"]
    assert asyncio.all_tasks() == {asyncio.current_task()}
    stage.await_end()


@pytest.mark.parametrize("mode", ["server", "redis"])
def test_several_loops_one_after_another(stage: Stage, mode: str) -> None:
    """As tests do it: each loop gets a keeper of its own, which ends with it."""
    origin = bare_origin()
    gate = stage.gated(mode, origin.app)
    for number in range(1, 4):
        assert asyncio.run(told(gate))[0]["status"] == 200
        assert len(origin.seen) == number
        stage.await_end()
    assert kinds(asyncio.run(lived(gate))) == ["startup.complete", "shutdown.complete"]


async def test_first_requests_at_once_open_one(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that is cancelled does not take it from the others."""
    opened: list[Instance] = []

    def noting(settings: ServerSettings) -> Instance:
        opened.append(assemble(settings))
        return opened[-1]

    monkeypatch.setattr("waitroom.asgi.instance.assemble", noting)
    origin = bare_origin()
    gate = stage.gated("redis", origin.app)
    asking = [asyncio.create_task(told(gate)) for _ in range(20)]
    await asyncio.sleep(0)
    asking[0].cancel()
    answers = await asyncio.gather(*asking[1:])
    assert {sent[0]["status"] for sent in answers} == {200}
    assert len(opened) == 1
    assert len(origin.seen) == 19


async def test_after_an_end_it_can_begin_again(stage: Stage) -> None:
    """A request that comes after the shutdown is still answered, and a second life is like the first."""
    gate = stage.gated("redis", bare_origin().app)
    for _ in range(2):
        assert kinds(await lived(gate)) == ["startup.complete", "shutdown.complete"]
        assert (await told(gate))[0]["status"] == 200
    await lived(gate)
    assert asyncio.all_tasks() == {asyncio.current_task()}
