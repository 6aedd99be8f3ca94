"""What requests cost: each endpoint of one instance on one core, beside bare uvicorn under the same load and run.

`make bench`, or `python -m benchmarks.endpoints --waiting 300000 --connections 256 --only enter status`. Needs wrk.
Rounds alternate: bare uvicorn, then each endpoint; medians over the rounds, ratios round by round.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from benchmarks import report, servers, wrk
from benchmarks.figures import median, ratios
from benchmarks.report import Row, say
from benchmarks.scene import BARE, ENTER, scene
from benchmarks.servers import DOCUMENT, ROOM
from benchmarks.wrk import Ask, Load
from rig.nginx import crowded
from rig.origin import constant

NAMES: Final = ("enter", "status", "gate_pass", "gate_401", "public", "nginx_admitted", "nginx_public")

#: What the servers are called in accounts.
_INSTANCE, _YARDSTICK = "waitroom", "bare uvicorn"


@dataclass(frozen=True)
class Plan:
    """How many are inside and ask, lengths of the queue, and `seconds` of each round and endpoint."""

    visitors: int = 20_000
    waiting: tuple[int, ...] = (0, 300_000, 1_000_000)
    connections: tuple[int, ...] = (16, 64, 256, 1000)
    rounds: int = 5
    seconds: int = 2
    only: tuple[str, ...] = NAMES


QUICK: Final = Plan(visitors=2_000, waiting=(20_000,), connections=(64,), rounds=1)


def measure(plan: Plan) -> list[Row]:
    """A row for each endpoint, number of connections and length of the queue."""
    rows = list[Row]()
    with ExitStack() as stack:
        stage = stack.enter_context(scene(plan.visitors))
        yardstick = stack.enter_context(servers.bare(stage.folder))
        instance = stack.enter_context(servers.instance(stage.redis.url, stage.folder))
        origin = stack.enter_context(constant(stage.folder))
        nginx = stack.enter_context(
            crowded(stage.folder, instances=[instance.port], origin=origin.port, room=ROOM),
        )
        for waiting in sorted(plan.waiting):
            stage.fill(waiting)
            every = [
                (instance, ENTER),
                (instance, stage.status()),
                (instance, stage.gate_pass()),
                # What a proxy asks for visitors who are not inside.
                (instance, Ask("gate_401", f"/gate/{ROOM}", refused=True)),
                (instance, Ask("public", DOCUMENT)),
                (nginx, stage.admitted()),
                (nginx, Ask("nginx_public", DOCUMENT)),
            ]
            asked = [(yardstick, BARE), *((server, ask) for server, ask in every if ask.name in plan.only)]
            for server, ask in asked:
                wrk.warm(server, ask)
            accounts = (yardstick, instance, nginx, origin, stage.redis)
            for connections in plan.connections:
                loads = stage.ask(
                    asked, rounds=plan.rounds, connections=connections, seconds=plan.seconds, accounts=accounts
                )
                rows += [_row(name, loads, stage.waiting, connections) for name in plan.only]
                say(f"endpoints: {waiting:,} waiting, {connections:,} connections: done")
    return rows


def _row(name: str, loads: dict[str, list[Load]], waiting: int, connections: int) -> Row:
    ours, theirs = loads[name], loads[BARE.name]

    def cpu(server: str, of: list[Load] = ours) -> float:
        return median(load.cpu_us.get(server, 0.0) for load in of)

    shares = ratios((load.cpu_us[_YARDSTICK] for load in theirs), (load.cpu_us[_INSTANCE] or 1 for load in ours))
    return {
        "endpoint": name,
        "waiting": waiting,
        "connections": connections,
        **wrk.beside(ours, theirs, "ratio"),
        "cpu_ratio": None if name.startswith("nginx") else median(shares),
        "bare_per_second": median(load.per_second for load in theirs),
        "server_us": cpu(_INSTANCE),
        **{f"{server}_us": cpu(server) for server in ("redis", "nginx", "origin")},
        "bare_us": cpu(_YARDSTICK, theirs),
        "rounds": len(ours),
    }


if __name__ == "__main__":
    report.run("endpoints", measure, Plan(), QUICK, description=__doc__)
