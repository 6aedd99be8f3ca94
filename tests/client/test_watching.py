"""Long waits: the room is watched between two questions in person."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.raw import Mishap, Relay, answer
from rig.waiting import eventually
from tests.client.scene import count, filled, sizes
from tests.web import sites
from tests.web.sites import Site
from waitroom.client import Waiting, WaitroomClient, documents, watching
from waitroom.client.connection import Connection
from waitroom.client.watching import Watch, on_ladder
from waitroom.web import documents as server

pytestmark = pytest.mark.long

#: A room of one in which everybody stays: polls would be half a minute apart.
SLOW: dict[str, Any] = {"capacity": 1, "session_seconds": 3600}


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The document is fetched every fifth of a second."""
    monkeypatch.setattr(server, "REFRESH_AFTER_SECONDS", 0.2)
    monkeypatch.setattr(watching, "PAUSE_SECONDS", 0.2)


def watched(relay: Relay, room: str) -> int:
    """How often the room's document was fetched."""
    return len(relay.lines(f"/v1/rooms/{room} "))


@pytest.mark.usefixtures("brisk")
async def test_the_room_is_watched_and_the_turn_found(site: Site, relay: Relay, far: WaitroomClient) -> None:
    """Ranks, states and messages come from the document, without a proof; the status is asked for at the turn."""
    room = site.make_room(**SLOW)
    inside = await filled(far, room)
    ahead = [await far.enter(room) for _ in range(3)]
    asked = len(relay.lines("/status"))
    seen: list[Waiting] = []
    waits = asyncio.create_task(far.wait_until_admitted(room, on_progress=seen.append))
    await eventually(lambda: seen, "the first answer")
    for place in ahead:
        await far.leave(place)
        await eventually(lambda left=seen[-1].rank - 1: seen[-1].rank == left, "a better rank")  # type: ignore[misc]
    site.admin("POST", f"/{room}/pause", json={"message": "Lunch."})
    await eventually(lambda: seen[-1].room_state == "paused", "the pause")
    assert (seen[-1].message, seen[-1].eta_seconds) == ("Lunch.", None)
    site.admin("POST", f"/{room}/resume")
    await eventually(lambda: seen[-1].room_state == "open", "the end of the pause")
    assert seen[0].eta_seconds is not None
    assert seen[-1].eta_seconds == pytest.approx(seen[0].eta_seconds / 4)
    assert len(relay.lines("/status")) == asked
    await far.leave(inside)
    admitted = await waits
    assert len(relay.lines("/status")) == asked + 1
    assert [place.rank for place in seen] == sorted((place.rank for place in seen), reverse=True)
    assert {place.room_waiting for place in seen} == {4, 3, 2, 1}
    assert not [one for one in relay.lines(f"/v1/rooms/{room} ") if one.all("authorization")]
    await far.leave(admitted)
    assert sizes(site, room) == (0, 0)


async def test_where_the_document_fails_the_place_is_polled(site: Site, relay: Relay, far: WaitroomClient) -> None:
    """A proxy that does not pass it on: the status is asked for as often as it says."""
    room = site.make_room(capacity=0, admit_per_second=0.05)
    await far.enter(room)
    relay.mishap = lambda line: answer(404) if f"/v1/rooms/{room} " in line else None
    waits = asyncio.create_task(far.wait_until_admitted(room))
    await eventually(lambda: len(relay.lines("/status")) >= 3, "polls")
    assert watched(relay, room) >= 2
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert sizes(site, room)[0] == 0


@pytest.mark.usefixtures("brisk")
async def test_the_place_is_asked_for_in_person_in_time(site: Site, relay: Relay, far: WaitroomClient) -> None:
    """Whatever the document says: nobody who watches is taken for gone."""
    room = site.make_room(**SLOW | {"abandon_seconds": 9})
    await filled(far, room)
    waits = asyncio.create_task(far.wait_until_admitted(room))
    await eventually(lambda: watched(relay, room), "the document")
    asked = len(relay.lines("/status"))
    await eventually(lambda: len(relay.lines("/status")) > asked, "a question in person")
    assert count(site, room, "abandoned") == 0
    assert watched(relay, room) > 10
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits


@pytest.mark.usefixtures("brisk")
async def test_an_emptied_redis_is_noticed_before_the_hold_ends() -> None:
    """FLUSHALL: who watches reads of the loss, and is back at the old place while nobody is admitted yet."""
    with sites.own_redis() as (url, redis):
        settings = sites.settings_for(url, rooms={"shop": SLOW | {"claim_seconds": 18}})
        with sites.serving(redis, settings) as site:
            async with WaitroomClient(site.url) as client:
                await filled(client, "shop")
                waits = asyncio.create_task(client.wait_until_admitted("shop"))
                await eventually(lambda: sizes(site, "shop") == (1, 1), "the wait")
                document = site.call("GET", "/v1/rooms/shop").json()
                redis.flushall()
                await eventually(
                    lambda: sizes(site, "shop") == (1, 1) and count(site, "shop", "restored") == 2, "it is back"
                )
                after = site.call("GET", "/v1/rooms/shop").json()
                assert after["eta_seconds"] is None  # still held
                assert after["ladder"] == document["ladder"]
                assert after["lost_at"] is not None
                waits.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waits


def told(room: str, document: dict[str, Any]) -> Callable[[str], Mishap | None]:
    """The room's document is this one, whoever asks."""
    body = json.dumps(document).encode()
    return lambda line: answer(200, body, kind="application/json") if f"/v1/rooms/{room} " in line else None


@pytest.mark.usefixtures("brisk")
async def test_who_is_told_in_vain_that_the_turn_has_come_does_not_ask_at_once_again(
    site: Site, relay: Relay, far: WaitroomClient
) -> None:
    """The status says that one still waits: the document is believed again no sooner than one would have polled."""
    room = site.make_room(**SLOW)
    inside = await filled(far, room)
    past = {**site.call("GET", f"/v1/rooms/{room}").json(), "as_of": "2999-01-01T00:00:00.000Z", "ladder": []}
    relay.mishap = told(room, past)
    waits = asyncio.create_task(far.wait_until_admitted(room))
    # Polls, until something is known of the pace; a document; the question in person; the next document.
    await eventually(lambda: watched(relay, room) == 2, "documents")
    asked = len(relay.lines("/status"))
    await asyncio.sleep(1)
    assert len(relay.lines("/status")) == asked
    assert watched(relay, room) == 2
    relay.mishap = lambda _: None
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    await far.leave(inside)


@pytest.mark.usefixtures("brisk")
async def test_a_document_that_gets_no_younger_is_fetched_more_rarely(
    site: Site, relay: Relay, far: WaitroomClient
) -> None:
    """Redis or a clock has stopped: whoever waits does not make it worse."""
    room = site.make_room(**SLOW)
    await filled(far, room)
    waits = asyncio.create_task(far.wait_until_admitted(room))
    await eventually(lambda: watched(relay, room) > 2, "documents")
    relay.mishap = told(room, site.call("GET", f"/v1/rooms/{room}").json())
    fetched = watched(relay, room)
    await asyncio.sleep(3)
    # After 0.2 (the first of its moment), 0.4, 0.8, 1.6, 3.2 seconds; fifteen would be as often as before.
    assert watched(relay, room) - fetched <= 5
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits


ROOM: dict[str, Any] = {
    "state": "open",
    "message": "",
    "waiting": 20,
    "admitted_per_second": None,
    "eta_seconds": None,
    "eta_low_seconds": None,
    "eta_high_seconds": None,
    "ladder": [[1, 401], [20, 600]],
    "lost_at": "2026-01-02T03:05:05.678Z",
    "refresh_after_seconds": 4.5,
    "as_of": "2026-01-02T03:05:05.678Z",
}


@pytest.mark.parametrize(
    "change",
    [
        {"as_of": None},
        {"as_of": "9999-12-31T23:59:59-23:59"},
        {"refresh_after_seconds": "soon"},
        {"waiting": None},
        {"ladder": None},
        {"ladder": [[1, 401], [2]]},
        {"ladder": [[0, 401], [20, 600]]},
        {"ladder": [[2, 401], [1, 600]]},
        {"ladder": [[1, 600], [20, 600]]},
        {"lost_at": "0001-01-01T00:00:00+23:59"},
        {"lost_at": "2026-01-02T03:05:06.678Z"},
    ],
    ids=str,
)
def test_what_is_no_document_is_told_from_one(change: dict[str, Any]) -> None:
    """A portal, a broken cache: that is a bad answer, and the place is polled."""
    assert documents.room(ROOM).ladder == ((1, 401), (20, 600))
    with pytest.raises((LookupError, TypeError, ValueError)):
        documents.room(ROOM | change)


# What is worth it.

WAITING: dict[str, Any] = {
    "room": "shop",
    "state": "waiting",
    "rank": 100,
    "serial": 500,
    "waiting": 200,
    "eta_seconds": 1000.0,
    "eta_low_seconds": 800.0,
    "eta_high_seconds": 1100.0,
    "poll_after_seconds": 30.0,
    "latest_poll_seconds": 80.0,
    "entered_at": "2026-01-02T03:04:05.678Z",
    "as_of": "2026-01-02T03:05:05.678Z",
    "room_state": "open",
    "message": "",
    "ticket": "a-ticket",
}


def is_watched(**changes: Any) -> bool:
    """Whether a place is watched that was told so; None takes a field out."""
    document = {name: value for name, value in (WAITING | changes).items() if value is not None or "eta" in name}
    connection = Connection("http://127.0.0.1:1", timeout_seconds=1, http=None)

    async def ignore(_: Waiting) -> None:
        pass

    return Watch(connection, documents.waiting(document), ignore).is_worth_it


def test_far_from_the_turn_the_room_is_watched() -> None:
    """Also while nobody can say when the turn comes."""
    assert is_watched()
    assert is_watched(eta_seconds=None, eta_low_seconds=None, eta_high_seconds=None)


@pytest.mark.parametrize(
    "change",
    [{"serial": None}, {"latest_poll_seconds": None}, {"as_of": None}, {"eta_low_seconds": 9.0},
     {"latest_poll_seconds": 5.0}, {"poll_after_seconds": 80.0}],
    ids=str,
)  # fmt: skip
def test_where_it_does_not_help_it_is_not(change: dict[str, Any]) -> None:
    """With an older server, short of the turn, and where one has to ask in person as often."""
    assert not is_watched(**change)


LADDER = [(1, 10), (2, 20), (10, 60), (20, 61)]


@pytest.mark.parametrize(
    ("serial", "ranks"),
    [
        (5, (1, 1, 1)),
        (10, (1, 1, 1)),
        (15, (1, 1.5, 2)),
        (20, (2, 2, 2)),
        (40, (2, 6, 10)),
        (61, (20, 20, 20)),
        (99, (20, 20, 20)),
    ],
)
def test_a_serial_stands_between_two_points_of_the_ladder(serial: int, ranks: tuple[float, float, float]) -> None:
    """As far along as it is between them; where it is a point itself, the rank is known."""
    assert on_ladder(LADDER, serial) == ranks


@given(st.lists(st.integers(1, 10**15), min_size=1, max_size=300, unique=True), st.data())
def test_ranks_on_a_ladder_keep_the_order(serials: list[int], data: st.DataObject) -> None:
    """Whatever points a ladder has, an older serial has no higher rank, and each is between its neighbours."""
    serials.sort()
    picked = data.draw(st.sets(st.integers(1, len(serials)), max_size=30)) | {1, len(serials)}
    ladder = [(rank, serials[rank - 1]) for rank in sorted(picked)]
    ranks = [on_ladder(ladder, serial) for serial in serials]
    assert ranks == sorted(ranks)
    assert all(low <= rank <= high for rank, (low, _, high) in enumerate(ranks, start=1))
