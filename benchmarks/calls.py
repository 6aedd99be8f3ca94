"""What calls of scripts take, one after the other, by the server's own account and the kernel's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from rig import accounting
from rig.embedded import Embedded

T = TypeVar("T")

#: µs from which SLOWLOG notes a call. It would note what the scripts call as well, and that costs them time: few of
#: those take as long as this, and hardly a whole call is done so soon.
SLOW_US: Final = 30


@dataclass
class Calls:
    """Calls of scripts on a server that nothing else calls; the most CPU µs that its thread took for one of them."""

    redis: Embedded
    longest_cpu_us: float = 0.0

    async def call(self, call: Callable[[], Awaitable[T]]) -> T:
        """Its result; what the server does from before the call until after it is the call's."""
        before = accounting.thread_cpu_us(self.redis.pid)
        result = await call()
        self.longest_cpu_us = max(self.longest_cpu_us, accounting.thread_cpu_us(self.redis.pid) - before)
        return result

    @contextmanager
    def logged(self) -> Iterator[list[int]]:
        """When the block ends: the µs of each call in it from SLOW_US on, on the wall's clock."""
        took = list[int]()
        self.redis.client.config_set("slowlog-max-len", 100_000)
        self.redis.client.slowlog_reset()
        self.redis.client.config_set("slowlog-log-slower-than", SLOW_US)
        yield took
        self.redis.client.config_set("slowlog-log-slower-than", -1)
        log: list[dict[str, Any]] = self.redis.client.slowlog_get(100_000)
        took += [int(entry["duration"]) for entry in log if bytes(entry["command"]).startswith(b"EVAL")]
