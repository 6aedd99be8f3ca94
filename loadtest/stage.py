"""The servers of a run: Valkey with its room, instances, nginx where the scenario has it; or a host of one's own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rig import filling
from rig.accounting import Accountable
from rig.cores import SERVER_CORE, pinned
from rig.embedded import Embedded
from rig.instance import ADMIN_KEY, KEYS, Instance, variables
from rig.machine import allow_many_files
from rig.nginx import crowded
from rig.origin import constant
from rig.served import Served


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
    redis: Embedded | None = None
    processes: Sequence[Served] = ()

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
    allow_many_files()
    with ExitStack() as stack:
        redis = stack.enter_context(Embedded(folder))
        asyncio.run(_prepare(redis.url, room, settings, prefilled))
        redis.settle()
        given = variables(
            redis_url=redis.url, signing_keys=KEYS, admin_key=ADMIN_KEY, redis_timeout_seconds=5, log_level="warning"
        )
        running = [
            stack.enter_context(Instance(folder / name, name=name, prefix=pinned(SERVER_CORE), variables=given))
            for name in (f"waitroom {number}" for number in range(1, instances + 1))
        ]
        processes: list[Served] = [*running]
        url, gate = running[0].url, f"/gate/{room}"
        if through_nginx:
            origin = stack.enter_context(constant(folder))
            ports = [each.port for each in running]
            nginx = stack.enter_context(crowded(folder, instances=ports, origin=origin.port, room=room))
            processes += [nginx, origin]
            url, gate = nginx.url, "/"
        yield Stage(url, room, gate, running[0].url, ADMIN_KEY, redis, processes)


async def _prepare(redis_url: str, room: str, settings: Mapping[str, Any], prefilled: int) -> None:
    async with filling.opened(redis_url) as store:
        # Filled while nobody is admitted, so that all of them wait when the run begins.
        await filling.configure(store, room, **{**settings, "state": "paused"})
        await filling.enter(store, room, prefilled)
        await filling.configure(store, room, **settings)
