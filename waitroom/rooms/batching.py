"""Natural batches: while one call is in flight, what arrives waits together and goes out as the next call.

No timer, and no added latency when idle. Bounded three ways: items per call, calls in flight, items waiting. It knows
nothing of Redis: a batcher turns a function of many items into a function of one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from waitroom.errors import Overloaded, Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Visitors per call at most: a script call must stay short, for it blocks everybody, and with a million waiting it
#: takes up to 10 µs for each. Several times as many at once would save each of them a twentieth of that.
MOST_PER_CALL: Final = 128

#: Calls in flight at most: two keep Redis busy while this side reads and writes. More would only shrink the batches.
MOST_IN_FLIGHT: Final = 2


class Batcher(Generic[Item, Result]):
    """Collects single items into calls of `run`, which takes a list of items and returns a result for each."""

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        most_waiting: int,
        most_per_call: int = MOST_PER_CALL,
        most_in_flight: int = MOST_IN_FLIGHT,
    ) -> None:
        self._run = run
        self._most_waiting = most_waiting
        self._most_per_call = most_per_call
        self._most_in_flight = most_in_flight
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def backlog(self) -> int:
        """Items that wait for their call."""
        return len(self._waiting)

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """A future of the item's result. Raises Overloaded at once when the backlog is full.

        The future fails with what `run` raised. Cancelling it abandons the answer, not the call.
        """
        if len(self._waiting) >= self._most_waiting:
            raise Overloaded(f"{len(self._waiting)} requests are waiting for Redis already")
        # Kept, because to find it is a system call in Python 3.11.
        loop = self._loop = self._loop or asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future))
        if not self._scheduled and len(self._calls) < self._most_in_flight:
            # Not at once: requests that the loop has already read join the same call.
            self._scheduled = True
            loop.call_soon(self._start)
        return future

    def _start(self) -> None:
        self._scheduled = False
        while self._waiting and len(self._calls) < self._most_in_flight:
            size = min(len(self._waiting), self._most_per_call)
            batch = [self._waiting.popleft() for _ in range(size)]
            call = asyncio.get_running_loop().create_task(self._call(batch))
            self._calls.add(call)
            call.add_done_callback(self._ended)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._start()

    async def _call(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._run([item for item, _ in batch])
            if len(results) != len(batch):
                raise ValueError(f"{len(results)} results for {len(batch)} items")
        except Unavailable as error:
            # The requests behind this call have waited as long as it took to fail: failing them now keeps the wait of
            # every request within one time-out.
            while self._waiting:
                batch.append(self._waiting.popleft())
            self._fail(batch, error)
        except Exception as error:
            self._fail(batch, error)
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)

    @staticmethod
    def _fail(batch: list[tuple[Item, asyncio.Future[Result]]], error: Exception) -> None:
        for _, future in batch:
            if not future.done():
                future.set_exception(error)
                # Its caller may have gone: then the exception is never asked for.
                future.exception()

    async def close(self) -> None:
        """Wait for the calls in flight and for what waits behind them."""
        while self._calls or self._waiting:
            self._start()
            await asyncio.wait(set(self._calls))
