"""A primary, a replica and three Sentinels: the primary is killed while 1,000 wait, and what it did last is lost."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from crowd.browser import browsing
from crowd.history import History, clock
from crowd.rules import Rules
from crowd.verdict import OVERTAKEN, faults, told_to_wait
from crowd.visitors import all_come, all_enter, visitors
from crowd.watch import Watch, resumed_after, watching
from rig import clusters, secured
from rig.instance import serving
from rig.servers import Server
from rig.waiting import eventually
from waitroom.store import keys

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

ROOM = {
    "capacity": 500,
    "admit_per_second": 150,
    "session_seconds": 60,
    "claim_seconds": 5,
    "abandon_seconds": 60,
    "state": "paused",
}
#: The password of the Sentinels.
SENTINELS = "canary-of-the-sentinels"
#: Seconds that the replica gets nothing before the primary is killed: that much is lost.
LOST_SECONDS = 0.7


def admitted_by(server: Server) -> int:
    """How many a server knows to have been admitted."""
    return int(server.ask("HGET", keys.room_key("shop", "state"), "admitted"))


async def test_a_failover_costs_nobody_the_place(tmp_path: Path) -> None:
    """1,000 waiting, two instances; the primary gets SIGKILL; everybody keeps the place and comes in once, in order.

    All under the shipped ACL, and no password is shown anywhere.
    """
    users, rooms = secured.users_file(tmp_path), {"shop": ROOM}
    (secret := tmp_path / "password").write_text(secured.PASSWORDS["waitroom"])
    variables = {"WAITROOM_REDIS_TIMEOUT_SECONDS": "0.4", "WAITROOM_REDIS_PASSWORD_FILE": str(secret)}
    watched = clusters.watched(
        *secured.settings(users),
        login=secured.ADMIN,
        to_sentinels={"password": SENTINELS},
        lines=(
            f"requirepass {SENTINELS}",
            f"sentinel sentinel-pass {SENTINELS}",
            f"sentinel auth-user {clusters.SERVICE} sentinel",
            f"sentinel auth-pass {clusters.SERVICE} {secured.PASSWORDS['sentinel']}",
        ),
    )
    with ExitStack() as stack:
        group = stack.enter_context(watched)
        url = group.url.replace("//", "//waitroom@") + f"?sentinel_password={SENTINELS}"
        one, two = (
            stack.enter_context(serving(tmp_path / name, rooms=rooms, redis_url=url, **variables)) for name in "ab"
        )
        primary, replica = group.servers
        watch, history = Watch("shop", primary.url, replica.url, login=secured.ADMIN), History()
        async with browsing(1000, one.port, two.port) as browsers, watching(watch):
            crowd = visitors(browsers, "shop", history, longest_poll_seconds=5.0)
            early, late = crowd[:950], crowd[950:]
            staying = await all_come(early)
            await asyncio.to_thread(one.operate, "POST", "/admin/rooms/shop/resume", {})
            await eventually(lambda: watch.admitted > 100, "the first admissions")

            replica.ask("REPLICAOF", "127.0.0.1", "1")
            offset = replica.ask("INFO", "replication")["master_repl_offset"]
            await all_enter(late)
            unsaid = admitted_by(primary)
            await asyncio.sleep(LOST_SECONDS)
            await eventually(lambda: admitted_by(primary) > unsaid, "an admission that will be forgotten")
            forgotten = primary.ask("INFO", "replication")["master_repl_offset"] - offset
            admitted = admitted_by(primary)
            primary.kill()
            killed_at = clock()
            assert "canary" not in await asyncio.to_thread(one.reasons)
            remembered = admitted_by(replica)
            staying += [asyncio.create_task(visitor.take(visitor.go_through())) for visitor in late]
            # A Sentinel that promotes cuts all clients off.
            await eventually(
                lambda: replica.ask("INFO", "replication")["role"] == "master", "the promotion", despite=RedisError
            )
            promoted_at = clock()
            await asyncio.gather(*staying)
        assert secured.leaks(tmp_path, one.pid, two.pid) == []
        state = replica.ask("HGETALL", keys.room_key("shop", "state"))

    resumed = resumed_after(watch.looks, killed_at)
    print(f"\nfailover (held for dead after {clusters.SILENCE_MS / 1000:g} s of silence):")
    print(f"  admissions resumed after {resumed:.2f} s; {forgotten:,} bytes of writes were lost,")
    print(f"  among them {admitted - remembered} admissions and {len(late)} arrivals; restored {state['restored']}")
    print(f"  no-shows {state.get('no_show', 0)}")
    print(f"  answers 503: {history.statuses[503]}")
    assert admitted > remembered
    lost = [(killed_at, promoted_at)]
    assert faults(history, Rules.of(ROOM), watch.looks, borne=told_to_wait, losses=lost, excused=OVERTAKEN) == []
    assert len(watch.looks) > 100
    assert watch.most_inside <= 500
    assert int(state["restored"]) >= len(late)
