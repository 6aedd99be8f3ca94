"""Six nodes, rooms in different slots, 1,000 waiting: one primary after the other is killed."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from crowd.browser import browsing
from crowd.history import History, clock
from crowd.rules import Rules
from crowd.verdict import OVERTAKEN, faults, told_to_wait
from crowd.visitors import all_come, visitors
from crowd.watch import Watch, resumed_after, watching
from rig import clusters, secured, servers
from rig.instance import serving
from rig.waiting import eventually, until
from tests.web import sites
from waitroom.errors import Unavailable
from waitroom.serve.assemble import assemble
from waitroom.serve.work import working
from waitroom.settings.room import RoomSettings
from waitroom.store import keys

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

ROOM = {"capacity": 0, "admit_per_second": 25, "session_seconds": 60, "claim_seconds": 20, "state": "paused"}

#: Seconds for which the rooms are watched after a kill, at least.
WATCHED_SECONDS = 3.5


async def test_a_lost_node_costs_nobody_the_place(tmp_path: Path) -> None:
    """Whichever primary dies, also with the lease or the list of rooms: all keep their places and come in, in order.

    All under the shipped ACL.
    """
    names = clusters.ROOMS_BY_THIRD
    (secret := tmp_path / "password").write_text(secured.PASSWORDS["waitroom"])
    variables = {"WAITROOM_REDIS_TIMEOUT_SECONDS": "0.4", "WAITROOM_REDIS_PASSWORD_FILE": str(secret)}
    with ExitStack() as stack:
        users = secured.users_file(tmp_path)
        cluster = stack.enter_context(clusters.clustered(*secured.settings(users), login=secured.ADMIN))
        url = cluster.url.replace("//", "//waitroom@")
        served = stack.enter_context(serving(tmp_path, rooms=dict.fromkeys(names, ROOM), redis_url=url, **variables))
        thirds = {name: cluster.holder(keys.room_key(name, "wait")) for name in names}
        assert list(thirds.values()) == [0, 1, 2]
        assert [cluster.holder(key) for key in (keys.LEASE, keys.ROOMS)] == [0, 1]
        pairs = list(zip(cluster.primaries, cluster.replicas, strict=True))
        watches = [
            Watch(name, *(node.url for node in pairs[third]), login=secured.ADMIN) for name, third in thirds.items()
        ]
        histories: list[History] = [History() for _ in names]
        losses: dict[int, tuple[float, float]] = {}
        async with browsing(1000, served.port) as browsers, watching(*watches):
            crowd = [
                visitor
                for third, name in enumerate(names)
                for visitor in visitors(browsers[third::3], name, histories[third], longest_poll_seconds=5.0)
            ]
            staying = await all_come(crowd)
            for name in names:
                await asyncio.to_thread(served.operate, "POST", f"/admin/rooms/{name}/resume", {})
            await eventually(lambda: all(watch.admitted > 12 for watch in watches), "the first admissions")
            print("\nseconds without an admission, by room (25 a second otherwise):")
            for third, holds in ((2, "a room"), (0, "a room and the lease"), (1, "a room and the list of rooms")):
                primary, replica = pairs[third]
                primary.kill()
                killed_at = clock()
                await asyncio.to_thread(until, partial(_is_primary, replica), "the promotion", despite=RedisError)
                promoted = clock()
                losses[third] = (killed_at, promoted)
                await eventually(partial(_has_resumed, watches[third], killed_at), "an admission")
                await asyncio.sleep(max(0.0, killed_at + WATCHED_SECONDS - clock()))
                gaps = [watch.longest_gap(killed_at, clock()) for watch in watches]
                own = gaps.pop(third)
                print(
                    f"  node with {holds} killed: promoted after {promoted - killed_at:.2f} s; its room {own:.2f}, "
                    f"others {', '.join(f'{gap:.2f}' for gap in gaps)}"
                )
            await asyncio.gather(*staying)
        assert secured.leaks(tmp_path, served.pid) == []
    print(f"  answers 503: {sum(history.statuses[503] for history in histories)}")
    for third, (history, watch) in enumerate(zip(histories, watches, strict=True)):
        lost = [losses[third]]
        found = faults(history, Rules.of(ROOM), watch.looks, borne=told_to_wait, losses=lost, excused=OVERTAKEN)
        assert found == []
        assert len(watch.looks) > 100
    identities = [{each.identity for each in history.operations if each.identity} for history in histories]
    assert len(set.union(*identities)) == sum(map(len, identities))


def _has_resumed(watch: Watch, killed_at: float) -> bool:
    return resumed_after(watch.looks, killed_at) < float("inf")


def _is_primary(node: servers.Server) -> bool:
    return bool(node.ask("INFO", "replication")["role"] == "master")


async def test_a_start_while_a_node_is_dead(tmp_path: Path) -> None:
    """An instance that starts then serves the rooms of the other nodes, and that node's once it is back."""
    names = clusters.ROOMS_BY_THIRD
    with clusters.clustered(replicas=False) as cluster:
        rooms = {name: RoomSettings() for name in names}
        settings = sites.settings_for(cluster.url, redis_timeout_seconds=0.4)
        settings = settings.model_copy(update={"rooms": rooms})
        async with working(assemble(settings)):
            pass
        cluster.primaries[2].kill()
        late = assemble(settings)
        async with working(late):
            assert {room.name for room in late.rooms} == set(names[:2])
            assert late.rooms.reachable
            with pytest.raises(Unavailable):
                late.rooms.get(names[2])
            await asyncio.to_thread(cluster.primaries[2].start)
            await eventually(lambda: {room.name for room in late.rooms} == set(names), "the rooms of that node")
