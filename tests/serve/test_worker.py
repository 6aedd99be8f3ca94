"""A server process: its settings, its background work, its end."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from rig.waiting import until
from tests.web import sites
from waitroom.errors import Unavailable
from waitroom.rooms.registry import Rooms
from waitroom.serve import worker
from waitroom.serve.assemble import assemble
from waitroom.serve.work import working
from waitroom.settings.server import ServerSettings
from waitroom.store import keys


@pytest.fixture
def settings() -> Iterator[ServerSettings]:
    """Complete settings on a Redis of one's own."""
    with sites.own_redis() as (url, _):
        yield sites.settings_for(url, rooms={"shop": {}})


@pytest.fixture
def quiet_logging() -> Iterator[None]:
    """Put the logging back that a server process sets up for itself."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


async def running(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application while its background work runs."""
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://a") as client:
        yield client


async def test_rooms_are_known_before_the_first_request(settings: ServerSettings) -> None:
    """As soon as the application has started its rooms are there."""
    async for client in running(worker.build(settings)):
        assert (await client.post("/v1/rooms/shop/enter")).status_code == 200


class Hesitant(Rooms):
    """Rooms that cannot be read at the first try."""

    tries = 0

    async def refresh(self, *, in_part: bool = True) -> None:
        self.tries += 1
        if self.tries == 1:
            raise Unavailable("a moment of trouble")
        await super().refresh(in_part=in_part)


async def test_rooms_are_looked_for_again_before_the_first_request(settings: ServerSettings) -> None:
    """A moment of trouble with Redis does not make an instance serve without knowing any room."""
    instance = assemble(settings)
    rooms = Hesitant(instance.store, settings.rooms)
    async with working(replace(instance, rooms=rooms)):
        assert rooms.get("shop").name == "shop"
        assert rooms.tries == 2


async def test_the_lease_is_given_back_at_the_end(settings: ServerSettings) -> None:
    """An instance that stops leaves no leader behind, so that another one leads at once."""
    for _ in range(2):
        async for client in running(worker.build(settings)):
            async with asyncio.timeout(settings.lease_seconds):
                while not await _leads(client):
                    await asyncio.sleep(0.02)


async def _leads(client: httpx.AsyncClient) -> bool:
    return "waitroom_leader 1.0" in (await client.get("/metrics")).text


async def test_nothing_runs_on_after_the_end(settings: ServerSettings) -> None:
    """With the application its tasks end and its connections close."""
    before = asyncio.all_tasks()
    async for client in running(worker.build(settings)):
        await client.post("/v1/rooms/shop/enter")
        assert len(asyncio.all_tasks()) > len(before)
    assert asyncio.all_tasks() == before


@pytest.mark.usefixtures("quiet_logging")
def test_a_worker_takes_its_settings_from_the_environment(
    settings: ServerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `serve` left is read back whole, keys too."""
    monkeypatch.setenv(worker.SETTINGS_VARIABLE, settings.model_dump_json())
    assert isinstance(worker.create(), Starlette)
    restored = ServerSettings.model_validate_json(os.environ[worker.SETTINGS_VARIABLE])
    assert restored == settings
    assert restored.signing_keys == [sites.SIGNING_KEY]


@pytest.mark.usefixtures("quiet_logging")
def test_gauges_of_dead_workers_are_forgotten(
    settings: ServerSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A worker that starts takes the dead ones' gauges out of the sum, and leaves the living ones'."""
    dead, living = 2**22 + 1, os.getpid()  # no process has a number above the kernel's limit
    for pid in (dead, living):
        (tmp_path / f"gauge_livesum_{pid}.db").touch()
    (tmp_path / f"counter_{dead}.db").touch()
    monkeypatch.setenv(worker.SETTINGS_VARIABLE, settings.model_dump_json())
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    worker.create()
    assert {path.name for path in tmp_path.iterdir()} == {f"gauge_livesum_{living}.db", f"counter_{dead}.db"}


def test_a_leader_that_stops_has_a_successor_at_once(settings: ServerSettings) -> None:
    """After the leader's orderly end another instance admits long before the lease would have run out (I17)."""
    with sites.own_redis() as (url, redis):
        patient = settings.model_copy(update={"redis_url": url, "lease_seconds": 60.0})
        with sites.serving(redis, patient) as leader:
            until(lambda: redis.hget(keys.LEASE, "owner"), what="a leader")
            room = leader.make_room(capacity=1)
            leader.pass_of_new(room)
            leader.ticket_of_new(room)
        with sites.serving(redis, patient) as successor:
            successor.admin("PATCH", f"/{room}", json={"capacity": 2})
            until(lambda: successor.waiting(room) == [], what="admission")
