"""The real servers that are measured, each pinned to a core: a Redis, instances, and bare uvicorn beside them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from rig import filling
from rig.cores import SERVER_CORE, pinned
from rig.embedded import Embedded
from rig.instance import ADMIN_KEY, KEYS, Instance, variables
from rig.served import Served
from waitroom.model import Place

ROOT: Final = Path(__file__).parent.parent

#: The room that is measured, and its document.
ROOM, DOCUMENT = "shop", "/v1/rooms/shop"

#: What runs an application that is named behind it.
UVICORN: Final = (
    *(sys.executable, "-m", "uvicorn", "--port", "{port}"),
    *("--no-access-log", "--log-level", "warning", "--backlog", "4096"),
)


class BenchmarkError(Exception):
    """A benchmark cannot run, or what came of it means nothing; the message says why."""


@contextmanager
def empty_redis() -> Iterator[tuple[Path, Embedded]]:
    """A folder for everything, which is gone afterwards, and a Redis in it."""
    with TemporaryDirectory(prefix="waitroom-bench-") as name, Embedded(Path(name)) as redis:
        yield Path(name), redis


def fill(redis: Embedded, waiting: int = 0, *, room: str = ROOM, keep: int = 0, **settings: Any) -> list[Place]:
    """Give a room these settings, if any, and let so many more wait in it; the places of `keep` of them."""

    async def filled() -> list[Place]:
        async with filling.opened(redis.url) as store:
            if settings:
                await filling.configure(store, room, **settings)
            return await filling.enter(store, room, waiting, keep=keep)

    return asyncio.run(filled())


def used_bytes(redis: Embedded) -> int:
    """Its memory, without what clients' buffers and the append-only file's buffer hold at the moment."""
    memory = redis.info("memory")
    return int(memory["used_memory"]) - int(memory["mem_clients_normal"]) - int(memory["mem_aof_buffer"])


def instance(redis_url: str, folder: Path, *, name: str = "waitroom", **settings: object) -> Instance:
    """An instance with these server settings and our keys."""
    given: dict[str, object] = {"signing_keys": KEYS, "admin_key": ADMIN_KEY, "redis_timeout_seconds": 5}
    given |= {"redis_url": redis_url, "log_level": "warning", **settings}
    return Instance(folder / name, name=name, prefix=pinned(SERVER_CORE), variables=variables(**given))


def bare(
    folder: Path, *, name: str = "bare uvicorn", command: Sequence[str] = UVICORN, app: str = "constant"
) -> Served:
    """The yardstick: an application of `bare.py` behind uvicorn, or behind what `command` runs."""
    return Served(name, (*command, f"benchmarks.bare:{app}"), folder=folder, at_core=SERVER_CORE)
