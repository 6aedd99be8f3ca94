"""Single calls against a real instance."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from rig.raw import Relay
from tests.client.scene import (
    QUICK,
    count,
    sizes,
)
from tests.test_architecture import imported
from tests.web.sites import Site
from waitroom import client as package
from waitroom.client import (
    Admitted,
    ProofRefused,
    RoomClosed,
    RoomFull,
    RoomUnknown,
    Slot,
    TurnOver,
    Waiting,
    WaitroomClient,
)

pytestmark = pytest.mark.usefixtures("brief")


async def test_a_place_in_the_queue_and_a_place_inside(site: Site, client: WaitroomClient) -> None:
    """Every field of both documents arrives, and no proof is in a repr."""
    room = site.make_room(capacity=1, session_seconds=60, message="We open at ten.")
    inside, waits = await client.enter(room), await client.enter(room)
    assert isinstance(inside, Admitted)
    assert (inside.room, inside.session_seconds) == (room, 60)
    assert inside.expires_at.tzinfo is UTC
    assert isinstance(waits, Waiting)
    assert (waits.room, waits.rank, waits.room_waiting, waits.room_state) == (room, 1, 1, "open")
    assert waits.message == "We open at ten."
    assert waits.eta_seconds is not None
    assert waits.eta_low_seconds is not None
    assert waits.eta_high_seconds is not None
    assert waits.eta_low_seconds <= waits.eta_seconds <= waits.eta_high_seconds
    assert waits.poll_after_seconds > 0
    assert abs((waits.entered_at - datetime.fromtimestamp(site.now_us() / 1e6, UTC)).total_seconds()) < 60
    for place in (inside, waits):
        assert place.proof not in repr(place)
    assert inside.proof not in repr(Slot(inside))


async def test_entering_with_a_proof_gives_the_place_back(site: Site, client: WaitroomClient) -> None:
    """A ticket kept over a restart of the caller is as good as the place; a worthless one gives a new place."""
    room = site.make_room(capacity=1)
    await client.enter(room)
    first, second = await client.enter(room), await client.enter(room)
    again = await client.enter(room, proof=second.proof)
    assert isinstance(first, Waiting)
    assert isinstance(second, Waiting)
    assert isinstance(again, Waiting)
    assert (again.rank, again.entered_at) == (2, second.entered_at)
    assert sizes(site, room) == (2, 1)
    other = await client.enter(room, proof="worthless")
    assert isinstance(other, Waiting)
    assert other.rank == 3


async def test_a_status_is_asked_for_when_the_server_wants_it(site: Site, relay: Relay, far: WaitroomClient) -> None:
    """Not before `poll_after_seconds`, unless the caller insists; of a place inside at once."""
    room = site.make_room(**QUICK)
    inside, waits = await far.enter(room), await far.enter(room)
    assert isinstance(waits, Waiting)
    await far.status(waits)
    await far.status(waits, paced=False)
    inside = await far.status(inside)
    assert isinstance(inside, Admitted)
    entered, paced = relay.lines("/enter")[1].at, relay.lines("/status")[0].at
    assert paced - entered >= waits.poll_after_seconds
    assert count(site, room, "claimed") == 1


async def test_leaving_ends_it_also_twice(site: Site, client: WaitroomClient) -> None:
    """Waiting and inside; what is gone already is no error."""
    room = site.make_room(capacity=1)
    places = [await client.enter(room), await client.enter(room)]
    for place in [*places, *places]:
        await client.leave(place)
    assert sizes(site, room) == (0, 0)
    for place in places:
        with pytest.raises(TurnOver):
            await client.status(place)
    assert count(site, room, "left") == 2


async def test_a_room_says_why_it_takes_nobody(site: Site, client: WaitroomClient) -> None:
    """Closed, with the operator's line; full, with the time to come back; unknown; and no name of a room at all."""
    room = site.make_room(capacity=1, max_waiting=1)
    for _ in range(2):
        await client.enter(room)
    with pytest.raises(RoomFull, match="wait already") as full:
        await client.enter(room)
    assert full.value.retry_after_seconds == 15
    site.admin("POST", f"/{room}/close", json={"message": "Sold out."})
    with pytest.raises(RoomClosed, match=r"closed: Sold out\.") as closed:
        await client.enter(room)
    assert (closed.value.room, closed.value.message) == (room, "Sold out.")
    for name in ("", "..", "a/b", "a?b", "a\nb", "ü"):
        with pytest.raises(RoomUnknown, match="a name has 1 to 64 of A-Z") as unknown:
            await client.enter(name)
        assert repr(name) in str(unknown.value)


async def test_a_room_that_is_not_there_is_named_with_what_to_do(site: Site, client: WaitroomClient) -> None:
    """The last line of the traceback: which room, at which server, and the command that makes it."""
    said = f"there is no room 'nope' at {site.url}: make it with `waitroom room set nope capacity=50`"
    with pytest.raises(RoomUnknown) as unknown:
        await client.enter("nope")
    assert str(unknown.value) == said
    with pytest.raises(RoomUnknown) as unknown:
        async with client.admission("nope"):
            raise AssertionError("inside a room that is not there")
    assert str(unknown.value) == said


async def test_a_proof_of_another_room_proves_nothing(site: Site, client: WaitroomClient) -> None:
    """ProofRefused, and leaving with it does nothing."""
    one, other = site.make_room(capacity=1), site.make_room(capacity=1)
    await client.enter(one)
    waits = await client.enter(one)
    assert isinstance(waits, Waiting)
    foreign = Waiting(
        other, 1, 1, None, None, None, poll_after_seconds=0, entered_at=waits.entered_at, room_state="open",
        message="", proof=waits.proof,
    )  # fmt: skip
    with pytest.raises(ProofRefused):
        await client.status(foreign)
    await client.leave(foreign)
    assert sizes(site, one) == (1, 1)
    for text in ("", "a b", "a\nb", "ü", "a" * 3000):
        with pytest.raises(ProofRefused):
            await client.enter(one, proof=text)
    with pytest.raises(ValueError, match="in room"):
        await client.wait_until_admitted(other, place=waits)


async def test_places_do_not_mix(site: Site, relay: Relay) -> None:
    """One client holds many places: no cookie goes along, also with a client of the caller's own that has some."""
    room = site.make_room(capacity=1, session_seconds=60)
    async with httpx.AsyncClient(cookies={"mine": "1"}, headers={"User-Agent": "mine"}) as http:
        async with WaitroomClient(f"{relay.url}/", http=http) as client:
            places = [await client.enter(room) for _ in range(4)]
            places = [await client.status(place, paced=False) for place in places]
        assert not http.is_closed
    assert [place.rank for place in places if isinstance(place, Waiting)] == [1, 2, 3]
    async with WaitroomClient(relay.url) as client:
        assert [type(await client.enter(room)) for _ in range(2)] == [Waiting, Waiting]
    assert sizes(site, room) == (5, 1)
    assert not [asked for asked in relay.asked if asked.all("cookie")]
    assert {agent for asked in relay.asked for agent in asked.all("user-agent")} == {"mine", "waitroom-client"}


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8000", "ftp://a", "http://", "http://name:word@a", "http://a/?b", "http://a/#", "http://a:b"],
)
def test_a_wrong_address_is_refused(url: str) -> None:
    """At once, and without showing a password."""
    with pytest.raises(ValueError, match="url") as refused:
        WaitroomClient(url)
    assert "word" not in str(refused.value).replace("password", "")


def test_without_httpx_the_import_says_what_to_install() -> None:
    """One sentence that names the extra."""
    code = "import sys; sys.modules['httpx'] = None; import waitroom.client"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "ImportError: waitroom.client needs httpx: pip install 'waitroom[client]'" in done.stderr


def test_the_client_stands_alone() -> None:
    """Of the rest of waitroom it imports the errors only: who installs the client runs no server."""
    modules = Path(package.__file__).parent.glob("*.py")
    ours = {name for path in modules for name in imported(path) if name.startswith("waitroom.")}
    assert {name for name in ours if not name.startswith("waitroom.client")} <= {
        "waitroom.errors",
        "waitroom.errors.RoomUnknown",
        "waitroom.errors.WaitroomError",
    }


def test_the_client_needs_httpx_and_the_standard_library() -> None:
    """Its modules import nothing else, so that it could be installed alone."""
    modules = Path(package.__file__).parent.glob("*.py")
    roots = {name.split(".")[0] for path in modules for name in imported(path)}
    assert roots - sys.stdlib_module_names == {"waitroom", "httpx"}
