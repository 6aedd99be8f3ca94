"""Moving a room's time on instead of sleeping."""

from __future__ import annotations

from typing import Any, Final

from redis.asyncio import Redis

from waitroom.store import keys

#: Sets whose scores are times.
TIMED_SETS: Final = ("seen", "active", "offered", "used", "revoked", "sources")

#: Fields whose values are times.
TIMED_STATE: Final = ("tat_us", "hold_until_us", "pace_at_us", "turn_us", "spent_us")
TIMED_CONFIG: Final = ("tickets_after_us",)

SCRIPT: Final = """
local shift = ARGV[1]
for i = 3, #KEYS do
  for _, member in ipairs(redis.call('ZRANGE', KEYS[i], 0, -1)) do redis.call('ZINCRBY', KEYS[i], shift, member) end
end
for i = 2, #ARGV do
  local key = (i == #ARGV) and KEYS[1] or KEYS[2]
  if (tonumber(redis.call('HGET', key, ARGV[i])) or 0) > 0 then redis.call('HINCRBY', key, ARGV[i], shift) end
end
"""


def arguments(room: str, seconds: float) -> tuple[Any, ...]:
    """What EVAL takes to move a room's time on."""
    names = keys.room_keys(room, ("config", "state", *TIMED_SETS))
    return (SCRIPT, len(names), *names, str(-round(seconds * 1_000_000)), *TIMED_STATE, *TIMED_CONFIG)


async def fast_forward(redis: Redis, room: str, seconds: float) -> None:
    """Make everything in the room that much older. Serials stay; tickets outside are the caller's to age."""
    await redis.eval(*arguments(room, seconds))
