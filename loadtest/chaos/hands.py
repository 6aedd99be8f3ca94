"""How each kind of fault is done, and undone: one coroutine for each, which returns when all is as it was."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import psutil
from redis.exceptions import RedisError

from loadtest.chaos.diary import Diary, Entry
from loadtest.chaos.operator import Operator
from loadtest.chaos.schedule import LANES, Fault
from loadtest.chaos.stage import ROOM, CampaignError, Ground
from rig.line import Mode
from waitroom.store import keys

#: Seconds between two blows of a fault that strikes again and again.
_AGAIN_SECONDS: Final = 0.1
_NOW_AND_THEN_SECONDS: Final = 0.4

#: Bytes below what Redis has taken to which its memory is squeezed.
_SQUEEZE_BYTES: Final = 100_000

#: Seconds that an instance told to stop may take.
_STOP_SECONDS: Final = 30.0

#: Seconds in which a process that was killed must be gone, and another there.
_GONE_SECONDS: Final = 30.0

#: Seconds that a worker of nginx on its way out takes to hang up on those who ask nothing.
_HANG_UP_SECONDS: Final = 0.5

#: A script that only reads, for so many milliseconds.
_BUSY: Final = """#!lua flags=no-writes
local function now() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end
local until_ms = now() + tonumber(ARGV[1])
while now() < until_ms do end
return 1
"""

Hand = Callable[["Hands", Fault, Entry], Awaitable[None]]


class Hands:
    """Carries a schedule out, each lane's faults one after another, and notes in the diary what was done."""

    def __init__(self, ground: Ground, operator: Operator, diary: Diary) -> None:
        self.ground = ground
        self.operator = operator
        self.diary = diary

    async def carry_out(self, schedule: Sequence[Fault], *, say: Callable[[str], None] = lambda _: None) -> None:
        """All of it, from now on. Raises CampaignError for what does not come back."""
        began = time.monotonic()

        async def lane(name: str) -> None:
            for fault in schedule:
                if fault.lane != name:
                    continue
                await asyncio.sleep(began + fault.at - time.monotonic())
                say(f"{time.monotonic() - began:6.1f} s  {fault.kind} {fault.target}".rstrip())
                with self.diary.noted(fault) as entry:
                    await HANDS[fault.kind](self, fault, entry)

        async with asyncio.TaskGroup() as lanes:
            for name in LANES:
                lanes.create_task(lane(name))

    async def heal(self) -> None:
        """Whatever is still struck, because something else did not come back, is itself again."""
        self.ground.line.mode = "open"
        await asyncio.to_thread(self._revive_redis)
        for name in ("maxmemory", "min-replicas-to-write"):
            await self._reset(name)
        for number, instance in enumerate(self.ground.instances, 1):
            instance.signal(signal.SIGCONT)
            if not instance.running:
                self.ground.start_instance(number)
        if not await self.ground.ready():
            self.diary.faults.append("an instance does not become ready in the end")
        await self.operator.restore()

    def _revive_redis(self) -> None:
        if not self.ground.redis.running:
            self.ground.redis.start()
        self.ground.redis.thaw()

    # The line

    async def line(self, mode: Mode, fault: Fault) -> None:
        """Let the line do that for as long as the fault lasts."""
        self.ground.line.mode = mode
        await asyncio.sleep(fault.lasts)
        self.ground.line.mode = "open"

    async def slow(self, fault: Fault, _entry: Entry) -> None:
        """Each reply is late, by another time each."""
        self.ground.line.delay_seconds = (0.01, fault.value)
        await self.line("slow", fault)

    async def once_and_again(self, mode: Mode, fault: Fault) -> None:
        """That happens to a reply now and then."""
        until = time.monotonic() + fault.lasts
        while time.monotonic() < until:
            self.ground.line.once(mode)
            await asyncio.sleep(_NOW_AND_THEN_SECONDS)
        self.ground.line.mode = "open"

    # Redis

    async def ask(self, *command: str | int) -> Any:
        """What Redis says, not through the line; None where it says nothing good."""
        with suppress(RedisError):
            return await asyncio.to_thread(self.ground.redis.ask, *command)
        return None

    async def freeze(self, fault: Fault, _entry: Entry) -> None:
        """SIGSTOP, SIGCONT."""
        self.ground.redis.freeze()
        await asyncio.sleep(fault.lasts)
        self.ground.redis.thaw()

    async def kill(self, fault: Fault, entry: Entry) -> None:
        """SIGKILL, and a start on what is on disk."""
        await asyncio.to_thread(self.ground.redis.kill)
        if fault.kind == "emptied":
            self.ground.empty_redis()
            entry.said.append("all data are gone")
        await asyncio.sleep(fault.lasts)
        await asyncio.to_thread(self.ground.redis.start)

    async def repeat(self, fault: Fault, *command: str | int) -> None:
        """The same command to Redis again and again."""
        until = time.monotonic() + fault.lasts
        while time.monotonic() < until:
            await self.ask(*command)
            await asyncio.sleep(_AGAIN_SECONDS)

    async def squeeze(self, fault: Fault, _entry: Entry) -> None:
        """No memory for what is new."""
        memory = await self.ask("INFO", "memory")
        if memory is not None:
            await self.ask("CONFIG", "SET", "maxmemory", max(int(memory["used_memory"]) - _SQUEEZE_BYTES, 1))
            await asyncio.sleep(fault.lasts)
        await self._reset("maxmemory")

    async def busy(self, fault: Fault, _entry: Entry) -> None:
        """A long script."""
        await self.ask("EVAL", _BUSY, 0, round(fault.lasts * 1000))
        # Whoever asked gave up after two seconds.
        while await self.ask("PING") is None:
            await asyncio.sleep(_AGAIN_SECONDS)

    async def no_replicas(self, fault: Fault, _entry: Entry) -> None:
        """Redis takes no writes for want of a replica."""
        await self.ask("CONFIG", "SET", "min-replicas-to-write", 1)
        await asyncio.sleep(fault.lasts)
        await self._reset("min-replicas-to-write")

    async def _reset(self, name: str) -> None:
        while await self.ask("CONFIG", "SET", name, 0) is None:
            await asyncio.sleep(_AGAIN_SECONDS)

    # The instances

    async def kill_instance(self, fault: Fault, entry: Entry) -> None:
        """SIGKILL, and a start."""
        number = await self._chosen(fault, entry)
        self.ground.instances[number - 1].signal(signal.SIGKILL)
        await asyncio.to_thread(self.ground.instances[number - 1].wait)
        await asyncio.sleep(fault.lasts)
        await self._start(number)

    async def freeze_instance(self, fault: Fault, entry: Entry) -> None:
        """SIGSTOP for longer than a lease, SIGCONT."""
        number = await self._chosen(fault, entry)
        self.ground.instances[number - 1].signal(signal.SIGSTOP)
        await asyncio.sleep(fault.lasts)
        self.ground.instances[number - 1].signal(signal.SIGCONT)

    async def restart_instance(self, fault: Fault, entry: Entry) -> None:
        """SIGTERM, and a start."""
        await self._restart(await self._chosen(fault, entry), pause=fault.lasts)

    async def restart_all(self, _fault: Fault, _entry: Entry) -> None:
        """One after another."""
        for number in range(1, len(self.ground.instances) + 1):
            await self._restart(number)

    async def rotate(self, _fault: Fault, entry: Entry) -> None:
        """A new key behind the old one everywhere, then in front. The old ones stay: their tickets are still good."""
        signers = self.ground.signers
        number = len(signers) + 1
        new = f"k{number}:{hashlib.sha256(b'campaign %d' % number).hexdigest()}"
        for keyring in ([signers[0], new, *signers[1:]], [new, *signers]):
            self.ground.signers = keyring
            await self.restart_all(_fault, entry)
        entry.said.append(f"k{number} signs")

    async def _chosen(self, fault: Fault, entry: Entry) -> int:
        number = await self.ground.numbered(fault.target)
        entry.said.append(f"instance {number}")
        return number

    async def _restart(self, number: int, *, pause: float = 0.0) -> None:
        instance = self.ground.instances[number - 1]
        instance.signal(signal.SIGTERM)
        code = await asyncio.to_thread(instance.wait, _STOP_SECONDS)
        if code != 0:
            self.diary.faults.append(f"instance {number} was told to stop and ended with {code}")
        await asyncio.sleep(pause)
        await self._start(number)

    async def _start(self, number: int) -> None:
        self.ground.start_instance(number)
        if not await self.ground.ready(number):
            raise CampaignError(f"instance {number} does not become ready again")

    # nginx

    async def reload(self, _fault: Fault, _entry: Entry) -> None:
        """SIGHUP; until there are new workers, and the old ones have closed the connections that were idle.

        A request that is sent just then has no answer: HTTP has no word by which a server could say that it hangs up.
        """
        before = self.ground.workers()
        self.ground.nginx.signal(signal.SIGHUP)
        await self._new_workers(before)
        async with asyncio.timeout(_GONE_SECONDS):
            while any(map(_serves, before)):
                await asyncio.sleep(_AGAIN_SECONDS / 2)
        await asyncio.sleep(_HANG_UP_SECONDS)

    async def kill_worker(self, _fault: Fault, _entry: Entry) -> None:
        """SIGKILL to those that serve; until they are gone, which takes a while on a busy machine, and others there."""
        before = self.ground.workers()
        for worker in before:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        await asyncio.to_thread(psutil.wait_procs, before, _GONE_SECONDS)
        await self._new_workers(before)

    async def _new_workers(self, before: Sequence[psutil.Process]) -> None:
        async with asyncio.timeout(_GONE_SECONDS):
            while not set(self.ground.workers()) - set(before):
                await asyncio.sleep(_AGAIN_SECONDS / 2)

    # The room

    async def change(self, fault: Fault, **settings: Any) -> None:
        """Other settings, then those of before."""
        before = {name: self.ground.seeds[name] for name in settings}
        await self.operator.change(**settings)
        await asyncio.sleep(fault.lasts)
        await self.operator.change(**before)

    async def shut(self, name: str, state: str, fault: Fault) -> None:
        """`pause` or `close` it, then open it again."""
        await self.operator.command(name, state)
        await asyncio.sleep(fault.lasts)
        await self.operator.command("resume", "open")

    async def revoke(self, fault: Fault, entry: Entry) -> None:
        """Send somebody away, waiting or inside."""
        waiting = await self.ask("ZRANGE", keys.room_key(ROOM, "wait"), 0, -1) or []
        inside = await self.ask("ZRANGE", keys.room_key(ROOM, "active"), 0, -1) or []
        there = [*waiting, *inside]
        if not there:
            entry.said.append("nobody was there")
            return
        await self.operator.revoke(there[int(fault.value * len(there)) % len(there)])


def _serves(worker: psutil.Process) -> bool:
    """Whether a worker of nginx still takes requests: one that is on its way out says so in its title."""
    with suppress(psutil.NoSuchProcess):
        return worker.is_running() and "shutting down" not in " ".join(worker.cmdline())
    return False


#: What is done for each kind.
HANDS: Final[dict[str, Hand]] = {
    "refused": lambda hands, fault, _: hands.line("refuse", fault),
    "black hole": lambda hands, fault, _: hands.line("blackhole", fault),
    "replies held": lambda hands, fault, _: hands.line("deaf", fault),
    "replies lost": lambda hands, fault, _: hands.once_and_again("drop", fault),
    "resets": lambda hands, fault, _: hands.once_and_again("reset", fault),
    "truncated": lambda hands, fault, _: hands.once_and_again("truncate", fault),
    "slow": Hands.slow,
    "frozen": Hands.freeze,
    "killed": Hands.kill,
    "emptied": Hands.kill,
    "scripts flushed": lambda hands, fault, _: hands.repeat(fault, "SCRIPT", "FLUSH"),
    "connections killed": lambda hands, fault, _: hands.repeat(fault, "CLIENT", "KILL", "TYPE", "normal"),
    "out of memory": Hands.squeeze,
    "busy": Hands.busy,
    "no replicas": Hands.no_replicas,
    "instance killed": Hands.kill_instance,
    "instance frozen": Hands.freeze_instance,
    "instance restarted": Hands.restart_instance,
    "all restarted": Hands.restart_all,
    "key rotated": Hands.rotate,
    "nginx reloaded": Hands.reload,
    "nginx worker killed": Hands.kill_worker,
    "capacity changed": lambda hands, fault, _: hands.change(fault, capacity=int(fault.value)),
    "rate changed": lambda hands, fault, _: hands.change(fault, admit_per_second=fault.value),
    "paused": lambda hands, fault, _: hands.shut("pause", "paused", fault),
    "closed": lambda hands, fault, _: hands.shut("close", "closed", fault),
    "revoked": Hands.revoke,
}
