"""Memory: Redis bytes for each visitor who waits, and what an instance takes idle, under load and with connections.

`python -m benchmarks.memory`. Redis: growth of used_memory by waiting visitors, and the two sets by MEMORY USAGE.
Instances: resident memory (rss) and what of it is theirs alone (uss), the load by wrk where it is there.
"""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from benchmarks import report, servers, wrk
from benchmarks.figures import significant
from benchmarks.report import Row, say
from benchmarks.scene import Scene, scene
from benchmarks.servers import ROOM
from rig import accounting
from rig.instance import Instance
from waitroom.store import keys


@dataclass(frozen=True)
class Plan:
    """Lengths of the queue, seconds of load on each hot path, and connections that are held with nothing on them."""

    lengths: tuple[int, ...] = (100_000, 1_000_000)
    seconds: int = 5
    held: int = 1_000


QUICK: Final = Plan(lengths=(10_000,), seconds=1)

#: Seconds after which an instance has read what there is to read.
_REST_SECONDS: Final = 2.5


def measure(plan: Plan) -> list[Row]:
    """A row for each length of the queue, and for each state of an instance."""
    with scene() as stage, servers.instance(stage.redis.url, stage.folder) as instance, ExitStack() as stack:
        rows = [_instance("idle", instance)]
        for length in plan.lengths:
            rows.append(_per_waiter(stage, length))
            say(f"memory: {length:,} waiting: done")
        # The gate remembers the passes that it saw.
        for ask in stage.hot():
            wrk.run(instance, ask, connections=256, seconds=plan.seconds)
        stage.restore()
        time.sleep(_REST_SECONDS)
        rows.append(_instance(f"after load, {stage.visitors:,} passes remembered", instance))
        before = accounting.memory_bytes(instance.pid)["uss"]
        held = [stack.enter_context(socket.create_connection(("127.0.0.1", instance.port))) for _ in range(plan.held)]
        for each in held:
            each.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for each in held:
            each.recv(4096)
        rows.append(_instance(f"{plan.held:,} idle connections more", instance))
        more = accounting.memory_bytes(instance.pid)["uss"] - before
    return [*rows, {"what": "instance per idle connection", "bytes": significant(max(more, 0) / plan.held)}]


def _per_waiter(stage: Scene, length: int) -> Row:
    before, waited = servers.used_bytes(stage.redis), stage.waiting
    servers.fill(stage.redis, length - waited)
    stage.waiting = length
    sets = {
        f"{name}_bytes": significant(
            int(stage.redis.client.memory_usage(keys.room_key(ROOM, name), 1_000) or 0) / length
        )
        for name in ("wait", "seen")
    }
    return {
        "what": "redis per waiter",
        "waiting": length,
        "bytes": significant((servers.used_bytes(stage.redis) - before) / (length - waited)),
        **sets,
        "rss_mb": significant(stage.redis.info("memory")["used_memory_rss"] / 1e6),
    }


def _instance(state: str, instance: Instance) -> Row:
    taken = accounting.memory_bytes(instance.pid)
    return {
        "what": f"instance, {state}",
        "bytes": taken["uss"],
        "rss_mb": significant(taken["rss"] / 1e6),
        "uss_mb": significant(taken["uss"] / 1e6),
    }


if __name__ == "__main__":
    report.run("memory", measure, Plan(), QUICK, description=__doc__)
