"""Load by wrk: what is asked, by how many connections for how long, and what came of it."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from benchmarks.figures import median, ratios, spread
from benchmarks.servers import BenchmarkError
from rig.accounting import Accountable, accounted
from rig.cores import OTHER_CORE, pinned
from rig.machine import program

_SCRIPT: Final = Path(__file__).parent / "requests.lua"

#: Seconds of load at most before anything is measured, and on how many connections.
_WARMING_SECONDS, _WARMING_CONNECTIONS = 5, 64


class Asked(Accountable, Protocol):
    """A server that wrk can ask."""

    @property
    def url(self) -> str:
        """Where it answers."""
        ...


@dataclass(frozen=True)
class Ask:
    """A request, or the same request by many visitors: the headers of each, taken in turn.

    `refused` says that each answer is to be something else than 2xx or 3xx.
    """

    name: str
    path: str
    method: str = "GET"
    visitors: Sequence[dict[str, str]] = ({},)
    refused: bool = False

    def lines(self) -> str:
        """The visitors as requests.lua reads them."""
        return "".join("\t".join(f"{name}: {value}" for name, value in each.items()) + "\n" for each in self.visitors)


@dataclass(frozen=True)
class Load:
    """What came of one run. `bad` counts the answers that were not what they had to be, and those that never came."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    bad: int
    cpu_us: dict[str, float] = field(default_factory=dict)


def run(
    server: Asked,
    ask: Ask,
    *,
    connections: int,
    seconds: int,
    accounts: Sequence[Accountable] = (),
    pause_ms: int = 0,
    started_by: Sequence[str] = (),
) -> Load:
    """Ask that server on so many connections; CPU µs per request of each of `accounts`.

    `pause_ms`: between two requests of a connection, on average; `started_by`: what starts the load.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(ask.lines())
        file.flush()
        command = [*started_by, *pinned(OTHER_CORE), program("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s"]
        command += ["--timeout", "30s", "-s", str(_SCRIPT), server.url, "--", ask.method, ask.path, file.name]
        with accounted(*accounts) as bill:
            done = subprocess.run([*command, str(pause_ms)], capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(f"wrk failed on {server.name}{ask.path}: {done.stderr.strip() or done.stdout.strip()}")
    return parsed(done.stdout, refused=ask.refused, bill=bill.seconds)


def beside(ours: Sequence[Load], theirs: Sequence[Load], ratio: str) -> dict[str, Any]:
    """Medians over rounds, and how much of their requests per second ours are, with its spread, by the name `ratio`."""
    shares = ratios((load.per_second for load in ours), (load.per_second for load in theirs))
    return {
        "per_second": median(load.per_second for load in ours),
        ratio: median(shares),
        f"{ratio}_spread": spread(shares),
        "p50_ms": median(load.p50_ms for load in ours),
        "p99_ms": median(load.p99_ms for load in ours),
        "bad": sum(load.bad for load in ours),
    }


def warm(server: Asked, ask: Ask) -> None:
    """Let every visitor ask once before it counts: the gate, for one, verifies a pass once and remembers it."""
    seconds, seen = 0, 1
    while seen < len(ask.visitors) and seconds < _WARMING_SECONDS:
        seen += run(server, ask, connections=_WARMING_CONNECTIONS, seconds=1).requests
        seconds += 1


def parsed(text: str, *, refused: bool = False, bill: dict[str, float] | None = None) -> Load:
    """What wrk and its script said; `bill`: CPU seconds taken meanwhile. Raises BenchmarkError for anything else."""
    line = next((line for line in reversed(text.splitlines()) if line.startswith("{")), None)
    if line is None:
        raise BenchmarkError(f"wrk did not say what came of it: {text.strip()[-200:]!r}")
    said = json.loads(line)
    requests = said["requests"]
    if not requests:
        raise BenchmarkError(f"wrk got no answer at all: {line}")
    return Load(
        requests=requests,
        per_second=requests / said["duration_us"] * 1_000_000,
        p50_ms=said["p50_us"] / 1000,
        p99_ms=said["p99_us"] / 1000,
        bad=said["failed"] + (requests - said["refused"] if refused else said["refused"]),
        cpu_us={name: taken / requests * 1_000_000 for name, taken in (bill or {}).items()},
    )
