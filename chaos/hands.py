"""What carries a schedule out: each lane's faults one after another, and the diary of what was done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from redis.exceptions import RedisError

from chaos.diary import Diary
from chaos.schedule import LANES, Fault
from chaos.stage import CampaignError
from rig.faults import KINDS, Ground, strike
from rig.process import Ended
from rig.waiting import until

#: Settings of Redis that faults change, as they are else.
_SETTINGS: Final = ("maxmemory", 0, "min-replicas-to-write", 0)


async def carry_out(
    ground: Ground, schedule: Sequence[Fault], diary: Diary, *, say: Callable[[str], None] = lambda _: None
) -> None:
    """All of it, from now on. Raises CampaignError for what does not come back."""
    began = time.monotonic()

    async def lane(name: str) -> None:
        for fault in schedule:
            if fault.lane != name:
                continue
            await asyncio.sleep(began + fault.at - time.monotonic())
            say(f"{time.monotonic() - began:6.1f} s  {fault.kind} {fault.target}".rstrip())
            with diary.noted(fault) as entry:
                how = {"target": fault.target, "value": fault.value, "said": entry.said, "wrong": diary.faults.append}
                struck = strike(fault.kind, **how)
                try:
                    async with struck(ground):
                        await asyncio.sleep(fault.lasts if KINDS[fault.kind].lasts else 0)
                except (Ended, TimeoutError) as error:
                    raise CampaignError(f"{fault.kind}: {error}") from error

    async with asyncio.TaskGroup() as lanes:
        for name in LANES:
            lanes.create_task(lane(name))


async def heal(ground: Ground, diary: Diary) -> None:
    """Whatever is still struck, because something else did not come back, is itself again."""
    ground.line.mode = "open"
    redis, instances = asyncio.to_thread(_heal_redis, ground), asyncio.to_thread(_heal_instances, ground)
    for healing in (redis, instances, ground.operator.restore()):
        try:
            await healing
        except (Ended, TimeoutError) as error:
            diary.faults.append(f"not as before in the end: {error}")


def _heal_redis(ground: Ground) -> None:
    ground.redis.thaw()
    if not ground.redis.running:
        ground.redis.start()
    # Else a script that never ends lets Redis do nothing else.
    with suppress(RedisError):
        ground.redis.ask("SCRIPT", "KILL")
    until(lambda: ground.redis.ask("CONFIG", "SET", *_SETTINGS), "the settings of Redis", despite=RedisError)


def _heal_instances(ground: Ground) -> None:
    for instance in ground.instances:
        instance.thaw()
        if not instance.running:
            instance.start()
    for instance in ground.instances:
        instance.await_ready()
