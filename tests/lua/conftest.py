"""The room that the tests of the scripts drive."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from tests.lua.driven import DrivenRoom
from waitroom.errors import RoomBroken, RoomUnknown
from waitroom.store import Store


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
