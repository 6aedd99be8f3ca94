"""Everything that goes wrong under waitroom, by name: how it is brought about, and how it is undone.

async with strike("frozen")(ground):
    ...  # Redis neither reads nor answers; afterwards it goes on

A fault is there for the length of the block. For how long that is, and which instance is struck, the caller decides.
A new one is a function here: what it does before its `yield` is undone after it, whatever happens to the block; without
a `yield` the fault is over as soon as it has been brought about. One that waits before its `yield` may be cancelled, or
fail, halfway: `try` and `finally` undo it from its first change on.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from inspect import isasyncgenfunction
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import psutil
from redis.asyncio import Redis
from redis.exceptions import RedisError

from rig.accounting import family
from rig.instance import Instance
from rig.line import Line, Mode
from rig.machine import missing
from rig.nginx import Nginx
from rig.operator import Operator
from rig.process import Ended
from rig.servers import Server
from rig.waiting import eventually
from waitroom.cancelling import cancelled
from waitroom.store import keys

#: Bytes below what Redis has taken to which its memory is squeezed, and which an instance may still take.
_SQUEEZE_BYTES: Final = 100_000
_LEFT_BYTES: Final = 4_000_000

#: Seconds between two blows at replies, and at Redis.
_NOW_AND_THEN_SECONDS: Final = 0.4
_AGAIN_SECONDS: Final = 0.1

#: Seconds that a worker of nginx on its way out takes to hang up on those who ask nothing.
_HANG_UP_SECONDS: Final = 0.5

#: Seconds that an instance told to stop may take.
_STOP_SECONDS: Final = 30.0

#: What makes the kernel look for somebody to kill: it takes more than is left, and is smaller than an instance.
_HUNGRY: Final = "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid())); b = bytearray(64_000_000)"


@dataclass(kw_only=True)
class Ground:
    """What is struck: Redis, the line to it, the instances at its end, and what else there is.

    `group` is the control group of the first instance; `operator` changes the room.
    """

    redis: Server
    line: Line
    instances: list[Instance] = field(default_factory=list)
    replica: Server = field(init=False, repr=False)
    nginx: Nginx = field(init=False, repr=False)
    operator: Operator = field(init=False, repr=False)
    group: Path = field(init=False, repr=False)


def _raised(wrong: str) -> None:
    raise Ended(wrong)


@dataclass
class Blow:
    """How a fault strikes: which instance or key, how hard, and with how many seconds in between (0: always).

    `target` of an instance: its number, "leader" (the first where none leads) or "all". Not `undone`: an instance that
    has ended is not started again. `said`: what is to be told. `wrong` takes what did not go as it must, such as an
    exit code; by default it raises Ended.
    """

    target: str = "1"
    value: float = 0.5
    pause_seconds: float = _NOW_AND_THEN_SECONDS
    undone: bool = True
    said: list[str] = field(default_factory=list)
    wrong: Callable[[str], object] = _raised


Lane = Literal["line", "redis", "instance", "nginx", "room"]
Does = TypeVar("Does", bound=Callable[[Ground, Blow], Any])


@dataclass(frozen=True)
class Kind:
    """A kind of fault: what it strikes, how, and whether it lasts until it is undone."""

    lane: Lane
    brought: Callable[[Ground, Blow], AbstractAsyncContextManager[None]]
    lasts: bool


#: Every kind of fault.
KINDS: Final[dict[str, Kind]] = {}


def strike(name: str, **how: Any) -> Callable[[Ground], AbstractAsyncContextManager[None]]:
    """What brings that fault about, and undoes it; `how` makes the Blow."""
    return lambda ground: KINDS[name].brought(ground, Blow(**how))


def _fault(lane: Lane, name: str = "") -> Callable[[Does], Does]:
    """Put a function that brings a fault about into the catalogue; by default under its own name."""

    def take(does: Does) -> Does:
        lasts = isasyncgenfunction(does)

        @asynccontextmanager
        async def brought(ground: Ground, blow: Blow) -> AsyncIterator[None]:
            if not lasts:
                await does(ground, blow)
                yield
                return
            doing = does(ground, blow)
            await anext(doing)
            try:
                yield
            finally:
                await anext(doing, None)

        KINDS[name or does.__name__.replace("_", " ")] = Kind(lane, brought, lasts)
        return does

    return take


@asynccontextmanager
async def _again(act: Callable[[], Awaitable[object]], pause_seconds: float) -> AsyncIterator[None]:
    """Do that again and again."""

    async def go_on() -> None:
        while True:
            with suppress(RedisError):
                await act()
            await asyncio.sleep(pause_seconds)

    going_on = asyncio.create_task(go_on())
    try:
        yield
    finally:
        await cancelled(going_on)


# The line.


def _mode(name: str, mode: Mode) -> None:
    @_fault("line", name)
    async def brought(ground: Ground, blow: Blow) -> AsyncIterator[None]:
        ground.line.delay_seconds = (blow.value / 10, blow.value)
        ground.line.mode = mode
        yield
        ground.line.mode = "open"


def _replies(name: str, mode: Mode) -> None:
    @_fault("line", name)
    async def brought(ground: Ground, blow: Blow) -> AsyncIterator[None]:
        async def strike() -> None:
            if blow.pause_seconds:
                ground.line.once(mode)
            elif ground.line.mode != mode:
                ground.line.mode = mode

        async with _again(strike, blow.pause_seconds or _AGAIN_SECONDS):
            yield
        ground.line.mode = "open"


_mode("refused", "refuse")
_mode("black hole", "blackhole")
_mode("replies held", "deaf")
_mode("trickling", "trickle")
_mode("slow", "slow")
_replies("replies lost", "drop")
_replies("resets", "reset")
_replies("truncated", "truncate")


# Redis.


async def _told(redis: Server, *command: str | int) -> Any:
    """What Redis replies, as soon as it does not refuse."""

    async def asked() -> list[Any]:
        return [await asyncio.to_thread(redis.ask, *command)]

    return (await eventually(asked, f"{command[0]} at {redis}", despite=RedisError))[0]


async def refuses(redis: Server, word: str) -> bool:
    """Whether it answers PING with an error that has that word."""
    try:
        await asyncio.to_thread(redis.ask, "PING")
    except RedisError as error:
        return word in str(error).lower()
    return False


def _command(name: str, *command: str, pause_seconds: float = _AGAIN_SECONDS) -> None:
    @_fault("redis", name)
    async def brought(ground: Ground, _: Blow) -> AsyncIterator[None]:
        async with _again(lambda: asyncio.to_thread(ground.redis.ask, *command), pause_seconds):
            yield


def _commands(name: str, command: str, undo: str) -> None:
    @_fault("redis", name)
    async def brought(ground: Ground, _: Blow) -> AsyncIterator[None]:
        try:
            await _told(ground.redis, *command.split())
            yield
        finally:
            await _told(ground.redis, *undo.split())


_command("scripts flushed", "SCRIPT", "FLUSH")
_command("connections killed", "CLIENT", "KILL", "TYPE", "normal")
_command("lease lost", "DEL", keys.LEASE, pause_seconds=0.02)
_commands("no replicas", "CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0")
_commands("silent replica", "CONFIG SET replica-serve-stale-data no", "CONFIG SET replica-serve-stale-data yes")
_commands("evicting", "CONFIG SET maxmemory-policy allkeys-lru", "CONFIG SET maxmemory-policy noeviction")
_commands("read only", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE")


@_fault("redis")
async def frozen(ground: Ground, _: Blow) -> AsyncIterator[None]:
    """It takes connections and says nothing."""
    ground.redis.freeze()
    yield
    ground.redis.thaw()


def _killed(name: str, meanwhile: Callable[[Path, Blow], object] = lambda folder, blow: None) -> None:
    @_fault("redis", name)
    async def brought(ground: Ground, blow: Blow) -> AsyncIterator[None]:
        try:
            await asyncio.to_thread(ground.redis.kill)
            meanwhile(ground.redis.folder, blow)
            yield
        finally:
            await asyncio.to_thread(ground.redis.start)


def _empty(folder: Path, blow: Blow) -> None:
    shutil.rmtree(folder / "appendonlydir")
    blow.said.append("all data are gone")


def _cut(folder: Path, blow: Blow) -> None:
    """So many bytes are missing at the end of its file."""
    (tail,) = folder.glob("appendonlydir/*.incr.aof")
    os.truncate(tail, tail.stat().st_size - round(blow.value))


# SIGKILL, and a start on its append-only file, or on what is left of it.
_killed("killed")
_killed("emptied", _empty)
_killed("file cut", _cut)


@_fault("redis")
async def failed_over(ground: Ground, _: Blow) -> AsyncIterator[None]:
    """SIGKILL, and the replica takes over; the line leads to it from then on."""
    try:
        await asyncio.to_thread(ground.redis.kill)
        yield
    finally:
        await _told(ground.replica, "REPLICAOF", "NO", "ONE")
        ground.line.target = ground.replica.url


@_fault("redis")
async def busy(ground: Ground, _: Blow) -> AsyncIterator[None]:
    """A script of somebody else's does not end."""
    await _told(ground.redis, "CONFIG", "SET", "busy-reply-threshold", 200)
    script = "#!lua flags=no-writes\nwhile true do end"
    spinning = asyncio.create_task(asyncio.to_thread(ground.redis.ask, "EVAL", script, 0))
    try:
        await eventually(lambda: refuses(ground.redis, "busy"), "a script that holds Redis up")
        yield
    finally:
        await _told(ground.redis, "SCRIPT", "KILL")
        await asyncio.gather(spinning, return_exceptions=True)


@_fault("redis")
async def out_of_memory(ground: Ground, _: Blow) -> AsyncIterator[None]:
    """It may use less memory than it does."""
    used = int((await _told(ground.redis, "INFO", "memory"))["used_memory"])
    try:
        await _told(ground.redis, "CONFIG", "SET", "maxmemory", max(used - _SQUEEZE_BYTES, 1))
        yield
    finally:
        await _told(ground.redis, "CONFIG", "SET", "maxmemory", 0)


@_fault("redis")
async def disk_full(ground: Ground, _: Blow) -> AsyncIterator[None]:
    """Nothing more fits on its disk, which may be in a namespace of its own."""
    disk = Path(f"/proc/{ground.redis.pid}/root{ground.redis.folder}")
    if not await asyncio.to_thread(disk.is_mount):
        missing("a disk of Redis's own")
    status = "aof_last_write_status"
    try:
        await asyncio.to_thread(_fill, disk / "filler")
        await eventually(lambda: ground.redis.ask("INFO", "persistence")[status] == "err", "a write that fails")
        yield
    finally:
        await asyncio.to_thread((disk / "filler").unlink, missing_ok=True)


def _fill(path: Path) -> None:
    """Write until nothing more fits."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


@_fault("redis")
async def key_replaced(ground: Ground, blow: Blow) -> AsyncIterator[None]:
    """Another value stands where a key of a room was; it is found again."""
    # At once: without the key a room would be empty.
    script = "redis.call('RENAME', KEYS[1], 'aside') return redis.call('SET', KEYS[1], 'x')"
    await _told(ground.redis, "EVAL", script, 1, blow.target)
    yield
    await _told(ground.redis, "RENAME", "aside", blow.target)


@_fault("redis")
async def too_many_clients(ground: Ground, _: Blow) -> AsyncIterator[None]:
    """It loses the clients that it has, and takes no further one."""
    async with Redis(port=ground.redis.port, protocol=2) as ours:
        most = str((await ours.config_get("maxclients"))["maxclients"])
        try:
            await ours.config_set("maxclients", 1)
            await ours.client_kill_filter(_type="normal", skipme=True)
            yield
        finally:
            await ours.config_set("maxclients", most)


# The instances.


async def _struck(ground: Ground, blow: Blow) -> list[Instance]:
    """The instances that a blow is for."""
    if blow.target == "all":
        return ground.instances
    number = 1
    if blow.target == "leader":
        leads = await asyncio.gather(*(asyncio.to_thread(each.leads) for each in ground.instances))
        number += [*leads, True].index(True) % len(leads)
    else:
        number = int(blow.target)
    blow.said.append(f"instance {number}")
    return [ground.instances[number - 1]]


def _stop(instance: Instance, blow: Blow) -> None:
    if code := instance.stop(seconds=_STOP_SECONDS):
        blow.wrong(f"{instance} was told to stop and ended with {code}")


def _instance(name: str, act: Callable[[Instance, Blow], object], undo: Callable[[Instance], object]) -> None:
    @_fault("instance", name)
    async def brought(ground: Ground, blow: Blow) -> AsyncIterator[None]:
        struck = await _struck(ground, blow)
        try:
            await asyncio.gather(*(asyncio.to_thread(act, each, blow) for each in struck))
            yield
        finally:
            if blow.undone:
                await asyncio.gather(*(asyncio.to_thread(undo, each) for each in struck))


# SIGKILL and a start; it stands still, and goes on as if nothing had happened; SIGTERM and a start.
_instance("instance killed", lambda instance, _: instance.kill(), Instance.__enter__)
_instance("instance frozen", lambda instance, _: instance.freeze(), Instance.thaw)
_instance("instance restarted", _stop, Instance.__enter__)


@_fault("instance")
async def all_restarted(ground: Ground, blow: Blow) -> None:
    """SIGTERM and a start, one instance after another."""
    for instance in ground.instances:
        try:
            await asyncio.to_thread(_stop, instance, blow)
        finally:
            await asyncio.to_thread(instance.__enter__)


@_fault("instance")
async def key_rotated(ground: Ground, blow: Blow) -> None:
    """A new key behind the old one everywhere, then in front. The old ones stay: their tickets are still good."""
    first, *others = ground.instances[0].variables["WAITROOM_SIGNING_KEYS"].split(",")
    name = f"k{len(others) + 2}"
    new = f"{name}:{hashlib.sha256(name.encode()).hexdigest()}"
    for keyring in ((first, new, *others), (new, first, *others)):
        for instance in ground.instances:
            instance.variables["WAITROOM_SIGNING_KEYS"] = ",".join(keyring)
        await all_restarted(ground, blow)
    blow.said.append(f"{name} signs")


@_fault("instance")
async def too_many_files(ground: Ground, blow: Blow) -> AsyncIterator[None]:
    """It may open no further file."""
    limits = {}
    struck = await _struck(ground, blow)
    try:
        for pid in (each.pid for each in struck):
            limits[pid] = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")), limits[pid][1]))
        yield
    finally:
        for pid, limit in limits.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)


@_fault("instance")
async def instance_starved(ground: Ground, blow: Blow) -> AsyncIterator[None]:
    """The control group of the first has no memory left, and the kernel kills the largest in it."""
    group, victim = ground.group, ground.instances[0]
    new, old = ("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")
    limit, usage = (group / name for name in (new if (group / new[0]).exists() else old))
    before = limit.read_text()
    try:
        limit.write_text(str(int(usage.read_text()) + _LEFT_BYTES))
        hungry = await asyncio.create_subprocess_exec(sys.executable, "-c", _HUNGRY, str(group / "cgroup.procs"))
        try:
            await eventually(lambda: not victim.running, "the end of the instance")
        finally:
            with suppress(ProcessLookupError):
                hungry.kill()
            await hungry.wait()
        if victim.wait() != -signal.SIGKILL:
            raise Ended(f"{victim} was not killed")
        yield
    finally:
        limit.write_text(before)
        if blow.undone:
            await asyncio.to_thread(victim.__enter__)


# nginx.


def _workers(ground: Ground) -> set[psutil.Process]:
    return set(family(ground.nginx.pid)[1:])


def _serves(worker: psutil.Process) -> bool:
    """Whether a worker of nginx still takes requests: one that is on its way out says so in its title."""
    with suppress(psutil.NoSuchProcess):
        return worker.is_running() and "shutting down" not in " ".join(worker.cmdline())
    return False


@_fault("nginx")
async def nginx_reloaded(ground: Ground, _: Blow) -> None:
    """SIGHUP; until there are new workers, and the old ones have closed the connections that were idle.

    A request that is sent just then has no answer: HTTP has no word by which a server could say that it hangs up.
    """
    before = _workers(ground)
    ground.nginx.signal(signal.SIGHUP)
    await eventually(lambda: _workers(ground) - before, "a new worker of nginx")
    await eventually(lambda: not any(map(_serves, before)), "the end of nginx's old workers")
    await asyncio.sleep(_HANG_UP_SECONDS)


@_fault("nginx")
async def nginx_worker_killed(ground: Ground, _: Blow) -> None:
    """SIGKILL to those that serve; until they are gone, which takes a while on a busy machine, and others there."""
    before = _workers(ground)
    for worker in before:
        with suppress(psutil.NoSuchProcess):
            worker.kill()
    await eventually(lambda: not any(map(psutil.Process.is_running, before)), "the end of nginx's workers")
    await eventually(lambda: _workers(ground) - before, "a new worker of nginx")


# The room.


def _changed(name: str, setting: str, number: type[float]) -> None:
    @_fault("room", name)
    async def brought(ground: Ground, blow: Blow) -> AsyncIterator[None]:
        before = ground.operator.settings[setting]
        await ground.operator.change(**{setting: number(blow.value)})
        yield
        await ground.operator.change(**{setting: before})


def _shut(state: str, command: str) -> None:
    @_fault("room", state)
    async def brought(ground: Ground, _: Blow) -> AsyncIterator[None]:
        await ground.operator.command(command, state)
        yield
        await ground.operator.command("resume", "open")


_changed("capacity changed", "capacity", int)
_changed("rate changed", "admit_per_second", float)
_shut("paused", "pause")
_shut("closed", "close")


@_fault("room")
async def revoked(ground: Ground, blow: Blow) -> None:
    """Somebody is sent away, waiting or inside."""
    there: list[str] = []
    for name in ("wait", "active"):
        with suppress(RedisError):
            key = keys.room_key(ground.operator.room, name)
            there += await asyncio.to_thread(ground.redis.ask, "ZRANGE", key, 0, -1)
    if there:
        await ground.operator.revoke(there[int(blow.value * len(there)) % len(there)])
    else:
        blow.said.append("nobody was there")
