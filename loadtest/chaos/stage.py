"""The servers of a campaign: Redis or Valkey on its append-only file, a line to it, three instances, nginx, an origin.

All of them can be struck, and started again where they were.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from loadtest.stage import Stage
from rig.instance import ADMIN_KEY, KEYS, Instance, variables
from rig.line import Line
from rig.machine import Missing, allow_many_files
from rig.nginx import Nginx, crowded
from rig.origin import constant
from rig.ports import free_port
from rig.servers import Server, program

ROOM: Final = "shop"
INSTANCES: Final = 3

#: Seconds that a dead leader holds up the others: the default.
LEASE_SECONDS: Final = 3.0

#: Seconds that an instance may take to be ready again while the machine is busy.
READY_SECONDS: Final = 60.0

#: Everything that was answered is on disk, so that nothing may be forgotten by a server that is killed.
_REDIS: Final = (
    *("--bind", "127.0.0.1"),
    *("--save", ""),
    *("--appendonly", "yes"),
    *("--appendfsync", "always"),
    *("--maxmemory-policy", "noeviction"),
    *("--busy-reply-threshold", "200"),
    *("--enable-debug-command", "no"),
)


class CampaignError(Exception):
    """The campaign cannot be run, or what was struck does not come back; the message says why."""


@dataclass
class Ground:
    """What a campaign strikes. `signers` are the signing keys by which instances are started, the first signs."""

    folder: Path
    redis: Server
    line: Line
    seeds: Mapping[str, Any]
    signers: list[str] = field(default_factory=lambda: [KEYS])
    instances: list[Instance] = field(default_factory=list)
    site: Nginx | None = None

    @property
    def nginx(self) -> Nginx:
        """Where visitors come. Raises CampaignError before it runs."""
        if self.site is None:
            raise CampaignError("nginx was not started")
        return self.site

    @property
    def stage(self) -> Stage:
        """The same for the crowd and the books."""
        return Stage(self.nginx.url, ROOM, "/", self.admin_urls[0], ADMIN_KEY)

    @property
    def admin_urls(self) -> list[str]:
        """Where operators ask."""
        return [instance.url for instance in self.instances]

    @property
    def logs(self) -> list[Path]:
        """What the instances said."""
        return sorted(self.folder.glob("waitroom-*.log"))

    def start_instance(self, number: int) -> None:
        """Start that one (1, 2 ...) with the signing keys of now; it is ready later."""
        instance = self.instances[number - 1]
        instance.variables |= variables(signing_keys=self.signers)
        instance.start()

    async def ready(self, *numbers: int) -> bool:
        """Wait until these instances (default: all) say that they are; False if one ends, or does not in time."""
        wanted = [self.instances[number - 1] for number in numbers] if numbers else self.instances
        try:
            async with asyncio.timeout(READY_SECONDS):
                for instance in wanted:
                    while not await asyncio.to_thread(instance.ready):
                        if not instance.running:
                            return False
                        await asyncio.sleep(0.1)
        except TimeoutError:
            return False
        return True

    async def numbered(self, target: str) -> int:
        """The number of the instance that a fault is for; where nobody leads the leader is the first."""
        if target != "leader":
            return int(target)
        leads = await asyncio.gather(*(asyncio.to_thread(instance.leads) for instance in self.instances))
        return leads.index(True) + 1 if True in leads else 1

    def empty_redis(self) -> None:
        """Throw away all that Redis, which is stopped, had on disk."""
        shutil.rmtree(Path(self.redis.folder) / "appendonlydir")

    def workers(self) -> list[psutil.Process]:
        """nginx's own."""
        return self.nginx.workers()


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
            ground = Ground(folder, redis, line, settings)
            ground.instances += [
                Instance(
                    folder,
                    name=f"waitroom-{number}",
                    variables=variables(
                        redis_url=line.url,
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
            try:
                for number in range(1, INSTANCES + 1):
                    ground.start_instance(number)
                if not await ground.ready():
                    raise CampaignError(f"the instances are not ready: see {ground.logs[0]}")
                with _nginx(ground):
                    yield ground
            finally:
                await asyncio.to_thread(_end, ground.instances)


@contextmanager
def _nginx(ground: Ground) -> Iterator[None]:
    ports = [instance.port for instance in ground.instances]
    with (
        constant(ground.folder) as origin,
        crowded(ground.folder, instances=ports, origin=origin.port, room=ROOM) as nginx,
    ):
        ground.site = nginx
        yield


def _end(instances: Sequence[Instance]) -> None:
    for instance in instances:
        if instance.running:
            instance.signal(signal.SIGCONT)
            instance.interrupt()
    for instance in instances:
        instance.wait()
