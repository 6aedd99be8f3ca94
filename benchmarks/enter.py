"""What an `enter` costs: one instance on one core beside bare uvicorn, under the same load in the same run.

`make bench`, or `python benchmarks/enter.py --rounds 3 --seconds 5 --connections 256 --waiting 300000`. Needs wrk.
Server on the first core, Redis and wrk on the second, rounds alternate, medians are reported.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis

from waitroom.clock import Clock
from waitroom.embedded import EmbeddedServer
from waitroom.settings import RoomSettings, fields_of
from waitroom.store import Store, connect
from waitroom.tickets import new_visitor

ROOT = Path(__file__).parent.parent
KEYS = "k1:0123456789abcdefghijklmnopqrstuvwxyzABCDEF"
BARE_PORT, ENTER_PORT = 18_301, 18_302


@dataclass(frozen=True)
class Load:
    """One run of wrk: what came of it, and the CPU µs per request of the server and of Redis."""

    per_second: float
    p99_ms: float
    server_us: float
    redis_us: float
    bad: int


def main() -> None:
    """Measure and print a table; with --json a document."""
    options = _options()
    if shutil.which("wrk") is None:
        sys.exit("this benchmark needs wrk (Debian: apt-get install wrk)")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="waitroom-bench-")))
        embedded = stack.enter_context(EmbeddedServer(folder / "data"))
        redis = Redis.from_url(embedded.url, decode_responses=True)
        stack.callback(redis.close)
        info: dict[str, Any] = redis.info("server")
        os.sched_setaffinity(int(info["process_id"]), {_core(1)})
        asyncio.run(_fill(embedded.url, options.waiting))
        bare = stack.enter_context(_bare())
        served = stack.enter_context(_instance(folder, embedded.url))
        bare_loads, enter_loads = [], []
        for _ in range(options.rounds):
            bare_loads.append(_load(BARE_PORT, "GET", bare, redis, options))
            enter_loads.append(_load(ENTER_PORT, "POST", served, redis, options))
        _report(bare_loads, enter_loads, info, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--waiting", type=int, default=300_000)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _core(number: int) -> int:
    cores = sorted(os.sched_getaffinity(0))
    return cores[number % len(cores)]


async def _fill(url: str, waiting: int) -> None:
    """Let so many visitors wait, through the scripts themselves."""
    store = Store(connect(url, timeout_seconds=30), Clock(), timeout_seconds=30)
    settings = RoomSettings(state="paused", max_waiting=10_000_000, abandon_seconds=86_400, ticket_seconds=86_400)
    await store.configure("shop", fields_of(settings), expected=0)
    await store.register("shop", live=True)
    for start in range(0, waiting, 512):
        await store.enter("shop", [(new_visitor(), None) for _ in range(min(512, waiting - start))])
    await store.close()


@contextmanager
def _bare() -> Iterator[int]:
    options = ["--port", str(BARE_PORT), "--no-access-log", "--log-level", "warning", "--backlog", "4096"]
    with _pinned([sys.executable, "-m", "uvicorn", "benchmarks.bare:app", *options], {}, BARE_PORT) as pid:
        yield pid


@contextmanager
def _instance(folder: Path, url: str) -> Iterator[int]:
    environment = {"WAITROOM_REDIS_URL": url, "WAITROOM_SIGNING_KEYS": KEYS, "WAITROOM_REDIS_TIMEOUT_SECONDS": "5"}
    options = ["--port", str(ENTER_PORT), "--data-dir", str(folder / "instance")]
    with _pinned([sys.executable, "-m", "waitroom", "serve", *options], environment, ENTER_PORT) as pid:
        yield pid


@contextmanager
def _pinned(command: list[str], environment: dict[str, str], port: int) -> Iterator[int]:
    """A server process on the first core; its id once it answers."""
    with subprocess.Popen(command, env={**os.environ, **environment}, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            os.sched_setaffinity(process.pid, {_core(0)})
            _await_answer(port)
            yield process.pid
        finally:
            process.terminate()
            process.wait(20)


def _await_answer(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=5)
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _load(port: int, method: str, pid: int, redis: Redis, options: argparse.Namespace) -> Load:
    """One run of wrk against one server."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f'wrk.method = "{method}"\n')
        script.flush()
        address = f"http://127.0.0.1:{port}/v1/rooms/shop/enter"
        counts = ["-t1", f"-c{options.connections}", f"-d{options.seconds}s", "--latency", "-s", script.name]
        server_before, redis_before = _cpu_seconds(pid), _redis_cpu_seconds(redis)
        done = subprocess.run(
            ["taskset", "-c", str(_core(1)), "wrk", *counts, address], check=True, capture_output=True, text=True
        )
        server_cpu, redis_cpu = _cpu_seconds(pid) - server_before, _redis_cpu_seconds(redis) - redis_before
    return _parsed(done.stdout, server_cpu, redis_cpu)


def _parsed(text: str, server_cpu: float, redis_cpu: float) -> Load:
    requests = int(_found(r"(\d+) requests in", text))
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return Load(
        per_second=float(_found(r"Requests/sec:\s+([\d.]+)", text)),
        p99_ms=float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit],
        server_us=server_cpu / requests * 1_000_000,
        redis_us=redis_cpu / requests * 1_000_000,
        bad=int(bad[1]) if bad else 0,
    )


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise ValueError(f"wrk said nothing like {pattern!r}:\n{text}")
    return match[1]


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _redis_cpu_seconds(redis: Redis) -> float:
    cpu: dict[str, Any] = redis.info("cpu")
    return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])


def _report(bare: list[Load], enter: list[Load], info: dict[str, Any], options: argparse.Namespace) -> None:
    ratios = [mine.per_second / theirs.per_second for mine, theirs in zip(enter, bare, strict=True)]
    document = {
        "enter_per_second": round(statistics.median(load.per_second for load in enter)),
        "bare_uvicorn_per_second": round(statistics.median(load.per_second for load in bare)),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "enter_p99_ms": round(statistics.median(load.p99_ms for load in enter), 1),
        "server_us_per_enter": round(statistics.median(load.server_us for load in enter), 1),
        "redis_us_per_enter": round(statistics.median(load.redis_us for load in enter), 2),
        "bad_answers": sum(load.bad for load in enter),
        "rounds": options.rounds,
        "connections": options.connections,
        "waiting_at_start": options.waiting,
        "redis": info.get("valkey_version") or info["redis_version"],
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    if options.json:
        print(json.dumps(document))
        return
    for name, value in document.items():
        print(f"{name:24} {value}")


if __name__ == "__main__":
    main()
