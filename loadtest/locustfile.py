"""What Locust loads: the visitors and the shape that the plan names, and a history of what they see.

`python -m loadtest SCENARIO` writes the plan, starts Locust with this file, and judges what came of it.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

import gevent
from locust import events
from locust.env import Environment
from locust.runners import MasterRunner

from crowd.history import Recorder, clock
from loadtest.plan import Plan
from loadtest.shapes import SHAPES
from loadtest.visitors import Arriving, Run, Visitor
from loadtest.watcher import Watcher

#: Seconds from when everybody is there until the first arrival is due.
_LEAD_SECONDS = 0.5

PLAN = Plan.read()

for _name, _weight in PLAN.habits.items():
    # A class of its own for each, because a weight is the class's and Locust collects classes by their names here.
    _driver = {"arrival": Arriving, "watcher": Watcher}.get(_name, Visitor)
    globals()[_name] = type(_name, (_driver,), {"abstract": False, "habit": _name, "weight": _weight})

Coming = type("Coming", (SHAPES[PLAN.shape],), {"abstract": False, "plan": PLAN})


def begin(environment: Environment, **_: Any) -> None:
    """Open this process's part of the history."""
    runner = environment.runner
    if isinstance(runner, MasterRunner) or runner is None:
        return
    worker = int(getattr(runner, "worker_index", 0))
    recorder = Recorder(Path(PLAN.folder) / f"history-{worker}.jsonl")
    now = time.monotonic()
    drop_at = now + PLAN.drop_after_seconds if PLAN.drop_after_seconds else float("inf")
    run = Visitor.run_of = Run(PLAN, recorder, worker, now + PLAN.seconds, drop_at)
    gevent.spawn(_account, environment, run)


def open_doors(user_count: int, **_: Any) -> None:
    """Everybody is there: arrivals on schedule may begin."""
    run = getattr(Visitor, "run_of", None)
    if PLAN.rate and run is not None and Arriving.places is None and user_count:
        first = clock() + _LEAD_SECONDS
        run.ends_at = time.monotonic() + _LEAD_SECONDS + PLAN.seconds
        Arriving.open(run, first=first)


def end(**_: Any) -> None:
    """Write the rest of the history."""
    run = getattr(Visitor, "run_of", None)
    if run is not None:
        run.recorder.flush()


def _account(environment: Environment, run: Run) -> None:
    """Note once a second how much of a core this process takes: the generator can be the bottleneck."""
    used, at = _cpu_seconds(), time.monotonic()
    while True:
        gevent.sleep(1)
        now_used, now = _cpu_seconds(), time.monotonic()
        runner = environment.runner
        users = runner.user_count if runner is not None else 0
        run.recorder.note(
            about="generator", worker=run.worker, at=clock(), cpu=now_used - used, users=users, wall=now - at
        )
        run.recorder.flush()
        used, at = now_used, now


def _cpu_seconds() -> float:
    taken = resource.getrusage(resource.RUSAGE_SELF)
    return taken.ru_utime + taken.ru_stime


events.test_start.add_listener(begin)
events.spawning_complete.add_listener(open_doors)
events.quitting.add_listener(end)
