"""What the tests of the scripts drive: a room, or the scripts with their clock in the test's hands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from tests.lua.driven import DrivenRoom
from tests.lua.held import HeldScripts
from waitroom.errors import RoomBroken, RoomUnknown
from waitroom.store.store import Store


@pytest.fixture
async def room(store: Store, redis: Redis) -> AsyncIterator[DrivenRoom]:
    """A room named "shop", not configured yet; whatever a test does to it must leave it legal."""
    driven = DrivenRoom(store, redis)
    yield driven
    try:
        await driven.assert_legal()
    except (RoomUnknown, RoomBroken, ResponseError):
        # The test has taken the room away or broken it on purpose.
        return


@pytest.fixture
def held(engine: str) -> Iterator[HeldScripts]:
    """The scripts on the emptied server."""
    opened = HeldScripts(engine)
    yield opened
    opened.close()
