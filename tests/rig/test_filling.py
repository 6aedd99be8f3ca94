"""Rooms as measurements want them, on real filling."""

from __future__ import annotations

import time

from redis import Redis

from rig import filling
from waitroom.model import Standing
from waitroom.store import keys

ROOM = "bench"


def _client(engine: str) -> Redis:
    client = Redis.from_url(engine, decode_responses=True)
    client.flushall()
    return client


async def test_so_many_are_inside_and_so_many_wait(engine: str) -> None:
    with _client(engine):
        async with filling.opened(engine) as store:
            await filling.configure(store, ROOM, capacity=600)
            inside = await filling.admitted(store, ROOM, 600)
            await filling.enter(store, ROOM, 1_500)
            reading = await store.read(ROOM)
        assert (reading.occupancy, reading.offered, reading.waiting) == (600, 0, 1_500)
        assert len({place.visitor for place in inside}) == 600
        passes = filling.pass_cookies(ROOM, inside)
        name, _, text = passes[0]["Cookie"].partition("=")
        assert name == f"waitroom_pass_{ROOM}"
        proof = filling.pass_office().verify(ROOM, text, now=time.time())
        assert proof is not None
        assert proof.visitor == inside[0].visitor


async def test_tickets_are_those_of_waiting_visitors_over_the_whole_queue(engine: str) -> None:
    with _client(engine) as client:
        async with filling.opened(engine) as store:
            await filling.configure(store, ROOM, state="paused")
            await filling.enter(store, ROOM, 1_000)
            tickets = filling.tickets_of_waiting(client, ROOM, 10)
            places = await store.status(ROOM, tickets)
        assert [place.standing for place in places] == 10 * [Standing.WAITING]
        assert [place.rank for place in places] == list(range(1, 1_000, 100))
        assert len(filling.tickets_of_waiting(client, ROOM, 5_000)) == 1_000
        text = filling.ticket_cookies(ROOM, tickets)[3]["Cookie"].partition("=")[2]
        assert filling.ticket_office().verify(ROOM, text) == tickets[3]


async def test_only_the_newest_are_taken_out_again(engine: str) -> None:
    with _client(engine) as client:
        async with filling.opened(engine) as store:
            await filling.configure(store, ROOM, state="paused")
            await filling.enter(store, ROOM, 100)
            first = client.zrange(keys.room_key(ROOM, "wait"), 0, -1)
            await filling.enter(store, ROOM, 6_000)
            assert filling.trim(client, ROOM, 100) == 6_000
            reading = await store.read(ROOM)
        assert client.zrange(keys.room_key(ROOM, "wait"), 0, -1) == first
        assert set(client.zrange(keys.room_key(ROOM, "seen"), 0, -1)) == set(first)
        assert reading.counts.entered == reading.waiting + reading.counts.left
