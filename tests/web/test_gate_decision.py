"""The gate's decision from inside: a real instance and Redis, without scheduler and HTTP: moments can be chosen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from tests.web import sites
from waitroom import metrics
from waitroom.errors import Unavailable
from waitroom.model import Origin, Pass, Place, Visitor
from waitroom.proofs.tickets import new_visitor
from waitroom.rooms.recovery import Recovery
from waitroom.rooms.room import Room
from waitroom.serve.assemble import assemble
from waitroom.store import keys
from waitroom.web import gate as gate_module
from waitroom.web.gate import FORBIDDEN, GO_ON, MUST_WAIT, Decision, Gate
from waitroom.web.instance import Instance

SESSION = 100.0


class Door:
    """A gate before one room, and who comes to it."""

    def __init__(self, instance: Instance, redis: Redis) -> None:
        self.instance, self.redis = instance, redis
        self.gate = Gate(instance)
        #: Failures of the gate itself that a test brings about.
        self.faults = 0

    @property
    def room(self) -> Room:
        """The room on this instance."""
        return self.instance.rooms.get("shop")

    async def change(self, **settings: Any) -> None:
        """The operator changes settings, and this instance knows."""
        changed = self.room.settings.model_copy(update=settings)
        await self.instance.rooms.create("shop", changed)

    def text(self, visitor: Visitor, *, seconds: float = SESSION, offer: bool = False, bound: str = "") -> str:
        """A pass that ends in so many seconds."""
        now = self.instance.clock.now()
        granted = Pass(visitor, now + seconds, offer=offer, bound=bound)
        return self.instance.passes.issue("shop", granted, now=now)

    async def shown(self, text: str | None, *, agent: str = "") -> Decision:
        """The decision on a request with that pass."""
        headers = [(b"user-agent", agent.encode())] if agent else []
        if text is not None:
            headers.append((b"x-waitroom-pass", text.encode()))
        return await self.gate.decide({"type": "http", "headers": headers}, "shop")

    async def shown_all(self, *texts: str) -> Decision:
        """The decision on a request with these passes as cookies."""
        cookies = "; ".join(f"waitroom_pass_shop={text}" for text in texts)
        return await self.gate.decide({"type": "http", "headers": [(b"cookie", cookies.encode())]}, "shop")

    async def inside(self) -> Place:
        """Somebody who has claimed a place."""
        offered = await self.room.pass_through(new_visitor())
        (place,) = await self.instance.store.extend("shop", [Pass(offered.visitor, 4e9, offer=True)])
        return place

    def granted(self, place: Place) -> str:
        """The pass that goes with a place."""
        now, expires = self.instance.clock.now(), place.expires_us / 1_000_000
        return self.instance.passes.issue("shop", Pass(place.visitor, expires), now=now)

    async def spoil(self) -> None:
        """The record of who is inside cannot be read: nobody can be looked up, and the instance does not know yet."""
        key = keys.room_key("shop", "active")
        await self.redis.delete(key)
        await self.redis.set(key, "x")


@pytest.fixture
async def door(engine: str, redis: Redis) -> AsyncIterator[Door]:
    """A gate before a room with one place."""
    settings = {"capacity": 1, "session_seconds": SESSION, "claim_seconds": 30.0}
    instance = assemble(sites.settings_for(engine, rooms={"shop": settings}))
    await instance.rooms.refresh()
    faults = REGISTRY.get_sample_value("waitroom_gate_faults_total")
    opened = Door(instance, redis)
    yield opened
    await instance.rooms.close()
    await instance.store.close()
    # A decision that comes of an exception is none.
    assert REGISTRY.get_sample_value("waitroom_gate_faults_total") == (faults or 0) + opened.faults


async def test_a_bypassed_room_asks_and_gives_nothing(door: Door) -> None:
    """Everybody goes on as they are, also with Redis gone, and gets no pass that would outlive the bypass."""
    await door.change(state="bypass", when_down="closed")
    await door.spoil()
    for text in (None, "x.y.z", door.text(new_visitor())):
        assert await door.shown(text) == GO_ON


async def test_of_several_passes_any_that_is_good_counts(door: Door) -> None:
    """One whose session is over, or that is withdrawn, hides no good one; alone each is refused as ever."""
    await door.change(strict=True)
    inside = await door.inside()
    good, over, gone = door.granted(inside), door.text(new_visitor(), seconds=9_000.0), new_visitor()
    withdrawn = door.text(gone, seconds=9_000.0)
    await door.instance.store.leave("shop", [gone])
    for passes in ((over, good), (good, over), ("x.y.z", withdrawn, over, good), (withdrawn, good)):
        assert await door.shown_all(*passes) == GO_ON, passes
    assert await door.shown_all(over) == MUST_WAIT
    assert await door.shown_all(over, withdrawn) != GO_ON


async def test_many_cookies_cost_a_few_verifications(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request with a hundred of the name is looked at no longer than one with four."""
    looked: list[str] = []
    verify = door.instance.desk.verified_pass

    def counted(room: str, text: str) -> Pass | None:
        looked.append(text)
        return verify(room, text)

    monkeypatch.setattr(door.instance.desk, "verified_pass", counted)
    await door.change(state="paused")
    passes = [door.text(new_visitor(), seconds=-1.0) for _ in range(100)]
    assert await door.shown_all(*passes) == MUST_WAIT
    assert looked == passes[:4]


async def test_one_who_waits_is_enough(door: Door) -> None:
    """Where somebody waits a request without a pass costs no call."""
    first = await door.room.enter(new_visitor(), None)
    await door.room.enter(new_visitor(), None)
    await door.instance.store.leave("shop", [first.visitor])
    await door.instance.rooms.refresh()
    assert door.room.reading.waiting == 1
    await door.spoil()
    before = (await door.redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert await door.shown(None) == MUST_WAIT
    assert (await door.redis.info("commandstats"))["cmdstat_evalsha"]["calls"] == before


async def test_a_room_that_closes_meanwhile(door: Door) -> None:
    """Where the room is closed and this instance does not know yet, Redis says so: closed, not wait."""
    await door.instance.store.configure("shop", {"state": "closed"}, expected=None)
    assert await door.shown(None) == FORBIDDEN


async def test_a_failure_is_told(door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected failure lets nobody in, and the log says where and what; each decision is counted by its room."""
    answers = {"room": "shop", "status": "401"}
    before = REGISTRY.get_sample_value("waitroom_gate_total", answers) or 0
    await door.change(state="paused")
    assert await door.shown(None) == MUST_WAIT
    assert REGISTRY.get_sample_value("waitroom_gate_total", answers) == before + 1
    monkeypatch.setattr(metrics, "gate_answers", None)
    assert await door.shown(None) == MUST_WAIT
    (record,) = [record for record in caplog.records if record.name == "waitroom.web.gate"]
    assert record.getMessage() == "gate: room shop: unexpected failure, the request does not go on"
    assert record.exc_info is not None
    door.faults += 1


async def test_a_room_that_nobody_could_read_yet(engine: str, redis: Redis) -> None:
    """Before the rooms were read for the first time nothing is known: everybody must wait."""
    instance = assemble(sites.settings_for("unix:///nowhere"))
    with suppress(Unavailable):
        await instance.rooms.refresh()
    scope = {"type": "http", "headers": []}
    assert await Gate(instance).decide(scope, "shop") == MUST_WAIT
    await instance.store.close()


@pytest.mark.parametrize(("when_down", "decision"), [("static", GO_ON), ("open", GO_ON), ("closed", MUST_WAIT)])
async def test_who_cannot_be_looked_up(door: Door, when_down: str, decision: Decision) -> None:
    """A claimed pass whose record cannot be asked for is good, but where `closed` asks for the record each time."""
    await door.change(when_down=when_down, sliding=True)
    text = door.text(new_visitor(), seconds=SESSION / 2)
    await door.spoil()
    assert await door.shown(text) == decision


@pytest.mark.parametrize(
    ("settings", "offer", "decision"),
    [
        ({"sliding": True}, False, GO_ON),
        ({"sliding": True}, True, MUST_WAIT),
        ({"sliding": True, "when_down": "open"}, False, GO_ON),
        ({"sliding": True, "when_down": "closed"}, False, MUST_WAIT),
        ({"strict": True}, False, MUST_WAIT),
    ],
)
async def test_who_has_no_record(door: Door, settings: dict[str, Any], offer: bool, decision: Decision) -> None:
    """A pass without a record and without a free place: good until it ends, but no offer, nor where all is asked."""
    await door.change(**settings)
    await door.inside()
    assert await door.shown(door.text(new_visitor(), seconds=SESSION / 2, offer=offer)) == decision


async def test_a_turn_that_is_used(door: Door) -> None:
    """Where the record says that the turn is over the visitor must wait anew: nothing was withdrawn from them."""
    await door.change(strict=True)
    visitor = new_visitor()
    await door.instance.store.leave("shop", [visitor])
    assert await door.shown(door.text(visitor)) == MUST_WAIT


async def test_a_pass_that_is_revoked_meanwhile(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is found to have left by the time that the record was read is refused as revoked, not sent to the queue."""
    await door.change(strict=True)
    place = await door.inside()
    text, store = door.granted(place), door.instance.store
    await store.leave("shop", [place.visitor], with_pass=[place.visitor])
    extend = store.extend

    async def read_meanwhile(name: str, passes: Sequence[Pass]) -> list[Place]:
        found = await extend(name, passes)
        door.room.renew(await door.room.read(), door.room.settings)
        return found

    monkeypatch.setattr(store, "extend", read_meanwhile)
    assert await door.shown(text) == FORBIDDEN


async def test_a_pass_that_says_all(door: Door) -> None:
    """Who brings the pass of the very session gets nothing new, also where the record was asked for."""
    await door.change(strict=True)
    assert await door.shown(door.granted(await door.inside())) == GO_ON


async def test_a_session_that_was_lengthened(door: Door) -> None:
    """Who brings an older pass of a session that lasts longer gets the longer one, by header and cookie."""
    await door.change(strict=True)
    place = await door.inside()
    older = place._replace(expires_us=place.expires_us - 5_000)
    decision = await door.shown(door.granted(older))
    assert decision.status == 204
    assert {name for name, _ in decision.headers} == {b"set-cookie", b"x-waitroom-pass"}
    text = dict(decision.headers)[b"x-waitroom-pass"].decode()
    proven = door.instance.passes.verify("shop", text, now=door.instance.clock.now())
    assert proven is not None
    assert proven.expires == pytest.approx(place.expires_us / 1_000_000, abs=0.002)


@pytest.mark.parametrize(("age", "asked"), [(0.05, False), (0.15, True)])
async def test_a_sliding_session_is_lengthened_by_and_by(door: Door, age: float, asked: bool) -> None:
    """Within the first tenth of a session nothing is asked, after it the next request lengthens the session."""
    await door.change(sliding=True)
    place = await door.inside()
    older = place._replace(expires_us=place.expires_us - int(SESSION * age * 1_000_000))
    assert bool((await door.shown(door.granted(older))).headers) is asked


async def test_a_pass_of_before_the_room_was_made_anew(door: Door) -> None:
    """Passes count from the µs on at which a room was made under the name of a deleted one."""
    room = door.room
    room.renew(replace(room.reading, origin=Origin(passes_after_us=2_000_000_000)), room.settings)
    issued_at = {2000.0: False, 1999.999_999: True, 0.0: True}
    for issued, revoked in issued_at.items():
        assert room.is_revoked(Pass(new_visitor(), 4e9, issued=issued)) is revoked


async def test_a_pass_is_verified_once(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate remembers a pass that it has verified, and of each no more than the newest so many."""
    monkeypatch.setattr(gate_module, "_REMEMBERED", 3)
    passes, seen = door.instance.passes, list[str]()
    verify = passes.verify

    def counted(room: str, text: str, *, now: float) -> Pass | None:
        seen.append(text)
        return verify(room, text, now=now)

    monkeypatch.setattr(passes, "verify", counted)
    texts = [door.text(new_visitor(), seconds=SESSION) for _ in range(3)]
    for text in (*texts, *texts):
        assert await door.shown(text) == GO_ON
    assert seen == texts
    fourth = door.text(new_visitor())
    assert await door.shown(fourth) == GO_ON
    for text in (fourth, *texts[1:]):
        assert await door.shown(text) == GO_ON
    assert seen == [*texts, fourth]
    await door.shown(texts[0])
    assert seen[-1] == texts[0]


async def test_whoever_passes_is_remembered_to_be_inside(door: Door) -> None:
    """What the gate saw of a session puts it back after a loss; an offer is not yet one."""
    session, offered = new_visitor(), new_visitor()
    now_us = door.instance.clock.now_us()
    assert await door.shown(door.text(session, seconds=SESSION / 2)) == GO_ON
    await door.spoil()
    assert await door.shown(door.text(offered, offer=True)) == GO_ON
    await door.redis.delete(keys.room_key("shop", "active"))
    await Recovery(door.instance.store, forget=list[str]().append).put_back(door.room)
    key = keys.room_key("shop", "active")
    assert await door.redis.zrange(key, 0, -1) == [session]
    expiry = await door.redis.zscore(key, session) or 0
    assert now_us + 49_000_000 < expiry < now_us + 60_000_000


async def down(door: Door, **settings: Any) -> None:
    """Redis has not answered the last time, and the room lets in whom it can without it."""
    await door.change(**{"when_down": "open"} | settings)
    door.room.reachable = False


@pytest.mark.parametrize(
    ("settings", "pause"),
    [
        ({"capacity": 2, "session_seconds": 20.0}, 10.0),
        ({"capacity": 2, "session_seconds": 900.0}, 30.0),
        ({"capacity": 0, "admit_per_second": 0.5}, 2.0),
        ({"capacity": 30, "session_seconds": 60.0, "admit_per_second": 0.25}, 4.0),
        ({"capacity": 1, "session_seconds": 60.0, "admit_per_second": 100.0}, 60.0),
        ({"capacity": 0, "admit_per_second": 0.0}, 0.0),
    ],
)
async def test_the_pause_between_open_passes(door: Door, settings: dict[str, Any], pause: float) -> None:
    """While Redis is down passes come at the room's rate, or as fast as places would end, whichever is slower."""
    await down(door, **settings)
    clock = door.instance.clock
    for _ in range(3):
        start = clock.now_us()
        assert (await door.shown(None)).status == 204
        if pause:
            clock.observe(start + int(pause * 1_000_000) - 500_000)
            assert await door.shown(None) == MUST_WAIT
        clock.observe(start + int(pause * 1_000_000) + 500_000)


@pytest.mark.parametrize(("session", "seconds"), [(20.0, 20.0), (900.0, 60.0)])
async def test_how_long_an_open_pass_lives(door: Door, session: float, seconds: float) -> None:
    """A pass given while Redis is down lives as long as a session, a minute at most, and is no offer."""
    await down(door, session_seconds=session)
    before = door.instance.clock.now()
    text = dict((await door.shown(None)).headers)[b"x-waitroom-pass"].decode()
    proven = door.instance.passes.verify("shop", text, now=before)
    assert proven is not None
    assert before + seconds - 0.001 <= proven.expires <= door.instance.clock.now() + seconds
    assert not proven.offer


async def test_an_open_pass_is_bound_like_any_other(door: Door) -> None:
    """In a room that binds passes, one given while Redis is down is good for its client only."""
    await down(door, bind_user_agent=True)
    text = dict((await door.shown(None, agent="phone")).headers)[b"x-waitroom-pass"].decode()
    assert await door.shown(text, agent="phone") == GO_ON
    assert await door.shown(text, agent="laptop") == MUST_WAIT


async def test_who_is_inside_while_redis_is_down(door: Door) -> None:
    """A pass is as good as it says: the record is not asked for, which would only be waited for."""
    await down(door, sliding=True)
    older = door.text(new_visitor(), seconds=SESSION / 2)
    assert await door.shown(older) == GO_ON
    assert await door.redis.zcard(keys.room_key("shop", "active")) == 0


async def test_redis_goes_away_at_this_very_call(engine: str, redis: Redis) -> None:
    """Where the instance finds out by the visitor's own request, `open` gives what it would have given: bound, too."""
    settings = {"when_down": "open", "bind_user_agent": True}
    instance = assemble(sites.settings_for(engine, rooms={"shop": settings}))
    await instance.rooms.refresh()
    door = Door(instance, redis)
    instance.store._timeout = 0.3
    await redis.client_pause(60_000, all=False)
    try:
        given = await door.shown(None, agent="phone")
    finally:
        await redis.client_unpause()
    assert door.room.reachable
    door.room.reachable = False
    text = dict(given.headers)[b"x-waitroom-pass"].decode()
    assert await door.shown(text, agent="phone") == GO_ON
    assert await door.shown(text, agent="laptop") == MUST_WAIT
    await instance.rooms.close()
    await instance.store.close()


async def test_revocations_are_forgotten_when_no_pass_can_live(door: Door) -> None:
    """The oldest go, and those only that are older than the longest session that the room ever gave."""
    room = door.room
    longest, now = int(room.reading.longest_session_seconds * 1_000_000), room.reading.now_us
    names = [new_visitor() for _ in range(3)]
    marks = dict(zip(names, (now - longest - 1, now - longest, now), strict=True))
    room.renew(replace(room.reading, revoked=marks), room.settings)
    assert list(room.memory.revoked) == names[1:]


async def test_a_paused_room_while_redis_is_down(door: Door) -> None:
    """Nobody is let into a paused room, not by `open` either."""
    await down(door, state="paused")
    assert await door.shown(None) == MUST_WAIT


@pytest.mark.parametrize("when_down", ["static", "closed"])
async def test_nobody_new_while_redis_is_down(door: Door, when_down: str) -> None:
    """Only `open` lets in who has no pass."""
    await down(door, when_down=when_down)
    assert await door.shown(None) == MUST_WAIT
