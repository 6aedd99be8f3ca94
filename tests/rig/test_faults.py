"""The catalogue itself: what is done is undone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from rig import faults
from rig.faults import Ground, refuses, strike
from rig.line import Line
from rig.ports import free_port
from rig.servers import Server
from rig.waiting import eventually


async def struck(ground: Ground, name: str) -> None:
    """Two faults are there, and their block fails."""
    async with strike("no replicas")(ground), strike(name)(ground):
        assert (ground.line.mode == "refuse") == (name == "refused")
        raise RuntimeError


async def test_a_fault_is_undone_whatever_happens_meanwhile(tmp_path: Path) -> None:
    """Redis and the line are as before."""
    with Server(tmp_path) as redis:
        async with Line(redis.url) as line:
            for name in ("busy", "read only", "frozen", "killed", "scripts flushed", "refused"):
                with pytest.raises(RuntimeError):
                    await struck(Ground(redis=redis, line=line), name)
            assert line.mode == "open"
            assert redis.ask("CONFIG GET", "min-replicas-to-write") == {"min-replicas-to-write": "0"}
            assert redis.ask("SET", "a", "1")


async def test_a_script_ends_whose_fault_is_cancelled_halfway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its block never begins: Redis is held up, and the fault has not seen that yet."""

    async def not_yet(*_: object) -> bool:
        return False

    monkeypatch.setattr(faults, "refuses", not_yet)
    with Server(tmp_path) as redis:
        async with Line(redis.url) as line:
            striking = asyncio.create_task(strike("busy")(Ground(redis=redis, line=line)).__aenter__())
            await eventually(lambda: refuses(redis, "busy"), "a script that holds Redis up")
            striking.cancel()
            await asyncio.wait([striking])
        assert striking.cancelled()
        assert redis.ask("PING")


async def test_redis_takes_clients_again_after_a_fault_that_failed_halfway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that it has cannot be killed."""

    async def failing(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(Redis, "client_kill_filter", failing)
    with Server(tmp_path, port=free_port()) as redis:
        most = redis.ask("CONFIG GET", "maxclients")
        async with Line(redis.url) as line:
            with pytest.raises(RuntimeError):
                await strike("too many clients")(Ground(redis=redis, line=line)).__aenter__()
        assert redis.ask("CONFIG GET", "maxclients") == most
