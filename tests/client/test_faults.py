"""Waiting through faults: restarts, outages, proxies, lost and foreign answers."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

from rig.line import Line
from rig.raw import Relay, answer
from rig.waiting import eventually
from tests.client.scene import QUICK, count, filled, once, outage, sizes, slowed
from tests.web import sites
from tests.web.sites import Site
from waitroom.client import (
    Admitted,
    BadAnswer,
    ProofRefused,
    ServerUnavailable,
    TurnOver,
    Waiting,
    WaitroomClient,
    pauses,
)
from waitroom.client.pauses import LONGEST_PAUSE_SECONDS
from waitroom.client.waiting import DOUBTED_REFUSALS

pytestmark = pytest.mark.usefixtures("brief")


@pytest.mark.usefixtures("hasty")
async def test_a_restart_of_the_server_keeps_the_place() -> None:
    """The instance goes, another comes: the same place, and the turn."""
    seen: list[Waiting] = []
    with sites.own_redis() as (url, redis), ExitStack() as first:
        settings = sites.settings_for(url, rooms={"shop": QUICK})
        site = first.enter_context(sites.serving(redis, settings))
        async with Relay(site.url) as relay, WaitroomClient(relay.url) as client:
            inside = await filled(client, "shop")
            waits = asyncio.create_task(client.wait_until_admitted("shop", on_progress=seen.append))
            await eventually(lambda: seen, "the first answer")
            await asyncio.to_thread(first.close)
            before, tries = len(seen), len(relay.asked)
            await eventually(lambda: len(relay.asked) > tries + 3, "tries while nobody answers")
            assert len(seen) == before
            with sites.serving(redis, settings) as second:
                relay.target = second.url
                await eventually(lambda: len(seen) > before, "an answer of the second instance")
                await client.leave(inside)
                assert isinstance(await waits, Admitted)
    assert {place.entered_at for place in seen} == {seen[0].entered_at}


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("silent", [False, True], ids=["refused", "silent"])
async def test_an_outage_of_redis_keeps_the_place(severable: tuple[Site, Line], silent: bool) -> None:
    """503 after 503, with the server's own Retry-After; then the same place, and the turn."""
    site, line = severable
    room = site.make_room(**QUICK)
    seen: list[Waiting] = []
    async with Relay(site.url) as relay, WaitroomClient(relay.url) as client:
        inside = await filled(client, room)
        waits = asyncio.create_task(client.wait_until_admitted(room, on_progress=seen.append))
        await eventually(lambda: seen, "the first answer")
        with outage(site, line, silent=silent):
            with pytest.raises(ServerUnavailable, match="places are kept") as down:
                await client.status(inside)
            assert down.value.retry_after_seconds == 2
            asked = len(relay.asked)
            await eventually(lambda: len(relay.asked) > asked, "a try while Redis is away")
            before = len(seen)
        await eventually(lambda: len(seen) > before, "an answer")
        await client.leave(inside)
        assert isinstance(await waits, Admitted)
    assert {place.entered_at for place in seen} == {seen[0].entered_at}


async def test_an_emptied_redis_keeps_the_place() -> None:
    """FLUSHALL: the ticket brings the place back."""
    seen: list[Waiting] = []
    with sites.own_redis() as (url, redis):
        settings = sites.settings_for(url, rooms={"shop": QUICK})
        with sites.serving(redis, settings) as site:
            async with WaitroomClient(site.url) as client:
                await filled(client, "shop")
                waits = asyncio.create_task(client.wait_until_admitted("shop", on_progress=seen.append))
                await eventually(lambda: seen, "the first answer")
                redis.flushall()
                before = len(seen)
                await eventually(lambda: len(seen) > before + 1, "answers")
                waits.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waits
    assert {place.entered_at for place in seen} == {seen[0].entered_at}


async def test_a_proxy_that_slows_down_is_obeyed(
    site: Site, relay: Relay, far: WaitroomClient, caplog: pytest.LogCaptureFixture
) -> None:
    """429 with Retry-After in seconds and as a date, on entering and while waiting; the place is kept."""
    caplog.set_level("INFO", "waitroom.client")
    room = site.make_room(**QUICK)
    inside = await filled(far, room)
    relay.asked.clear()
    relay.mishap = once(answer(429, b"slow down", retry_after="1"), "/enter")
    seen: list[Waiting] = []
    waits = asyncio.create_task(far.wait_until_admitted(room, on_progress=seen.append))
    await eventually(lambda: seen, "the first answer")
    refused, entered = relay.lines("/enter")
    assert entered.at - refused.at >= 1
    date = datetime.fromtimestamp(int(time.time() + 2), UTC)
    before = len(relay.lines("/status"))
    relay.mishap = once(answer(429, retry_after=f"{date:%a, %d %b %Y %H:%M:%S GMT}"), "/status")
    await eventually(lambda: len(relay.lines("/status")) >= before + 2, "another try")
    refused, again = relay.lines("/status")[before : before + 2]
    assert time.time() - time.monotonic() + again.at >= date.timestamp()
    await far.leave(inside)
    assert isinstance(await waits, Admitted)
    assert {place.entered_at for place in seen} == {seen[0].entered_at}
    # Each time it begins and ends.
    assert [record.levelname for record in caplog.records if record.name == "waitroom.client.waiting"] == [
        "WARNING",
        "INFO",
    ] * 2


def test_nobody_stays_away_for_ever() -> None:
    """Pauses grow up to a cap, also those that the server asks for, and are short where a place is about to end."""
    away = pauses.Pauses()
    lengths = [away.after(BadAnswer("")) for _ in range(2000)]
    assert 0.1 <= lengths[0] <= 0.25
    assert max(lengths) <= LONGEST_PAUSE_SECONDS
    assert min(lengths[10:]) >= LONGEST_PAUSE_SECONDS / 2
    assert 60 <= away.after(ServerUnavailable("", 1e9)) <= 66
    assert away.after(ServerUnavailable("", 1e9), left=3) <= 1


BAD_ANSWERS: dict[str, bytes] = {
    "no JSON": answer(200, b"<h1>Hello</h1>"),
    "nothing": answer(200),
    "an array": answer(200, b"[]", kind="application/json"),
    "a proof that is none": answer(
        200,
        b'{"room": "ROOM", "state": "waiting", "rank": 1, "waiting": 1, "eta_seconds": null, "eta_low_seconds": null,'
        b' "eta_high_seconds": null, "poll_after_seconds": 1, "entered_at": "2030-01-01T00:00:00Z",'
        b' "room_state": "open", "message": "", "ticket": "open\\r\\nsesame"}',
        kind="application/json",
    ),
    "another room's": answer(
        200,
        b'{"room": "elsewhere", "state": "waiting", "rank": 1, "waiting": 1, "eta_seconds": null,'
        b' "eta_low_seconds": null, "eta_high_seconds": null, "poll_after_seconds": 1,'
        b' "entered_at": "2030-01-01T00:00:00Z", "room_state": "open", "message": "", "ticket": "sesame"}',
        kind="application/json",
    ),
    "no document": answer(200, b'{"state": "waiting"}', kind="application/json"),
    "another state": answer(200, b'{"state": "lost", "pass": "sesame"}', kind="application/json"),
    "a number too large": answer(200, b'{"state": "waiting", "poll_after_seconds": 1e999}', kind="application/json"),
    "endless nesting": answer(200, b"[" * 100_000, kind="application/json"),
    "a pass that is none": answer(
        200,
        b'{"room": "ROOM", "state": "admitted", "pass": "sesame", "expires_at": "2030-01-01T00:00:00Z",'
        b' "session_seconds": 1}',
        kind="application/json",
    ),
    "not the body's coding": answer(200, b"sesame", content_encoding="gzip"),
    "a redirect": answer(302, location="https://elsewhere.example/sesame"),
    "a page of another server": answer(404, b"not here: sesame"),
}


@pytest.mark.parametrize("bad", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
@pytest.mark.usefixtures("hasty")
async def test_an_answer_that_is_not_waitrooms(site: Site, relay: Relay, far: WaitroomClient, bad: bytes) -> None:
    """On entering it is an error, which shows nothing of it; while a place is held it is ridden out."""
    # As long as the word that stands for it.
    room = site.make_room("fake", **QUICK)
    bad = bad.replace(b"ROOM", room.encode())
    relay.mishap = once(bad, "/enter", times=2)
    with pytest.raises(BadAnswer) as caught:
        await far.enter(room)
    assert "sesame" not in str(caught.value)
    with pytest.raises(BadAnswer):
        await far.wait_until_admitted(room)
    assert sizes(site, room) == (0, 0)
    relay.mishap = once(bad, "/status", times=3)
    assert isinstance(await far.wait_until_admitted(room), Admitted)
    site.admin("DELETE", f"/{room}")


@pytest.mark.usefixtures("hasty")
async def test_doubtful_refusals_are_ridden_out(site: Site, relay: Relay, far: WaitroomClient) -> None:
    """One instance that does not know the new key or the room yet does not cost the place; all of them do."""
    room = site.make_room(**QUICK)
    inside = await filled(far, room)
    place = await far.enter(room)
    no_proof = b'{"type": "urn:waitroom:no-proof", "title": "No valid proof", "status": 401}'
    foreign = answer(200, no_proof).replace(b"200 OK", b"401 Unauthorized")
    rest = DOUBTED_REFUSALS + 1
    relay.mishap = lambda line: foreign if "/status" in line and len(relay.lines("/status")) % rest else None
    seen: list[Waiting] = []
    waits = asyncio.create_task(far.wait_until_admitted(room, place=place, on_progress=seen.append))
    await eventually(lambda: len(seen) == 2, "a second answer among refusals")
    await far.leave(inside)
    await far.leave(await waits)
    inside, place = await filled(far, room), await far.enter(room)
    relay.mishap = once(foreign, "/status", times=DOUBTED_REFUSALS + 1)
    with pytest.raises(ProofRefused):
        await far.wait_until_admitted(room, place=place)


@pytest.mark.usefixtures("hasty")
async def test_a_session_that_was_over_when_the_news_came(site: Site, relay: Relay) -> None:
    """Nobody is told to go in then: a place of its own is made again, a given one is over."""
    room = site.make_room(**QUICK | {"session_seconds": 0.8})
    late = iter([1.0])

    async def once_late() -> None:
        await asyncio.sleep(next(late, 0))

    slowed(relay, "/status", once_late)
    async with WaitroomClient(relay.url) as client:
        admitted = await client.wait_until_admitted(room)
        assert time.monotonic() < admitted.lasts_until
        assert count(site, room, "entered") >= 2
        await client.leave(admitted)
        late = iter([1.0])
        place = await client.enter(room)
        with pytest.raises(TurnOver):
            await client.wait_until_admitted(room, place=place)


@pytest.mark.usefixtures("hasty")
async def test_lost_answers_are_asked_for_again(site: Site, relay: Relay, far: WaitroomClient) -> None:
    """Each call is carried out and its answer lost: one ghost for a lost enter, no harm of anything else."""
    room = site.make_room(**QUICK | {"capacity": 2})
    relay.mishap = once("lost", "/enter")
    first = await far.wait_until_admitted(room)
    # The ghost holds an offer until its claim_seconds are over.
    assert sizes(site, room) == (0, 2)
    assert site.admin("GET", f"/{room}").json()["offered"] == 1
    site.admin("PATCH", f"/{room}", json={"capacity": 3})
    relay.mishap = once("lost", "/status", times=2)
    second = await far.wait_until_admitted(room)
    assert count(site, room, "claimed") == 2
    waits = asyncio.create_task(far.wait_until_admitted(room))
    await eventually(lambda: sizes(site, room)[0] == 1, "somebody waits")
    relay.mishap = once("lost", "/status", times=2)
    relay_calls = len(relay.asked)
    await eventually(lambda: len(relay.asked) > relay_calls + 1, "lost answers")
    await far.leave(first)
    third = await waits
    relay.mishap = once("cut", "/leave")
    with pytest.raises(ServerUnavailable):
        await far.leave(third)
    relay.mishap = once("held", "/leave")
    async with WaitroomClient(relay.url, timeout_seconds=0.5) as brief:
        with pytest.raises(ServerUnavailable, match=r"within 0\.5 s"):
            await brief.leave(third)
    await far.leave(second)
    assert sizes(site, room) == (0, 1)
