"""The servers of a campaign: Redis or Valkey on its append-only file, a line to it, three instances, nginx, an origin.

All of them can be struck, and started again where they were.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from rig.faults import Ground
from rig.instance import ADMIN_KEY, KEYS, Instance, variables
from rig.line import Line
from rig.machine import Missing, allow_many_files
from rig.nginx import crowded
from rig.origin import constant
from rig.ports import free_port
from rig.servers import ON_DISK, Server, program

ROOM: Final = "shop"
INSTANCES: Final = 3

#: Seconds that a dead leader holds up the others: the default.
LEASE_SECONDS: Final = 3.0

#: Everything that was answered is on disk, so that nothing may be forgotten by a server that is killed.
_REDIS: Final = (*ON_DISK, "--appendfsync", "always", "--enable-debug-command", "no")


class CampaignError(Exception):
    """The campaign cannot be run, or what was struck does not come back; the message says why."""


@asynccontextmanager
async def grounded(folder: Path, *, engine: str, settings: Mapping[str, Any], seed: int) -> AsyncIterator[Ground]:
    """All of it, ready, until the end of the block. Raises CampaignError, Ended, Missing."""
    try:
        binary = program(engine)
    except Missing as error:
        raise CampaignError(f"{error}: choose the other --engine") from None
    allow_many_files()
    with Server(folder / "redis", *_REDIS, port=free_port(), binary=binary) as redis:
        async with Line(redis.url, seed=seed) as line:
            ground = Ground(redis=redis, line=line)
            ground.instances += [
                Instance(
                    folder,
                    name=f"waitroom-{number}",
                    variables=variables(
                        redis_url=line.url,
                        signing_keys=KEYS,
                        admin_key=ADMIN_KEY,
                        data_dir=folder / f"data-{number}",
                        lease_seconds=LEASE_SECONDS,
                        drain_seconds=0,
                        log_level="info",
                        rooms={ROOM: settings},
                    ),
                )
                for number in range(1, INSTANCES + 1)
            ]
            stack = ExitStack()
            try:
                # In threads: the line to their Redis runs here.
                await asyncio.gather(*(asyncio.to_thread(stack.enter_context, each) for each in ground.instances))
                ports = [instance.port for instance in ground.instances]
                origin = stack.enter_context(constant(folder))
                ground.nginx = crowded(folder, instances=ports, origin=origin.port, room=ROOM)
                stack.enter_context(ground.nginx)
                yield ground
            finally:
                await asyncio.to_thread(stack.close)
