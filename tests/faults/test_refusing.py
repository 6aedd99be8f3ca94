"""Redis is there and says no."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.faults.scene import Stage, lasting, live_through, staged
from tests.faults.scrape import fired
from tests.faults.verdict import faults_of, row

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]


@asynccontextmanager
async def replica(stage: Stage) -> AsyncIterator[None]:
    """It takes no writes (READONLY)."""
    stage.node.ask("REPLICAOF", "127.0.0.1", "1")
    yield
    stage.node.ask("REPLICAOF", "NO", "ONE")


async def test_a_replica(tmp_path: Path) -> None:
    """F6."""
    async with staged(tmp_path) as stage:
        run = await live_through(stage, replica, seconds=lasting(2, 15))
    made = row(run, "F6", "READONLY")
    assert faults_of(run) == []
    assert fired(stage.scraper, ["WaitroomRedisFails", "WaitroomDataLost"], tmp_path) == ["WaitroomRedisFails"]
    assert made.told_to_wait > 0
