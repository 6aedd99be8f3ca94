"""The scenarios: which room, who comes, in which shape, on how many instances, and what is good enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from loadtest.figures import Limits

#: A crowd as people are: most wait as told, some do not.
PEOPLE: Final[Mapping[str, float]] = {
    "patient": 10,
    "reloader": 3,
    "leaver": 2,
    "sleeper": 3,
    "vanisher": 2,
    "impatient": 1,
    "forgetful": 1,
    "stranger": 1,
    "forger": 2,
}

#: Nobody goes silent or gets old while it is measured; a few are admitted all the time, so that the scheduler works.
_CROWDED: Final[dict[str, Any]] = {
    "capacity": 500,
    "admit_per_second": 100.0,
    "session_seconds": 300.0,
    "claim_seconds": 30.0,
    "abandon_seconds": 86_400.0,
    "ticket_seconds": 86_400.0,
    "max_waiting": 5_000_000,
}

#: Turns of a few seconds, so that every way through the room is gone within a short run.
_BRISK: Final[dict[str, Any]] = {
    "capacity": 12,
    "admit_per_second": 20.0,
    "session_seconds": 8.0,
    "claim_seconds": 3.0,
    "abandon_seconds": 4.0,
    "ticket_seconds": 60.0,
}


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One scenario. It is run once on each number of `instances`.

    `probed`: what the servers hold on to is looked at too; `sized`: also what a script call costs by its size.

    `changed` says what the command line has made different: then no comparison is meant.

    `prefilled` visitors wait before the first one comes. `rate`, `drop_after_seconds` and the rest are as in a Plan.
    """

    name: str
    about: str
    settings: Mapping[str, Any]
    habits: Mapping[str, float] = field(default_factory=lambda: {"patient": 1.0})
    shape: str = "steady"
    users: int
    seconds: float
    rate: float = 0.0
    prefilled: int = 0
    instances: tuple[int, ...] = (1,)
    through_nginx: bool = False
    processes: int = 1
    drop_after_seconds: float = 0.0
    stay_seconds: float = 1.0
    probed: bool = False
    sized: bool = False
    limits: Limits = field(default_factory=Limits)
    changed: str = ""


#: DESIGN.md's bar: all good, p95 below 50 ms, p99 below 100 ms.
_BUDGET: Final = Limits(success=1.0, p95_ms=50, p99_ms=100, offered_share=1.0)

SCENARIOS: Final[dict[str, Scenario]] = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            name="capacity",
            about="300,000 wait, 5,000 enter per second are offered for a minute, to one instance",
            settings=_CROWDED,
            habits={"arrival": 1},
            users=200,
            seconds=60,
            rate=5000,
            prefilled=300_000,
            limits=_BUDGET,
        ),
        Scenario(
            name="scale",
            about="the same through nginx, on 1, 2 and 4 instances",
            settings=_CROWDED,
            habits={"arrival": 1},
            users=200,
            seconds=30,
            rate=2500,
            prefilled=300_000,
            instances=(1, 2, 4),
            through_nginx=True,
            sized=True,
            limits=_BUDGET,
        ),
        Scenario(
            name="herd",
            about="everybody comes at one second, and waits",
            settings={"capacity": 200, "session_seconds": 60.0, "claim_seconds": 20.0, "abandon_seconds": 60.0},
            shape="flash",
            users=2000,
            seconds=45,
            limits=Limits(success=1.0, p99_ms=2000),
        ),
        Scenario(
            name="ramp",
            about="ever more people of all habits",
            settings=_BRISK | {"capacity": 60, "admit_per_second": 60.0},
            habits=PEOPLE,
            shape="ramp",
            users=400,
            seconds=60,
            limits=Limits(success=1.0, p99_ms=500),
        ),
        Scenario(
            name="soak",
            about="people of all habits for as long as you like; what the servers hold on to may not grow",
            settings=_BRISK | {"capacity": 40, "admit_per_second": 40.0, "ticket_seconds": 15.0},
            habits=PEOPLE,
            shape="soak",
            users=200,
            seconds=90,
            probed=True,
            limits=Limits(success=1.0, p99_ms=500),
        ),
        Scenario(
            name="reconnect",
            about="everybody waits at an event stream, and all streams break at once",
            settings={
                "capacity": 20,
                "admit_per_second": 1.0,
                "session_seconds": 30.0,
                "claim_seconds": 20.0,
                "abandon_seconds": 60.0,
            },
            habits={"watcher": 1},
            shape="flash",
            users=500,
            seconds=60,
            drop_after_seconds=15,
            limits=Limits(success=1.0, p99_ms=1000),
        ),
        Scenario(
            name="crowd",
            about="people of all habits through nginx, small enough for any machine",
            settings=_BRISK,
            habits=PEOPLE,
            users=60,
            seconds=15,
            instances=(2,),
            through_nginx=True,
            limits=Limits(success=1.0),
        ),
    )
}
