"""One run: the crowd by Locust, the watch beside it, and the judgement when everybody has gone home."""

from __future__ import annotations

import asyncio
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from crowd.books import Books, conserved, reconciled
from crowd.history import History
from crowd.invariants import Check, check_all
from crowd.rules import Rules
from crowd.watch import Watch, looks_hold, watching
from loadtest.batches import Batches, call_costs
from loadtest.figures import arrivals, per_endpoint, within
from loadtest.machine import Account, accounting
from loadtest.outcome import Outcome, by_second, generator
from loadtest.plan import PLAN_VARIABLE, Plan
from loadtest.probe import Probe, growths, probing
from loadtest.scenarios import Scenario
from loadtest.stage import Stage
from loadtest.streams import came_back, reconnection
from rig.ports import free_port
from rig.process import Process, environment
from rig.waiting import PATIENCE_SECONDS, eventually

ROOT: Final = Path(__file__).parent.parent

#: Seconds between two looks of the watch: often, but not so often that it is a load itself.
_WATCH_SECONDS: Final = 0.1


#: What a plan says as the scenario does.
_SHARED: Final = ("habits", "shape", "users", "seconds", "processes", "rate", "stay_seconds", "drop_after_seconds")


class LoadtestError(Exception):
    """A scenario cannot run; the message says why and what to do."""


@dataclass(frozen=True)
class Seen:
    """What is known of the room beside the history: its books before and after, the watch, the probe."""

    before: Books | None = None
    after: Books | None = None
    watch: Watch | None = None
    probe: Probe | None = None
    account: Account | None = None
    visitors_per_call: float = 0.0
    call_costs: Sequence[tuple[int, float]] = ()


def planned(scenario: Scenario, stage: Stage, folder: Path, settings: Mapping[str, Any]) -> Plan:
    """What Locust is told for a scenario on a stage, whose room has these settings."""
    return Plan(
        folder=str(folder),
        room=stage.room,
        gate=stage.gate,
        settings=dict(settings),
        **{name: getattr(scenario, name) for name in _SHARED},
    )


async def run(scenario: Scenario, stage: Stage, folder: Path, *, instances: int) -> Outcome:
    """Let the crowd come and judge it. Raises LoadtestError, BooksError."""
    if "watcher" in scenario.habits:
        require_streams(stage)
    before = _books(stage)
    plan = planned(scenario, stage, folder, before.settings if before is not None else scenario.settings)
    async with AsyncExitStack() as stack:
        watch = probe = None
        if stage.redis is not None:
            watch = Watch(stage.room, stage.redis.url, pause_seconds=_WATCH_SECONDS)
            await stack.enter_async_context(watching(watch))
        if scenario.probed and stage.processes:
            probe = stack.enter_context(probing(stage))
        batches = Batches.of(stage)
        with accounting(*stage.accounts) as account:
            await locust(plan, stage.url)
        per_call = Batches.of(stage).mean_since(batches)
        after = await asyncio.to_thread(_books, stage)
    costs = await call_costs(stage) if scenario.sized else []
    seen = Seen(before, after, watch, probe, account, per_call, costs)
    history = History.read(folder)
    if not history.operations:
        raise LoadtestError(f"nobody came: see {folder / 'locust.log'}")
    cpu_us = account.servers.us_per(len(history.operations))
    return judged(scenario, plan, history, seen, instances=instances, cpu_us=cpu_us)


def judged(
    scenario: Scenario, plan: Plan, history: History, seen: Seen, *, instances: int, cpu_us: dict[str, float]
) -> Outcome:
    """The outcome of a history, with every check that there is something to hold against."""
    endpoints, kept = per_endpoint(history), arrivals(history, plan.offered)
    rules = Rules.of(seen.after.settings if seen.after is not None else plan.settings)
    back = reconnection(history)
    checks = [*check_all(history, rules), *_of_the_room(history, seen, rules)]
    checks += within(scenario.limits, endpoints, kept)
    checks += came_back(back) if back is not None else []
    held = growths(seen.probe, history) if seen.probe is not None else []
    checks += [growth.check() for growth in held]
    return Outcome(
        scenario=scenario.name,
        about=scenario.about + (f"; changed: {scenario.changed}" if scenario.changed else ""),
        instances=instances,
        endpoints=endpoints,
        arrivals=kept,
        cpu_us=cpu_us,
        generator=generator(history),
        checks=checks,
        seconds=by_second(history),
        more={
            **({"changed": scenario.changed} if scenario.changed else {}),
            **({"reconnection": asdict(back)} if back is not None else {}),
            **({"growth": [asdict(growth) for growth in held]} if held else {}),
            **({"visitors_per_call": seen.visitors_per_call} if seen.visitors_per_call else {}),
            **({"call_costs": seen.call_costs} if seen.call_costs else {}),
            **_taken(seen.account),
        },
    )


def _taken(account: Account | None) -> dict[str, float]:
    return {"others_share": account.others, "stolen_share": account.stolen} if account is not None else {}


def _of_the_room(history: History, seen: Seen, rules: Rules) -> list[Check]:
    checks = []
    if seen.after is not None:
        checks.append(conserved(seen.after))
    if seen.watch is not None:
        checks += looks_hold(seen.watch.looks, rules)
        # Elsewhere others may come and go meanwhile; on a stage of our own nobody else does.
        if seen.before is not None and seen.after is not None:
            checks.append(reconciled(history, seen.after, seen.before))
    return checks


def _books(stage: Stage) -> Books | None:
    return Books.balanced(stage.admin_url, stage.room, stage.admin_key) if stage.admin_url else None


def require_streams(stage: Stage) -> None:
    """Raise LoadtestError if the server has no event streams. Without a proof they are refused, not unknown."""
    address = f"{stage.url}/v1/rooms/{stage.room}/events"
    try:
        with urllib.request.urlopen(address, timeout=10):  # noqa: S310 - where the run goes anyway
            return
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 404:
            raise LoadtestError(f"this server has no event streams: {address} answered 404") from None
    except OSError as error:
        raise LoadtestError(f"{address}: {error}") from None


async def locust(plan: Plan, url: str) -> None:
    """Run Locust to its end."""
    told = environment(**{PLAN_VARIABLE: str(plan.write())})
    with Process("locust", _command(plan, url), folder=Path(plan.folder), variables=told) as process:
        try:
            seconds = plan.seconds + plan.grace_seconds + PATIENCE_SECONDS
            await eventually(lambda: not process.running, "the end of Locust", seconds=seconds)
        except TimeoutError:
            raise LoadtestError(f"Locust did not come to an end: see {process.log}") from None
        if code := process.wait():
            raise LoadtestError(f"Locust ended with {code}: {process.last_words()} (see {process.log})")


def _command(plan: Plan, url: str) -> list[str]:
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtest" / "locustfile.py"), "--headless"]
    command += ["--host", url, "--only-summary", "--loglevel", "WARNING", "--exit-code-on-error", "0"]
    command += ["--stop-timeout", "5", "--html", str(Path(plan.folder) / "locust.html")]
    if plan.processes > 1:
        port = str(free_port())
        command += ["--processes", str(plan.processes), "--master-bind-host", "127.0.0.1"]
        command += ["--master-bind-port", port, "--master-port", port]
    return command
