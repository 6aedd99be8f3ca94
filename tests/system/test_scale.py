"""Instances come and go behind nginx, found by name, and no visitor notices."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest

from crowd.rules import Rules
from crowd.verdict import faults
from crowd.visitors import PATIENT, SteadyCrowd, coming
from crowd.watch import Watch, last_look, watching
from tests.system.clusters import all_serve, clustered, raw, tried
from tests.system.test_crowd import counts

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

CAPACITY = 60
ROOM = {"capacity": CAPACITY, **PATIENT}


async def test_no_visitor_notices_that_instances_come_and_go(tmp_path: Path) -> None:
    """1, 2, 4, 2, 1 instances under 500 visitors: no error, order kept, never more inside than may be."""
    began = time.monotonic()
    async with (
        clustered(tmp_path, instances=1, rooms={"shop": ROOM}, settings={"WAITROOM_DRAIN_SECONDS": "1"}) as cluster,
        raw(cluster) as redis,
    ):
        crowd = SteadyCrowd(cluster.port, "shop", size=500, seed=4)
        watch = Watch("shop", cluster.redis_url)
        async with watching(watch):
            async with coming(crowd):
                await all_serve(cluster, crowd)
                for number in (2, 4, 2, 1):
                    await asyncio.to_thread(cluster.scale, number)
                    await all_serve(cluster, crowd)
            await last_look(watch)
        found = await counts(redis)
        tries = tried(cluster)
    served = Counter(each[-1] for each in tries)
    print(
        f"{time.monotonic() - began:.0f} s, {crowd.told()}; most inside {watch.most_inside} of {CAPACITY} in "
        f"{len(watch.looks)} looks; {sum(len(each) > 1 for each in tries)} requests tried at another instance; "
        f"answers by instance {dict(sorted(served.items()))}"
    )
    assert faults(crowd.history, Rules.of(ROOM), watch.looks) == []
    assert set(crowd.history.statuses) == {200, 202, 204}
    assert watch.most_inside == CAPACITY
    assert cluster.exit_codes == [0, 0, 0]
    assert sorted(served) == ["127.0.1.1", "127.0.1.2", "127.0.1.3", "127.0.1.4"]
    assert found["entered"] == found["left"] == crowd.visits
    assert found["claimed"] == crowd.visits - crowd.gave_up
    assert [found[name] for name in ("restored", "abandoned", "no_show", "finished")] == [0, 0, 0, 0]
