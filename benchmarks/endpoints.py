"""What requests cost: each endpoint of one instance on one core, beside bare uvicorn under the same load and run.

`make bench`, or `python -m benchmarks.endpoints --waiting 300000 --connections 256 --only enter status`. Needs wrk.
Rounds alternate: bare uvicorn, then each endpoint; medians over the rounds, ratios round by round.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Final

from benchmarks import report, servers, wrk
from benchmarks.figures import figure, ratio, significant
from benchmarks.report import Options, Row, say
from benchmarks.scene import ROOM, Scene, bare, scene
from benchmarks.wrk import Ask, Asked, Load
from rig.accounting import Accountable
from rig.nginx import crowded
from rig.origin import constant

NAMES: Final = ("enter", "status", "gate_pass", "gate_401", "public", "nginx_admitted", "nginx_public")

_BARE: Final = "bare"

#: What the servers are called in accounts.
_INSTANCE, _YARDSTICK = "waitroom", "bare uvicorn"


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    waiting: tuple[int, ...] = (0, 300_000, 1_000_000)
    connections: tuple[int, ...] = (16, 64, 256, 1000)
    rounds: int = 5
    seconds: int = 2
    only: tuple[str, ...] = NAMES


QUICK: Final = Plan(waiting=(20_000,), connections=(64,), rounds=1)


def main() -> None:
    """Measure and print."""
    report.run("endpoints", measure, description=__doc__, extend=_options)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--waiting", type=int, nargs="+", help="lengths of the queue, ascending")
    parser.add_argument("--connections", type=int, nargs="+")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=int, help="of each round and endpoint")
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="ENDPOINT", help=", ".join(NAMES))


def _plan(options: Options) -> Plan:
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in vars(options.given).items()
        if name in Plan.__dataclass_fields__ and value is not None
    }
    return replace(QUICK if options.quick else Plan(), **given)


def measure(options: Options) -> list[Row]:
    """A row for each endpoint, number of connections and length of the queue."""
    plan, rows = _plan(options), list[Row]()
    with ExitStack() as stack:
        stage = stack.enter_context(scene())
        yardstick = stack.enter_context(servers.bare(stage.folder))
        instance = stack.enter_context(servers.instance(stage.redis.url, stage.folder))
        origin = stack.enter_context(constant(stage.folder))
        before = crowded(stage.folder, instances=[instance.port], origin=origin.port, room=ROOM)
        nginx = stack.enter_context(before)
        for waiting in sorted(plan.waiting):
            stage.fill(waiting)
            asked = [(yardstick, bare()), *_asked(stage, instance, nginx, plan.only)]
            for server, ask in asked:
                wrk.warm(server, ask)
            for connections in plan.connections:
                loads = _rounds(stage, asked, connections, plan=plan, options=options, beside=(origin,))
                rows += [_row(name, loads, stage.waiting, connections) for name in plan.only]
                say(f"endpoints: {waiting:,} waiting, {connections:,} connections: done")
    return rows


def _asked(stage: Scene, instance: Asked, nginx: Asked, only: tuple[str, ...]) -> list[tuple[Asked, Ask]]:
    every = [
        (instance, stage.enter()),
        (instance, stage.status()),
        (instance, stage.gate_pass()),
        (instance, stage.gate_401()),
        (instance, stage.public()),
        (nginx, stage.admitted()),
        (nginx, replace(stage.public(), name="nginx_public")),
    ]
    return [(server, ask) for server, ask in every if ask.name in only]


def _rounds(
    stage: Scene,
    asked: list[tuple[Asked, Ask]],
    connections: int,
    *,
    plan: Plan,
    options: Options,
    beside: tuple[Asked, ...],
) -> dict[str, list[Load]]:
    """What came of each ask, round by round."""
    loads: dict[str, list[Load]] = {ask.name: [] for _, ask in asked}
    accounts: list[Accountable] = [*dict.fromkeys(server for server, _ in asked), *beside, stage.redis]
    for _ in range(plan.rounds):
        for server, ask in asked:
            loads[ask.name].append(
                wrk.run(server, ask, connections=connections, seconds=plan.seconds, accounts=accounts)
            )
            stage.restore()
    return loads


def _row(name: str, loads: dict[str, list[Load]], waiting: int, connections: int) -> Row:
    ours, theirs = loads[name], loads[_BARE]

    def median(field: str) -> float:
        return significant(figure(getattr(load, field) for load in ours).median)

    def cpu(server: str, of: list[Load]) -> float:
        return significant(figure(load.cpu_us.get(server, 0.0) for load in of).median)

    beside = ratio([load.per_second for load in ours], [load.per_second for load in theirs])
    shares = [
        other.cpu_us[_YARDSTICK] / load.cpu_us[_INSTANCE]
        for load, other in zip(ours, theirs, strict=True)
        if load.cpu_us.get(_INSTANCE)
    ]
    return {
        "endpoint": name,
        "waiting": waiting,
        "connections": connections,
        "per_second": median("per_second"),
        "ratio": significant(beside.median),
        "ratio_spread": beside.spread,
        "cpu_ratio": significant(figure(shares).median) if shares and not name.startswith("nginx") else None,
        "bare_per_second": significant(figure(load.per_second for load in theirs).median),
        "p50_ms": median("p50_ms"),
        "p99_ms": median("p99_ms"),
        "server_us": cpu(_INSTANCE, ours),
        "redis_us": cpu("redis", ours),
        "nginx_us": cpu("nginx", ours),
        "origin_us": cpu("origin", ours),
        "bare_us": cpu(_YARDSTICK, theirs),
        "bad": sum(load.bad for load in ours),
        "rounds": len(ours),
    }


if __name__ == "__main__":
    main()
