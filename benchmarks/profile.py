"""Where the time of a hot path goes: samples of an instance under load, as a flame graph and as shares by part.

`python -m benchmarks.profile --folder benchmarks/results`. py-spy samples the instance from outside while wrk asks;
`profile-NAME.svg` is the flame graph. A row is what one part of the program does itself, without what it calls: its
share of the samples, and that share of the CPU time per request as it was measured without the sampler.
"""

from __future__ import annotations

import platform
import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import report, servers, wrk
from benchmarks.figures import significant
from benchmarks.report import Row, say
from benchmarks.scene import Scene, scene
from benchmarks.servers import ROOT, BenchmarkError
from benchmarks.wrk import Ask
from rig.instance import Instance
from rig.machine import program


@dataclass(frozen=True)
class Plan:
    """Where the flame graphs go, how many wait, and how much load is sampled for how long."""

    folder: Path = ROOT / "benchmarks" / "results"
    waiting: int = 300_000
    connections: int = 256
    seconds: int = 6


QUICK: Final = Plan(waiting=10_000, seconds=1)

#: A part of the program by what its frames are called. A sample belongs to the first part that its innermost frame
#: fits, else its next outer one does, and so on: what Python and libc do on behalf of a part is that part's.
PARTS: Final = (
    ("kernel: writing", r"^(write|writev|send|sendmsg) \(lib"),
    ("kernel: reading", r"^(read|recv|recvfrom) \(lib"),
    ("kernel: waiting for events", r"^epoll_"),
    ("garbage collection", r"^gc_collect"),
    ("tickets and passes", r"waitroom/proofs/|jwt/|hmac\.py|base64\.py|secrets\.py|_hashopenssl"),
    ("batching", r"waitroom/rooms/batching\.py"),
    ("script calls and replies", r"waitroom/store/(?!clock)"),
    ("redis-py", r"[( ]redis/|hiredis"),
    ("rooms and etas", r"waitroom/(rooms/|store/clock|model)"),
    ("documents and headers", r"waitroom/web/|orjson"),
    ("metrics", r"waitroom/metrics\.py|prometheus_client/"),
    ("scheduler", r"waitroom/(leader|checks|serve)/"),
    ("Starlette", r"starlette/"),
    ("uvicorn and httptools", r"uvicorn/|httptools|\((parser|llhttp|url_parser|api)\.c"),
    ("asyncio and uvloop", r"asyncio/|uvloop|_asynciomodule|\((loop|core|stream|linux|loop-watcher|queue)\.[ch]"),
)

#: Whether py-spy can tell what compiled code does; else that counts for the Python that called it.
_NATIVE: Final = platform.system() == "Linux" and platform.machine() in ("x86_64", "aarch64")


def measure(plan: Plan) -> list[Row]:
    """A row for each part of each hot path, the largest first."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    rows = list[Row]()
    with scene() as stage, servers.instance(stage.redis.url, stage.folder) as instance:
        stage.fill(plan.waiting)
        for ask in stage.hot():
            rows += _profiled(stage, instance, ask, plan)
            say(f"profile: {ask.name}: done")
    return rows


def _profiled(stage: Scene, instance: Instance, ask: Ask, plan: Plan) -> list[Row]:
    wrk.warm(instance, ask)
    asked = [(instance, ask)]
    [load] = stage.ask(asked, connections=plan.connections, seconds=plan.seconds, accounts=[instance])[ask.name]
    _sampled(instance, ask, plan.folder.absolute() / f"profile-{ask.name}.svg", "flamegraph", plan)
    stage.restore()
    raw = stage.folder / f"{ask.name}.txt"
    _sampled(instance, ask, raw, "raw", plan)
    stage.restore()
    each = load.cpu_us[instance.name]
    return [
        {"asked": ask.name, "part": part, "percent": significant(100 * share), "us": significant(share * each)}
        for part, share in shares_by_part(raw.read_text(encoding="utf-8"))
    ]


def _sampled(instance: Instance, ask: Ask, file: Path, kind: str, plan: Plan) -> None:
    # The graph shows this command as its title: no paths of this machine in it.
    command = ["py-spy", "record", "--pid", str(instance.pid), "--duration", str(plan.seconds), "--format", kind]
    command += ["--rate", "250", "--function", *(["--native"] if _NATIVE else []), "--output", file.name]
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(wrk.run, instance, ask, connections=plan.connections, seconds=plan.seconds + 1)
        done = subprocess.run(command, executable=program("py-spy"), cwd=file.parent, capture_output=True, text=True)
        loading.result()
    if done.returncode:
        raise BenchmarkError(f"py-spy cannot sample the instance (it may need root): {done.stderr.strip()[-300:]}")


def shares_by_part(raw: str) -> list[tuple[str, float]]:
    """The share of each part in samples as py-spy's raw format has them, the largest first."""
    samples = Counter[str]()
    for line in raw.splitlines():
        stack, _, number = line.rpartition(" ")
        if stack and number.isdecimal():
            samples[part_of(stack.split(";"))] += int(number)
    return [(part, number / samples.total()) for part, number in samples.most_common()]


def part_of(stack: Sequence[str]) -> str:
    """The part of the program that a sample belongs to; its frames, `function (file:line)`, the innermost last."""
    for frame in reversed(stack):
        for part, pattern in PARTS:
            if re.search(pattern, frame):
                return part
    return "other"


if __name__ == "__main__":
    report.run("profile", measure, Plan(), QUICK, description=__doc__)
