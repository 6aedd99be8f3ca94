"""The servers of a run: Valkey with its room, instances, nginx where the scenario has it; or a host of one's own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import filling, servers
from benchmarks.accounting import Accountable


@dataclass(frozen=True)
class Stage:
    """Where visitors come (`url`), where operators ask (`admin_url`, empty if nobody may), and the processes behind.

    `gate` is the path at which visitors ask for what the room protects.
    """

    url: str
    room: str
    gate: str
    admin_url: str = ""
    admin_key: str = ""
    redis: servers.RedisServer | None = None
    processes: Sequence[servers.Server] = ()

    @property
    def accounts(self) -> list[Accountable]:
        """Whose CPU time is counted."""
        return [*self.processes, *([self.redis] if self.redis is not None else [])]


@contextmanager
def staged(
    folder: Path,
    *,
    room: str,
    settings: Mapping[str, Any],
    instances: int,
    through_nginx: bool,
    prefilled: int = 0,
) -> Iterator[Stage]:
    """Everything on this machine, with so many waiting, until the end of the block."""
    servers.allow_many_files()
    with ExitStack() as stack:
        redis = stack.enter_context(servers.redis(folder))
        asyncio.run(_prepare(redis.url, room, settings, prefilled))
        redis.settle()
        running = [
            stack.enter_context(servers.instance(redis.url, folder, name=f"waitroom {number}"))
            for number in range(1, instances + 1)
        ]
        processes, url, gate = list(running), running[0].url, f"/gate/{room}"
        if through_nginx:
            origin = stack.enter_context(servers.origin(folder))
            nginx = stack.enter_context(servers.nginx(folder, instances=running, origin=origin, room=room))
            processes += [nginx, origin]
            url, gate = nginx.url, "/"
        yield Stage(url, room, gate, running[0].url, servers.ADMIN_KEY, redis, processes)


async def _prepare(redis_url: str, room: str, settings: Mapping[str, Any], prefilled: int) -> None:
    async with filling.opened(redis_url) as store:
        # Filled while nobody is admitted, so that all of them wait when the run begins.
        await filling.configure(store, room, **{**settings, "state": "paused"})
        await filling.enter(store, room, prefilled)
        await filling.configure(store, room, **settings)
