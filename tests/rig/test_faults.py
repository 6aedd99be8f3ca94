"""The catalogue itself: what is done is undone."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.faults import Ground, strike
from rig.line import Line
from rig.servers import Server


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
