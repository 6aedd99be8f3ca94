"""Which web server is the better default: uvicorn with each of its loops and parsers, and granian, for the same work.

`python -m benchmarks.webservers`. Each server on one core runs the constant answer of `bare.py` and an instance; rounds
go through all servers. `drains`: told to stop (SIGTERM), the instance says at /readyz that it leaves, and serves on for
`drain_seconds`; `exit_code` what it ended with then (-15: by the signal, as uvicorn's own program does; -9: it did not
end, and was killed).
"""

from __future__ import annotations

import signal
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from benchmarks import report, servers, wrk
from benchmarks.figures import median
from benchmarks.report import Row, say
from benchmarks.scene import BARE, Scene, scene
from benchmarks.wrk import Load
from rig import accounting
from rig.cores import SERVER_CORE
from rig.instance import ADMIN_KEY, KEYS
from rig.process import environment
from rig.served import Served
from waitroom.serve.worker import SETTINGS_VARIABLE
from waitroom.settings.server import ServerSettings

_UVICORN: Final = (*servers.UVICORN, "--no-server-header", "--no-proxy-headers", "--ws", "none")
_GRANIAN: Final = (
    *(sys.executable, "-m", "granian", "--interface", "asgi", "--http", "1", "--no-ws", "--port", "{port}"),
    *("--log-level", "warning", "--backlog", "4096", "--loop", "uvloop"),
)

#: Each server by name; the first is what `waitroom serve` runs on, and the yardstick of the ratios.
COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "uvicorn, uvloop, httptools": (*_UVICORN, "--loop", "uvloop", "--http", "httptools"),
    "uvicorn, asyncio, httptools": (*_UVICORN, "--loop", "asyncio", "--http", "httptools"),
    "uvicorn, uvloop, h11": (*_UVICORN, "--loop", "uvloop", "--http", "h11"),
    "uvicorn, asyncio, h11": (*_UVICORN, "--loop", "asyncio", "--http", "h11"),
    "granian, one thread": (*_GRANIAN, "--runtime-mode", "st"),
    "granian, several threads": (*_GRANIAN, "--runtime-mode", "mt"),
    "granian, tasks in Rust": (*_GRANIAN, "--runtime-mode", "st", "--task-impl", "rust"),
}
DEFAULT: Final = next(iter(COMMANDS))

#: Seconds for which an instance that is told to stop serves on, and that it may take in all.
_DRAIN_SECONDS, _END_SECONDS = 2, 15


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    names: tuple[str, ...] = tuple(COMMANDS)
    waiting: int = 300_000
    connections: int = 256
    rounds: int = 3
    seconds: int = 3


QUICK: Final = Plan(names=(DEFAULT, "granian, one thread"), waiting=10_000, connections=64, rounds=1, seconds=1)


def measure(plan: Plan) -> list[Row]:
    """A row for each server and what was asked."""
    names = dict.fromkeys((DEFAULT, *plan.names))
    loads = {name: defaultdict[str, list[Load]](list) for name in names}
    uss_mb = {name: list[float]() for name in names}
    with scene() as stage:
        stage.fill(plan.waiting)
        for number in range(plan.rounds):
            for name in names:
                uss_mb[name].append(_round(stage, name, loads[name], plan))
            say(f"webservers: round {number + 1} of {plan.rounds}: done")
        stopped = {name: _told_to_stop(stage, name) for name in names}
    return [
        {
            "server": name,
            "asked": asked,
            **wrk.beside(ours, loads[DEFAULT][asked], "to_default"),
            "server_us": median(load.cpu_us["bare" if asked == BARE.name else "waitroom"] for load in ours),
            "uss_mb": median(uss_mb[name]),
            **stopped[name],
        }
        for name in names
        for asked, ours in loads[name].items()
    ]


def _round(stage: Scene, name: str, loads: dict[str, list[Load]], plan: Plan) -> float:
    """Ask that server everything once; MB of memory that the instance holds then."""
    with servers.bare(stage.folder, name="bare", command=COMMANDS[name]) as bare, _instance(stage, name) as instance:
        hot = stage.hot()
        wrk.warm(instance, hot[-1])
        asked = [(bare, BARE), *((instance, ask) for ask in hot)]
        accounts = (bare, instance, stage.redis)
        found = stage.ask(asked, connections=plan.connections, seconds=plan.seconds, accounts=accounts)
        for each, more in found.items():
            loads[each] += more
        return accounting.memory_bytes(instance.pid)["uss"] / 1e6


def _instance(stage: Scene, name: str, *, drain_seconds: float = 0) -> Served:
    """An instance on that server; it finds its settings where `waitroom serve` leaves them for its workers."""
    settings = ServerSettings(
        redis_url=stage.redis.url,
        signing_keys=[KEYS],
        admin_key=ADMIN_KEY,
        data_dir=str(stage.folder / "data"),
        redis_timeout_seconds=5,
        log_level="warning",
        drain_seconds=drain_seconds,
    )
    return Served(
        "waitroom",
        (*COMMANDS[name], "--factory", "waitroom.serve.worker:create"),
        folder=stage.folder,
        at_core=SERVER_CORE,
        path="/readyz",
        variables=environment(**{SETTINGS_VARIABLE: settings.model_dump_json()}),
    )


def _told_to_stop(stage: Scene, name: str) -> Row:
    """Whether it drained, and its exit code."""
    with _instance(stage, name, drain_seconds=_DRAIN_SECONDS) as instance:
        instance.signal(signal.SIGTERM)
        time.sleep(_DRAIN_SECONDS / 2)
        drained = (instance.get("/readyz")[0], instance.get("/livez")[0]) == (503, 200)
        return {"drains": drained, "exit_code": instance.wait(_END_SECONDS)}


if __name__ == "__main__":
    report.run("webservers", measure, Plan(), QUICK, description=__doc__)
