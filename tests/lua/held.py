"""The scripts on a real server, with the clock in a test's hands.

The texts are those of `lua/`, but for one line: where a script reads the server's clock, it reads a list of the same
two texts instead. So ends can be met to the µs, the clock can go back, and a history runs the same way every time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

from redis import Redis

from waitroom.store import keys, scripts

ROOM: Final = "shop"
SECOND: Final = 1_000_000

#: Where the clock is that the scripts read.
CLOCK: Final = "clock"
_TIME: Final = "redis.call('TIME')"

#: When every history begins; µs since the epoch.
BEGINNING: Final = 1_800_000_000 * SECOND


class HeldScripts:
    """Every script, and the time at which it believes to run."""

    def __init__(self, url: str) -> None:
        self.redis = Redis.from_url(url, decode_responses=True, protocol=2, socket_timeout=30)
        self._bytes = Redis.from_url(url, protocol=2, socket_timeout=30)
        self.redis.config_set("maxmemory", 0)
        self.redis.flushall()
        self._scripts = {name: self.redis.register_script(_held(name)) for name in scripts.NAMES}
        self._now = 0
        self.now = BEGINNING

    @property
    def now(self) -> int:
        """The time in µs."""
        return self._now

    @now.setter
    def now(self, us: int) -> None:
        self._now = us
        seconds, micros = divmod(us, SECOND)
        with self.redis.pipeline() as pipe:
            pipe.delete(CLOCK)
            pipe.rpush(CLOCK, str(seconds), str(micros))
            pipe.execute()

    def run(self, name: str, *arguments: Any) -> list[Any]:
        """A script's raw reply."""
        names = [keys.LEASE] if name == "lease" else keys.room_keys(ROOM, scripts.load(name).keys)
        return cast("list[Any]", self._scripts[name](keys=names, args=arguments))

    def dumps(self, names: Sequence[str]) -> list[bytes | None]:
        """What is in these keys."""
        with self._bytes.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.dump(name)
            return cast("list[bytes | None]", pipe.execute())

    def everything(self) -> dict[str, bytes | None]:
        """What is in every key."""
        names = sorted(cast("list[str]", self.redis.keys()))
        return dict(zip(names, self.dumps(names), strict=True))

    def close(self) -> None:
        """Close the connections."""
        self.redis.close()
        self._bytes.close()


def _held(name: str) -> str:
    text = scripts.load(name).text
    assert text.count(_TIME) == 1, f"{name} must read the clock once"
    return text.replace(_TIME, f"redis.call('LRANGE', '{CLOCK}', 0, 1)")
