"""The running demo: which processes there are, when they are ready, and what goes on until one of them ends."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from rich.console import Console

from waitroom.cancelling import cancelled
from waitroom.demo.board import Board, facts, say
from waitroom.demo.crowd import Crowd, Tally
from waitroom.demo.nginx import Site, nginx_binary, nginx_command, write_configuration
from waitroom.demo.processes import Children, DemoError, free_port
from waitroom.store.embedded.server import EmbeddedServer

ROOM: Final = "shop"

#: How many waitroom instances share the queue.
INSTANCES: Final = 2

#: Seconds that a process may take until it answers.
START_SECONDS: Final = 30.0

#: Seconds between two looks at the processes, and between two readings of the room.
WATCH_SECONDS: Final = 0.2
READ_SECONDS: Final = 1.0

#: Short enough for a human to see the rank fall and a session end: see `waitroom.settings.room.RoomSettings`.
ROOM_SETTINGS: Final[Mapping[str, float]] = {
    "admit_per_second": 5.0,
    "session_seconds": 30.0,
    "claim_seconds": 20.0,
    "abandon_seconds": 30.0,
    "ticket_seconds": 600.0,
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the demo is to be."""

    folder: Path
    port: int
    visitors: int
    capacity: int

    @property
    def url(self) -> str:
        """Where visitors find the shop."""
        return f"http://127.0.0.1:{self.port}"


async def play(plan: Plan) -> None:
    """Run the demo until it is cancelled. Raises DemoError when one of its processes stops, EmbeddedError."""
    console = Console()
    logs = plan.folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    say(console, "Starting the demo ...")
    with EmbeddedServer(plan.folder / "store") as store, Children(logs) as children:
        ready = _start(plan, children, redis_url=store.url)
        await _until_one_ends(_watch(children, store), ended_by=_until_ready(ready))
        say(console, f"The demo shop: {plan.url}/   (Ctrl-C stops it)")
        crowd = Crowd(plan.url, ROOM, size=plan.visitors)
        await _until_one_ends(_watch(children, store), crowd.run(), ended_by=_show(plan, console, crowd.tally))


def _start(plan: Plan, children: Children, *, redis_url: str) -> dict[str, str]:
    """Start every process. Returns an address by process that answers 200 once that process is ready."""
    ports = [free_port() for _ in range(INSTANCES + 1)]
    site = Site(port=plan.port, room=ROOM, instances=tuple(ports[:-1]), origin=ports[-1])
    base = {name: value for name, value in os.environ.items() if not name.startswith("WAITROOM_")}
    shared = base | _instance_environment(plan, redis_url)
    for number, port in enumerate(site.instances, start=1):
        command = [sys.executable, "-m", "waitroom", "serve", "--host", "127.0.0.1", "--port", str(port)]
        children.start(f"waitroom-{number}", command, environment=shared)
    children.start("shop", [sys.executable, "-m", "waitroom.demo.shop", str(site.origin)], environment=base)
    main = write_configuration(plan.folder / "nginx", site)
    children.start("nginx", nginx_command(main, binary=nginx_binary()), environment=base)
    addresses = {f"waitroom-{n}": f"http://127.0.0.1:{port}/readyz" for n, port in enumerate(site.instances, start=1)}
    return addresses | {"shop": f"http://127.0.0.1:{site.origin}/", "nginx": f"{plan.url}/v1/rooms/{ROOM}"}


def _instance_environment(plan: Plan, redis_url: str) -> dict[str, str]:
    """The settings that the instances share. The keys are new each time and are written nowhere."""
    return {
        "WAITROOM_REDIS_URL": redis_url,
        "WAITROOM_SIGNING_KEYS": f"demo-{secrets.token_hex(3)}:{secrets.token_urlsafe(32)}",
        "WAITROOM_ADMIN_KEY": secrets.token_urlsafe(32),
        "WAITROOM_PUBLIC_URL": plan.url,
        "WAITROOM_DATA_DIR": str(plan.folder / "instances"),
        "WAITROOM_ROOMS": json.dumps({ROOM: {"capacity": plan.capacity, **ROOM_SETTINGS}}),
    }


async def _until_one_ends(*beside: Awaitable[None], ended_by: Awaitable[None]) -> None:
    """Await `ended_by` with the others beside it. The first to end ends all, and its error is raised."""
    tasks = [asyncio.ensure_future(each) for each in (*beside, ended_by)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await cancelled(*tasks)


async def _watch(children: Children, store: EmbeddedServer) -> None:
    """Raise DemoError as soon as a process has stopped."""
    while True:
        children.check()
        if not store.alive:
            raise DemoError("the demo's embedded server stopped by itself: see redis.log in the demo's folder")
        await asyncio.sleep(WATCH_SECONDS)


async def _until_ready(addresses: Mapping[str, str]) -> None:
    """Wait until every process answers. Raises DemoError that names the one that does not."""
    deadline = time.monotonic() + START_SECONDS
    async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
        for name, address in addresses.items():
            while not await _answers(client, address):
                if time.monotonic() > deadline:
                    raise DemoError(f"the demo's {name} was not ready within {START_SECONDS:.0f} seconds")
                await asyncio.sleep(WATCH_SECONDS)


async def _answers(client: httpx.AsyncClient, address: str) -> bool:
    try:
        return (await client.get(address)).status_code == 200
    except httpx.HTTPError:
        return False


async def _show(plan: Plan, console: Console, tally: Tally) -> None:
    address = f"{plan.url}/v1/rooms/{ROOM}"
    async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
        with Board(console) as board:
            while True:
                board.show(facts(await _room(client, address), tally))
                await asyncio.sleep(READ_SECONDS)


async def _room(client: httpx.AsyncClient, address: str) -> dict[str, Any] | None:
    """The room's public document. None if it cannot be had right now."""
    try:
        answer = await client.get(address)
    except httpx.HTTPError:
        return None
    document: dict[str, Any] | None = answer.json() if answer.status_code == 200 else None
    return document
