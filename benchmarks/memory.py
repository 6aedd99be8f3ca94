"""Memory: Redis bytes for each visitor who waits, and what an instance takes idle, under load and with connections.

`python -m benchmarks.memory`. Redis: growth of used_memory by waiting visitors, and the two sets by MEMORY USAGE.
Instances: resident memory (rss) and what of it is theirs alone (uss), the load by wrk where it is there.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks import report, servers, wrk
from benchmarks.figures import significant
from benchmarks.report import Options, Row, say
from benchmarks.scene import INSIDE, ROOM, Scene, scene
from rig import accounting, filling
from rig.embedded import Embedded
from rig.instance import Instance
from waitroom.store import keys

LENGTHS = (100_000, 1_000_000)

#: Connections that are held open with nothing on them, and seconds of load before a look at the memory.
_HELD, _LOAD_SECONDS, _CONNECTIONS = 1_000, 5, 256

#: Seconds after which an instance has read what there is to read.
_REST_SECONDS = 2.5


def main() -> None:
    """Measure and print."""
    report.run("memory", measure, description=__doc__)


def measure(options: Options) -> list[Row]:
    """A row for each length of the queue, and for each state of an instance."""
    lengths = (10_000,) if options.quick else LENGTHS
    with scene() as stage, servers.instance(stage.redis.url, stage.folder) as instance:
        rows = [_instance("idle", instance)]
        for length in lengths:
            rows += _per_waiter(stage, length)
            say(f"memory: {length:,} waiting: done")
        rows += _loaded(stage, instance, seconds=1 if options.quick else _LOAD_SECONDS)
        rows += _connected(instance)
    return rows


def _per_waiter(stage: Scene, length: int) -> list[Row]:
    before, waited = _used(stage.redis), stage.waiting
    asyncio.run(_enter(stage, length - waited))
    stage.waiting = length
    each = (_used(stage.redis) - before) / (length - waited)
    sets = {name: _usage(stage.redis, keys.room_key(ROOM, name)) / length for name in ("wait", "seen")}
    memory = stage.redis.info("memory")
    return [
        {
            "what": "redis per waiter",
            "waiting": length,
            "bytes": significant(each),
            "wait_bytes": significant(sets["wait"]),
            "seen_bytes": significant(sets["seen"]),
            "rss_mb": significant(memory["used_memory_rss"] / 1e6),
        }
    ]


async def _enter(stage: Scene, number: int) -> None:
    async with filling.opened(stage.redis.url) as store:
        await filling.enter(store, ROOM, number)


def _used(redis: Embedded) -> int:
    """Without what clients' buffers and the append-only file's buffer hold at the moment."""
    memory = redis.info("memory")
    passing = ("mem_clients_normal", "mem_aof_buffer")
    return int(memory["used_memory"]) - sum(int(memory[name]) for name in passing)


def _usage(redis: Embedded, key: str) -> int:
    found = redis.client.memory_usage(key, samples=1_000)
    return int(found or 0)


def _loaded(stage: Scene, instance: Instance, *, seconds: int) -> list[Row]:
    """After load on each hot path. The gate remembers the passes that it saw, INSIDE of them."""
    for ask in (stage.enter(), stage.status(), stage.gate_pass()):
        wrk.run(instance, ask, connections=_CONNECTIONS, seconds=seconds)
    stage.restore()
    time.sleep(_REST_SECONDS)
    return [_instance(f"after load, {INSIDE:,} passes remembered", instance)]


def _connected(instance: Instance) -> list[Row]:
    before = accounting.memory_bytes(instance.pid)["uss"]
    with _held(instance, _HELD):
        row = _instance(f"{_HELD:,} idle connections more", instance)
        more = accounting.memory_bytes(instance.pid)["uss"] - before
    return [row, {"what": "instance per idle connection", "bytes": significant(max(more, 0) / _HELD)}]


@contextmanager
def _held(instance: Instance, number: int) -> Iterator[Sequence[socket.socket]]:
    """Connections on which one request was answered, and nothing more is asked."""
    held = [socket.create_connection(("127.0.0.1", instance.port)) for _ in range(number)]
    try:
        for each in held:
            each.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for each in held:
            each.recv(4096)
        yield held
    finally:
        for each in held:
            each.close()


def _instance(state: str, instance: Instance) -> Row:
    taken = accounting.memory_bytes(instance.pid)
    return {
        "what": f"instance, {state}",
        "bytes": taken["uss"],
        "rss_mb": significant(taken["rss"] / 1e6),
        "uss_mb": significant(taken["uss"] / 1e6),
    }


if __name__ == "__main__":
    main()
