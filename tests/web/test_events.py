"""Event streams over HTTP: what they tell, when they end, who may have one, and that listening does nothing else."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from typing import Any

import pytest

from rig.waiting import until
from tests.web import sites
from tests.web.listeners import Event, Listener, listening, request
from tests.web.sites import Site, bearer
from waitroom.model import Place, Ticket, Visitor
from waitroom.rooms import streams
from waitroom.rooms.room import Room
from waitroom.rooms.streams import MOST_PER_VISITOR, Stream, Streams
from waitroom.store import keys
from waitroom.web import events

NewRoom = Callable[..., str]

GONE = Ticket(Visitor("a" * 22), 7, 7)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instances in this process look ten times as often."""
    monkeypatch.setattr(streams, "TICK_SECONDS", 0.1)


@pytest.fixture
def full_room(site: Site, new_room: NewRoom) -> str:
    """A room whose one place is taken, so that whoever comes has to wait."""
    name = new_room(capacity=1)
    site.pass_of_new(name)
    return name


def metric(site: Site, line: str) -> float:
    """The value of one series."""
    text = site.call("GET", "/metrics").text
    return next((float(row.rpartition(" ")[2]) for row in text.splitlines() if row.startswith(f"{line} ")), 0.0)


def visitor_of(site: Site, room: str, ticket: str) -> Visitor:
    """Whose ticket that is."""
    proved = site.tickets.verify(room, ticket)
    assert proved is not None
    return proved.visitor


@contextmanager
def hearing(listener: Listener) -> Iterator[list[Event]]:
    """What a visitor hears who reads at once, in a thread of its own; it ends with the block or the stream."""
    heard: list[Event] = []
    over = threading.Event()

    def read() -> None:
        with suppress(OSError):
            while not over.is_set() and (event := listener.event()) is not None:
                heard.append(event)

    reading = threading.Thread(target=read)
    reading.start()
    try:
        yield heard
    finally:
        over.set()
        reading.join()


# What a stream tells.


def test_the_first_event_is_the_place(site: Site, full_room: str) -> None:
    """At once the document that `status` gives, without the ticket, and how long to wait before coming back."""
    ticket = site.ticket_of_new(full_room)
    told = site.status(full_room, ticket).json()
    with listening(site, full_room, ticket) as visitor:
        assert visitor.status == 200
        assert visitor.headers["content-type"] == "text/event-stream"
        assert "no-store" in visitor.headers["cache-control"]
        assert "set-cookie" not in visitor.headers
        first = visitor.next("place")
    assert first.data.keys() == told.keys() - {"ticket"}
    assert [first.data[name] for name in ("state", "rank", "waiting", "entered_at")] == [
        *("waiting", 1, 1),
        told["entered_at"],
    ]
    assert first.retry_ms is not None
    assert 1_000 <= first.retry_ms <= 30_000


def test_the_cookie_opens_a_stream_too(site: Site, full_room: str) -> None:
    """A browser's EventSource sends cookies and nothing else."""
    cookie = f"Cookie: {site.prefix}ticket_{full_room}={site.ticket_of_new(full_room)}"
    with listening(site, full_room, None, cookie) as visitor:
        assert visitor.next("place").data["rank"] == 1


def test_a_better_rank_is_told(site: Site, full_room: str) -> None:
    """When somebody in front goes, everybody behind hears of it."""
    first, second, third = (site.ticket_of_new(full_room) for _ in range(3))
    with listening(site, full_room, second) as one, listening(site, full_room, third) as other:
        assert (one.next("place").data["rank"], other.next("place").data["rank"]) == (2, 3)
        site.leave(full_room, first)
        assert (one.next("place").data["rank"], other.next("place").data["rank"]) == (1, 2)


def test_an_operators_words_are_told(site: Site, full_room: str) -> None:
    """State and message are news as well, whatever they hold; while nobody is admitted there is no eta."""
    with listening(site, full_room, site.ticket_of_new(full_room)) as visitor:
        visitor.next("place")
        message = 'A pause. </script> "quoted" & data: event: ä'
        site.admin("POST", f"/{full_room}/pause", json={"message": message})
        told = visitor.next("place").data
        assert (told["room_state"], told["message"], told["eta_seconds"]) == ("paused", message, None)
        site.admin("POST", f"/{full_room}/resume", json={"message": ""})
        assert visitor.next("place").data["room_state"] == "open"


def test_nothing_new_is_not_told(site: Site, full_room: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later arrivals change nothing for those before them; after a while the place is told again, with a fresh eta."""
    monkeypatch.setattr(streams, "QUIET_SECONDS", 1.0)
    with listening(site, full_room, site.ticket_of_new(full_room)) as visitor:
        told = [visitor.next("place").data]
        site.ticket_of_new(full_room)
        # On a slow machine the place is told again before the arrival has been read.
        while told[-1]["waiting"] < 2:
            told.append(visitor.next("place").data)
    assert {place["rank"] for place in told} == {1}
    assert all(later["as_of"] > earlier["as_of"] for earlier, later in pairwise(told))


def test_an_admission_is_told_and_not_claimed(site: Site, full_room: str) -> None:
    """The turn has come: the stream says so and ends; the offer is claimed by the status that follows."""
    ticket = site.ticket_of_new(full_room)
    with listening(site, full_room, ticket) as visitor:
        visitor.next("place")
        site.admin("PATCH", f"/{full_room}", json={"capacity": 2})
        last = visitor.next("admitted")
        assert last.data == {"room": full_room, "state": "admitted"}
        assert visitor.event() is None
    offered = keys.room_key(full_room, "offered")
    assert site.redis.zcard(offered) == 1
    assert site.status(full_room, ticket).json()["state"] == "admitted"
    assert site.redis.zcard(offered) == 0


def test_who_is_inside_is_told_so_and_no_more(site: Site, new_room: NewRoom) -> None:
    """With the ticket of an admission, an offered pass or a claimed one: one event, and the end."""
    room = new_room(capacity=2)
    offer = site.enter(room).json()["pass"]
    granted = site.pass_of_new(room)
    ticket = site.ticket_of_new(room)
    site.admin("PATCH", f"/{room}", json={"capacity": 3})
    until(lambda: site.waiting(room) == [], what="admission")
    for proof in (offer, granted, ticket):
        with listening(site, room, proof) as visitor:
            assert visitor.next("admitted").data == {"room": room, "state": "admitted"}
            assert visitor.event() is None


def test_an_admission_just_before_the_stream_is_not_missed(
    site: Site, full_room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is admitted between the look that opens the stream and its first tick is told."""
    ticket = site.ticket_of_new(full_room)
    original = Streams.listening

    @contextmanager
    def late(self: Streams, room: Room, place: Place) -> Iterator[Stream]:
        # As a leader would just then; this instance's loop, which runs this, cannot be asked.
        for name in ("wait", "seen"):
            site.redis.zrem(keys.room_key(full_room, name), place.visitor)
        for name in ("active", "offered"):
            site.redis.zadd(keys.room_key(full_room, name), {place.visitor: place.now_us + 60_000_000})
        with original(self, room, place) as stream:
            yield stream

    monkeypatch.setattr(Streams, "listening", late)
    with listening(site, full_room, ticket) as visitor:
        visitor.next("place")
        visitor.next("admitted")


@pytest.mark.parametrize("how", ["leaves", "is swept", "is revoked", "loses the room"])
def test_a_place_that_is_gone_is_told(site: Site, full_room: str, how: str) -> None:
    """Whoever has no place any more hears that it is over, and the stream ends."""
    ticket = site.ticket_of_new(full_room)
    visitor = visitor_of(site, full_room, ticket)
    with listening(site, full_room, ticket) as listener:
        listener.next("place")
        if how == "leaves":
            site.leave(full_room, ticket)
        elif how == "is swept":
            site.redis.zadd(keys.room_key(full_room, "seen"), {visitor: 1})
        elif how == "is revoked":
            site.admin("POST", f"/{full_room}/revoke", json={"visitor": visitor})
        else:
            site.admin("DELETE", f"/{full_room}")
        assert listener.next("over").data == {"room": full_room, "state": "over"}
        assert listener.event() is None


def test_listening_is_not_being_heard(site: Site, full_room: str) -> None:
    """To open a stream counts; what it tells later does not, so a dead connection keeps no place."""
    ticket = site.ticket_of_new(full_room)
    visitor, seen = visitor_of(site, full_room, ticket), keys.room_key(full_room, "seen")
    site.redis.zadd(seen, {visitor: site.now_us() - 60_000_000})
    opened_at = site.now_us()
    with listening(site, full_room, ticket) as listener:
        listener.next("place")
        heard = site.redis.zscore(seen, visitor)
        assert heard is not None
        assert heard >= opened_at
        for number in range(3):
            site.admin("PATCH", f"/{full_room}", json={"message": str(number)})
            listener.next("place")
        assert site.redis.zscore(seen, visitor) == heard


def test_opening_a_stream_gives_the_place_back(site: Site, full_room: str) -> None:
    """Who was silent for too long is put back by the ticket, as by `status`."""
    ticket = site.ticket_of_new(full_room)
    visitor, wait = visitor_of(site, full_room, ticket), keys.room_key(full_room, "wait")
    serial = site.redis.zscore(wait, visitor)
    site.redis.zadd(keys.room_key(full_room, "seen"), {visitor: 1})
    until(lambda: site.waiting(full_room) == [], what="the sweep")
    with listening(site, full_room, ticket) as listener:
        assert listener.next("place").data["rank"] == 1
    assert site.redis.zscore(wait, visitor) == serial


def test_an_old_stream_ends_and_says_when_to_come_back(
    site: Site, full_room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No stream lasts for ever; the next one goes on where it was."""
    ticket = site.ticket_of_new(full_room)
    monkeypatch.setattr(streams, "_AGE_SECONDS", (0.0, 0.0))
    with listening(site, full_room, ticket) as visitor:
        visitor.next("place")
        last = visitor.next("reconnect")
        assert visitor.event() is None
    assert last.retry_ms is not None
    assert 1_000 <= last.retry_ms <= 30_000
    monkeypatch.undo()
    with listening(site, full_room, ticket) as visitor:
        assert visitor.next("place").data["rank"] == 1


# Who may have one.


def test_who_has_no_place_gets_no_stream(site: Site, full_room: str, new_room: NewRoom) -> None:
    """The same refusals as those of `status`, and no stream is open afterwards."""
    used = site.ticket_of_new(full_room)
    site.leave(full_room, used)
    crowded = new_room(capacity=1, max_waiting=1)
    site.pass_of_new(crowded)
    silent = site.ticket_of_new(crowded)
    site.redis.zadd(keys.room_key(crowded, "seen"), {visitor_of(site, crowded, silent): 1})
    until(lambda: site.waiting(crowded) == [], what="the sweep")
    site.ticket_of_new(crowded)
    foreign = site.ticket_of_new(full_room)
    expired = site.forge_ticket(full_room, GONE)
    for room, proof, status, slug in (
        (full_room, None, 401, "no-proof"),
        (full_room, "k1.forged", 401, "no-proof"),
        (full_room, expired, 401, "no-proof"),
        (crowded, foreign, 401, "no-proof"),
        (full_room, used, 410, "turn-over"),
        (crowded, silent, 503, "full"),
        ("nowhere", foreign, 404, "room-unknown"),
    ):
        with listening(site, room, proof) as visitor:
            assert visitor.status == status, (room, status)
            assert visitor.problem()["type"] == f"urn:waitroom:{slug}"
    assert metric(site, "waitroom_streams") == 0


@pytest.mark.parametrize("state", ["paused", "closed"])
def test_a_room_that_admits_nobody_has_streams(site: Site, full_room: str, state: str) -> None:
    """Those who wait are told that they wait on."""
    ticket = site.ticket_of_new(full_room)
    site.admin("PATCH", f"/{full_room}", json={"state": state})
    with listening(site, full_room, ticket) as visitor:
        told = visitor.next("place").data
    assert (told["rank"], told["room_state"], told["eta_seconds"]) == (1, state, None)


@pytest.mark.parametrize(
    "value", [b"", b"7", b"-1", b"9" * 7_000, b"\xff\xfe", b"a\tb", b"1e400", b'{"rank": 1}', b"\xf0\x9f\x92\xa9"]
)
def test_what_was_heard_last_plays_no_part(site: Site, full_room: str, value: bytes) -> None:
    """Last-Event-ID may hold anything: every stream begins with the place as it is."""
    with listening(site, full_room, site.ticket_of_new(full_room), b"Last-Event-ID: " + value) as visitor:
        assert visitor.next("place").data["rank"] == 1


@pytest.mark.parametrize("value", [b"a\x00b", b"a\nb", b"a\r\n\tb"])
def test_what_is_no_header_is_refused(site: Site, full_room: str, value: bytes) -> None:
    """Control characters in it are nothing that HTTP knows."""
    lines = (f"Authorization: Bearer {site.ticket_of_new(full_room)}", b"Last-Event-ID: " + value)
    assert site.raw(request(full_room, *lines)) == 400


def test_a_body_is_of_no_interest(site: Site, full_room: str) -> None:
    """A GET may carry one; it is read and thrown away."""
    lines = ("Content-Length: 100000", "Content-Type: application/json")
    with site.connection() as link:
        proof = f"Authorization: Bearer {site.ticket_of_new(full_room)}"
        link.sendall(request(full_room, proof, *lines) + b"x" * 50_000)
        visitor = Listener(link)
        visitor.next("place")
        link.sendall(b"x" * 50_000)
        site.admin("PATCH", f"/{full_room}", json={"message": "There."})
        assert visitor.next("place").data["message"] == "There."


def test_head_and_other_methods(site: Site, full_room: str) -> None:
    """HEAD gives the head alone and opens nothing; there is nothing to send to a stream."""
    path, proof = f"/v1/rooms/{full_room}/events", bearer(site.ticket_of_new(full_room))
    head = site.call("HEAD", path, headers=proof)
    assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream")
    assert site.call("HEAD", path).status_code == 401
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert site.call(method, path, headers=proof).status_code == 405
    assert metric(site, "waitroom_streams") == 0


def test_http_1_0_has_no_streams(site: Site, full_room: str) -> None:
    """A client that does not know chunks is told to poll."""
    with listening(site, full_room, site.ticket_of_new(full_room), version="HTTP/1.0") as visitor:
        assert visitor.status == 503
        assert visitor.problem()["type"] == "urn:waitroom:poll-instead"


# How many there may be.


@contextmanager
def limited(**settings: Any) -> Iterator[tuple[Site, str]]:
    """An instance with limits of its own, and a room there in which one waits."""
    with sites.own_redis() as (url, redis), sites.serving(redis, sites.settings_for(url, **settings)) as site:
        room = site.make_room(capacity=1)
        site.pass_of_new(room)
        yield site, room


@pytest.mark.parametrize(
    ("settings", "limit"), [({"max_streams": 2}, "instance"), ({"max_streams_per_address": 2}, "address")]
)
def test_beyond_a_limit_one_polls(settings: dict[str, int], limit: str) -> None:
    """So many streams and no more; the next is told to poll, and when one ends another may begin."""
    refused = f'waitroom_streams_refused_total{{limit="{limit}"}}'
    with limited(**settings) as (site, room), ExitStack() as stack:
        tickets = [site.ticket_of_new(room) for _ in range(3)]
        before = metric(site, refused)
        with listening(site, room, tickets[0]) as first:
            stack.enter_context(listening(site, room, tickets[1])).next("place")
            first.next("place")
            assert metric(site, "waitroom_streams") == 2
            with listening(site, room, tickets[2]) as third:
                assert third.status == 503
                assert int(third.headers["retry-after"]) >= 1
                assert third.problem()["type"] == "urn:waitroom:poll-instead"
            # Without a proof one does not even hear of it.
            with listening(site, room) as stranger:
                assert stranger.status == 401
        assert metric(site, refused) == before + 1
        until(lambda: metric(site, "waitroom_streams") == 1, what="the end of the stream")
        stack.enter_context(listening(site, room, tickets[2])).next("place")


def test_an_instance_may_have_no_streams() -> None:
    """With max_streams = 0 everybody polls."""
    with limited(max_streams=0) as (site, room), listening(site, room, site.ticket_of_new(room)) as visitor:
        assert visitor.status == 503
        assert visitor.problem()["type"] == "urn:waitroom:poll-instead"


def test_one_browser_has_only_so_many(site: Site, full_room: str) -> None:
    """Of seven tabs some stream and the others poll, so that the browser has connections left to poll with."""
    ticket, other = site.ticket_of_new(full_room), site.ticket_of_new(full_room)
    with ExitStack() as stack:
        tabs = [stack.enter_context(listening(site, full_room, ticket)) for _ in range(7)]
        assert [tab.status for tab in tabs] == [200] * MOST_PER_VISITOR + [503] * (7 - MOST_PER_VISITOR)
        assert tabs[-1].problem()["type"] == "urn:waitroom:poll-instead"
        stack.enter_context(listening(site, full_room, other)).next("place")


def test_a_request_behind_a_stream_keeps_no_slot(site: Site, full_room: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that pipelines and goes: the stream is over as soon as something is said to nobody."""
    monkeypatch.setattr(streams, "QUIET_SECONDS", 0.3)
    ticket = site.ticket_of_new(full_room)
    with site.connection() as link:
        link.sendall(request(full_room, f"Authorization: Bearer {ticket}") + b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: metric(site, "waitroom_streams") == 1, what="a stream")
    until(lambda: metric(site, "waitroom_streams") == 0, what="the end of the stream")


def test_visitors_who_are_gone_at_once_leave_nothing(site: Site, full_room: str) -> None:
    """Connections that are reset before, while or after the stream begins are forgotten."""
    lines = f"Authorization: Bearer {site.ticket_of_new(full_room)}"
    for number in range(60):
        with site.connection() as link:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            link.sendall(request(full_room, lines))
            if number % 3 == 1:
                link.recv(1)
            elif number % 3 == 2:
                link.shutdown(socket.SHUT_WR)
    until(lambda: metric(site, "waitroom_streams") == 0, what="the end of all streams")


# Slow readers, outages, the end.


def test_who_does_not_read_is_dropped_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """One visitor reads nothing: others hear on, and after a while the stream that is not read is over."""
    monkeypatch.setattr(streams, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(streams, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(events, "_READ_SECONDS", 0.5)
    with sites.own_redis() as (url, redis), sites.serving(redis, sites.settings_for(url), send_buffer=4096) as site:
        room = site.make_room(capacity=1, message="x" * 500)
        site.pass_of_new(room)
        deaf, reading = site.ticket_of_new(room), site.ticket_of_new(room)
        before = metric(site, "waitroom_streams_dropped_total")
        with site.connection() as link, listening(site, room, reading) as visitor, hearing(visitor) as heard:
            link.sendall(request(room, f"Authorization: Bearer {deaf}"))
            until(lambda: metric(site, "waitroom_streams_dropped_total") == before + 1, what="the end of a stream")
            assert metric(site, "waitroom_streams") == 1
            soon = len(heard)
            until(lambda: len(heard) > soon, what="another event for who reads")
            assert {event.name for event in heard} == {"place"}
            # The visitor was silent as well, but has the place.
            assert visitor_of(site, room, deaf) in site.waiting(room)


def test_an_outage_ends_no_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """While Redis does not answer there are heartbeats; afterwards the stream goes on with what is new."""
    monkeypatch.setattr(streams, "QUIET_SECONDS", 0.3)
    with sites.own_redis() as (url, redis):
        settings = sites.settings_for(url)
        with sites.serving(redis, settings) as site:
            room = site.make_room(capacity=1)
            site.pass_of_new(room)
            first, second = site.ticket_of_new(room), site.ticket_of_new(room)
            with listening(site, room, second) as visitor:
                visitor.next("place")
                with sites.hurried(site), sites.frozen(redis):
                    # The place may be told again before the outage is noticed.
                    while (event := visitor.event()) is not None and not event.comment:
                        assert event.name == "place"
                    assert event is not None
                    with listening(site, room, first) as late:
                        assert late.status == 503
                until(lambda: site.leave(room, first).status_code == 204, what="the end of the outage")
                while visitor.later("place").data["rank"] != 1:
                    pass


def test_after_a_loss_of_data_everybody_asks_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is known any more: the streams are over, and the tickets give the places back in their order."""
    rooms = {"shop": {"capacity": 1}}
    with sites.own_redis() as (url, redis), sites.serving(redis, sites.settings_for(url, rooms=rooms)) as site:
        site.pass_of_new("shop")
        tickets = [site.ticket_of_new("shop") for _ in range(3)]
        before = site.waiting("shop")
        with ExitStack() as stack:
            visitors = [stack.enter_context(listening(site, "shop", ticket)) for ticket in tickets]
            for visitor in visitors:
                visitor.next("place")
            redis.flushall()
            for visitor in visitors:
                visitor.later("over")
        for ticket in reversed(tickets):
            with listening(site, "shop", ticket) as visitor:
                visitor.next("place")
        assert site.waiting("shop") == before


def test_the_streams_are_counted(site: Site, full_room: str) -> None:
    """How many are open, and what they were told."""
    series = 'waitroom_stream_events_total{event="%s"}'
    before = {name: metric(site, series % name) for name in ("place", "over")}
    ticket = site.ticket_of_new(full_room)
    with listening(site, full_room, ticket) as visitor:
        visitor.next("place")
        assert metric(site, "waitroom_streams") == 1
        site.leave(full_room, ticket)
        visitor.next("over")
    until(lambda: metric(site, "waitroom_streams") == 0, what="the end of the stream")
    assert {name: metric(site, series % name) - count for name, count in before.items()} == {"place": 1, "over": 1}
