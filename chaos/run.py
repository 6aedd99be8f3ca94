"""One campaign: the servers, the crowd, the faults and the watch beside it, and the judgement at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from chaos.diary import Diary
from chaos.hands import carry_out, heal
from chaos.judge import Case, judged
from chaos.report import Campaign, Wanted
from chaos.schedule import Fault, draw
from chaos.sights import recovered, sights
from chaos.stage import ROOM, CampaignError, grounded
from crowd.books import Books, BooksError
from crowd.history import History
from crowd.invariants import Check
from crowd.verdict import no_tracebacks
from crowd.watch import Watch, watching
from loadtest.figures import per_endpoint
from loadtest.plan import Plan
from loadtest.run import LoadtestError, locust
from rig.faults import Ground
from rig.instance import ADMIN_KEY
from rig.operator import Operator
from rig.waiting import eventually
from waitroom.settings.room import RoomSettings

#: Turns of seconds and short offers, so that an outage costs places and turns, and gives them back.
SETTINGS: Final[Mapping[str, Any]] = {
    "capacity": 8,
    "admit_per_second": 8.0,
    "session_seconds": 12.0,
    "claim_seconds": 4.0,
    "abandon_seconds": 6.0,
    "ticket_seconds": 300.0,
}

#: Everybody: those who keep to the rules, those who do not, those who do not know any.
CROWD: Final[Mapping[str, float]] = {
    "patient": 10,
    "reloader": 3,
    "leaver": 2,
    "sleeper": 3,
    "vanisher": 1,
    "impatient": 1,
    "forgetful": 1,
    "stranger": 1,
    "forger": 2,
    "watcher": 3,
}

#: Seconds between two looks of the watch.
_WATCH_SECONDS: Final = 0.05

#: Seconds for which those who wait at the end go on.
_PATIENCE_SECONDS: Final = 90.0


async def campaign(folder: Path, wanted: Wanted, say: Callable[[str], None] = lambda _: None) -> Campaign:
    """Run and judge it. Raises CampaignError, LoadtestError, BooksError where it cannot be run."""
    schedule = draw(wanted.seed, wanted.seconds, wanted.only)
    plan = Plan(
        folder=str(folder),
        room=ROOM,
        habits=CROWD,
        users=wanted.users,
        seconds=wanted.seconds,
        grace_seconds=_PATIENCE_SECONDS + 5,
        patience_seconds=_PATIENCE_SECONDS,
        gate="/",
        seed=wanted.seed,
        settings=dict(SETTINGS),
    )
    async with grounded(folder, engine=wanted.engine, settings=SETTINGS, seed=wanted.seed) as ground:
        ground.operator = Operator(ground.instances, ROOM, SETTINGS)
        diary = Diary(settings=ground.operator.given, revoked=ground.operator.revoked)
        watch = Watch(ROOM, ground.redis.url, pause_seconds=_WATCH_SECONDS)
        async with watching(watch):
            began = await _play(ground, diary, schedule, plan, say)
        books = await asyncio.to_thread(_books, ground)
    history = History.read(folder)
    if not history.operations:
        raise LoadtestError(f"nobody came: see {folder / 'locust.log'}")
    seen = sights(history, watch.looks, diary, began)
    case = Case(history, diary, RoomSettings(**SETTINGS), watch.looks, books)
    return Campaign(
        **vars(wanted),
        schedule=schedule,
        sights=seen,
        endpoints=per_endpoint(history),
        checks=[
            *judged(case),
            recovered(seen, wanted.seconds),
            Check("whatever was struck comes back", len(diary.entries), diary.faults),
            no_tracebacks(folder),
        ],
    )


def _books(ground: Ground) -> Books | None:
    """The books, by whichever instance shows them; that one does not come back is another fault."""
    for instance in ground.instances:
        with suppress(BooksError):
            return Books.balanced(instance.url, ROOM, ADMIN_KEY)
    return None


async def _play(
    ground: Ground, diary: Diary, schedule: Sequence[Fault], plan: Plan, say: Callable[[str], None]
) -> float:
    """The crowd comes, and is struck, until it has gone home; returns when it began."""
    crowd = asyncio.create_task(locust(plan, ground.nginx.url))
    try:
        begun = Path(plan.folder) / "history-0.jsonl"
        await eventually(lambda: crowd.done() or begun.exists(), "the beginning of the crowd")
        if crowd.done():
            await crowd
            raise LoadtestError("the crowd did not come")
        began = time.time()
        try:
            await carry_out(ground, schedule, diary, say=say)
        except* CampaignError as group:
            diary.faults += [str(error) for error in group.exceptions]
        await heal(ground, diary)
        await crowd
        return began
    finally:
        crowd.cancel()
        await asyncio.gather(crowd, return_exceptions=True)
