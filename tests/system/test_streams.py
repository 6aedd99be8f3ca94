"""A thousand event streams while their instance is told to stop, is killed, or is restarted behind nginx (I30, F25)."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from crowd.browser import Listener, all_listen, browsing
from crowd.history import History
from crowd.visitors import all_enter, visitors
from rig.instance import Instance, serving
from rig.waiting import PATIENCE_SECONDS
from tests.system.clusters import clustered, raw
from waitroom.store import keys
from waitroom.store.embedded.folder import running_url

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

ROOM = {"capacity": 10, "state": "paused", "abandon_seconds": 600}


def spread(listeners: list[Listener], *, at: int) -> tuple[float, float]:
    """The shortest and the longest time, in seconds, after which those browsers would come back."""
    waits = [listener.told[at].retry_ms for listener in listeners]
    known = [wait / 1000 for wait in waits if wait is not None]
    assert len(known) == len(listeners)
    return min(known), max(known)


def logged(folder: Path) -> str:
    """What the instances there have logged."""
    return "".join(path.read_text() for path in folder.glob("*.log"))


async def ended(served: Instance) -> int:
    """The exit code."""
    return await asyncio.to_thread(served.wait, PATIENCE_SECONDS)


@pytest.mark.parametrize(
    ("which", "workers", "drain_seconds"),
    [(signal.SIGTERM, 1, "0"), (signal.SIGTERM, 2, "2"), (signal.SIGINT, 1, "0")],
    ids=["SIGTERM", "SIGTERM, two workers and a drain", "Ctrl-C"],
)
async def test_streams_end_when_the_instance_stops(
    tmp_path: Path, which: signal.Signals, workers: int, drain_seconds: str
) -> None:
    """All are told to come back, at times spread over half a minute, and the instance ends before it must."""
    settings = {"WAITROOM_WORKERS": str(workers), "WAITROOM_DRAIN_SECONDS": drain_seconds}
    with serving(tmp_path, rooms={"shop": ROOM}, **settings) as served:
        async with browsing(1_000, served.port) as browsers:
            await all_enter(visitors(browsers, "shop", History(), bears=False))
            listeners = [Listener(served.port, "shop", browser) for browser in browsers]
            async with all_listen(listeners):
                assert {listener.status for listener in listeners} == {200}
                told_at = time.monotonic()
                served.signal(which)
                endings = await asyncio.gather(*(listener.end() for listener in listeners))
                streams_took = time.monotonic() - told_at
                code = await ended(served)
                took = time.monotonic() - told_at
    print(f"{which.name}: streams over after {streams_took:.2f} s, process after {took:.2f} s, code {code}")
    assert {tuple(ending) for ending in endings} == {("place", "reconnect")}
    assert all(listener.whole for listener in listeners)
    assert code == 0 or which is signal.SIGINT
    shortest, longest = spread(listeners, at=-1)
    assert 1 <= shortest < 3
    assert 28 < longest <= 30
    log = logged(tmp_path)
    assert "Traceback" not in log
    # What uvicorn says when the grace time is over and tasks are left.
    assert "Cancel" not in log


async def test_streams_of_a_killed_instance_come_back_spread(tmp_path: Path) -> None:
    """Who was cut off without a word knows when to come back, finds the place kept, and another instance tells it."""
    with serving(tmp_path / "one", rooms={"shop": ROOM}) as first:
        with serving(tmp_path / "two", rooms={"shop": ROOM}, redis_url=_redis_url(tmp_path / "one")) as second:
            async with browsing(300, second.port) as browsers:
                await all_enter(visitors(browsers, "shop", History(), bears=False))
                listeners = [Listener(second.port, "shop", browser) for browser in browsers]
                async with all_listen(listeners):
                    before = [listener.told[0].data["rank"] for listener in listeners]
                    second.kill()
                    assert {tuple(await listener.end()) for listener in listeners} == {("place",)}
                    assert not any(listener.whole for listener in listeners)
        shortest, longest = spread(listeners, at=0)
        assert longest - shortest > 25
        again = [Listener(first.port, "shop", browser) for browser in browsers]
        async with all_listen(again):
            assert [listener.told[0].data["rank"] for listener in again] == before


def _redis_url(folder: Path) -> str:
    """Where the embedded server of an instance is."""
    url = running_url(folder / "data")
    assert url is not None
    return url


async def test_behind_nginx_streams_move_to_another_instance(tmp_path: Path) -> None:
    """Two instances restarted in turn: each stream is told, opens anew without an error, and has its place."""
    async with (
        clustered(tmp_path, instances=2, rooms={"shop": ROOM}, settings={"WAITROOM_DRAIN_SECONDS": "2"}) as cluster,
        raw(cluster) as redis,
        browsing(200, cluster.port) as browsers,
    ):
        await all_enter(visitors(browsers, "shop", History(), bears=False))
        before = await redis.zrange(keys.room_key("shop", "wait"), 0, -1, withscores=True)
        ranks: list[list[int]] = [[] for _ in browsers]
        reopened, refused = 0, []
        over = asyncio.Event()

        async def stay(number: int) -> None:
            """Listen all the time; the next stream is opened at once, which is harsher than what browsers do."""
            nonlocal reopened
            while not over.is_set():
                listener = Listener(cluster.port, "shop", browsers[number])
                async with all_listen([listener]):
                    if listener.status != 200:
                        refused.append(listener.status)
                        return
                    ranks[number].append(listener.told[0].data["rank"])
                    reopened += 1
                    listening, leaving = asyncio.create_task(listener.end()), asyncio.create_task(over.wait())
                    await asyncio.wait({listening, leaving}, return_when=asyncio.FIRST_COMPLETED)
                    if listening.done():
                        assert listening.result()[-1] == "reconnect"
                        await asyncio.sleep(0.3)
                    listening.cancel()
                    leaving.cancel()

        staying = [asyncio.create_task(stay(number)) for number in range(len(browsers))]
        while not all(ranks):
            await asyncio.sleep(0.05)
        await asyncio.to_thread(cluster.restart)
        over.set()
        await asyncio.gather(*staying)
        after = await redis.zrange(keys.room_key("shop", "wait"), 0, -1, withscores=True)
    print(f"{reopened} streams for 200 visitors")
    assert refused == []
    assert cluster.exit_codes == [0, 0]
    assert reopened > len(browsers)
    assert {len(set(each)) for each in ranks} == {1}
    assert sorted(each[0] for each in ranks) == list(range(1, 201))
    assert after == before
