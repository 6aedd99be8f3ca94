"""Servers and stores of a URL, opened for a test, with a time-out that no busy machine reaches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from waitroom.errors import Unavailable
from waitroom.model import Place
from waitroom.proofs.tickets import new_visitor
from waitroom.settings.room import RoomSettings, fields_of
from waitroom.store.clock import Clock
from waitroom.store.servers import Servers, connect
from waitroom.store.store import Store

#: Seconds. What a test says about the end of it, it says in time that leaps.
TIMEOUT: Final = 10.0

#: Seconds, where a test waits for the end of it; no call of such a test need be answered within it at the first try.
SHORT: Final = 2.0


@asynccontextmanager
async def opened(url: str, *, timeout_seconds: float = TIMEOUT, connections: int = 64) -> AsyncIterator[Servers]:
    """The servers of a URL."""
    made = connect(url, timeout_seconds=timeout_seconds, connections=connections)
    try:
        yield made
    finally:
        await made.aclose()


@asynccontextmanager
async def stored(url: str, *, timeout_seconds: float = TIMEOUT, rooms: tuple[str, ...] = ()) -> AsyncIterator[Store]:
    """A store on the servers of a URL, with these rooms."""
    store = Store(connect(url, timeout_seconds=timeout_seconds), Clock(), timeout_seconds=timeout_seconds)
    try:
        for room in rooms:
            await store.configure(room, fields_of(RoomSettings()), expected=0)
        yield store
    finally:
        await store.close()


async def arrive(store: Store, room: str) -> Place:
    """One arrival's place."""
    return (await store.enter(room, [(new_visitor(), None)]))[0]


async def served_again(store: Store, room: str) -> Place:
    """The place of an arrival as soon as the room is served; no try takes much longer than the time-out."""
    async with asyncio.timeout(60):
        while True:
            try:
                async with asyncio.timeout(1.5 * TIMEOUT):
                    return await arrive(store, room)
            except Unavailable:
                await asyncio.sleep(0.05)
