"""Batching: who travels together, what is bounded, and that nobody is left waiting."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waitroom.errors import Full, Overloaded, RoomBroken, Unavailable
from waitroom.rooms.batching import MOST_PER_CALL, Batcher


class Calls:
    """A function of many items that answers when it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.replies: list[asyncio.Future[list[str]]] = []

    async def run(self, items: Sequence[int]) -> list[str]:
        self.batches.append(list(items))
        self.replies.append(asyncio.get_running_loop().create_future())
        return await self.replies[-1]

    def answer(self, call: int) -> None:
        """Let that call succeed."""
        self.replies[call].set_result([f"r{item}" for item in self.batches[call]])

    def fail(self, call: int, error: Exception) -> None:
        """Let that call fail."""
        self.replies[call].set_exception(error)


def batcher(run: Callable[[Sequence[int]], Awaitable[Sequence[str]]], **bounds: int) -> Batcher[int, str]:
    """A batcher with one call in flight and room for a thousand, unless told otherwise."""
    return Batcher(run, **({"most_waiting": 1000, "most_in_flight": 1} | bounds))


async def settled() -> None:
    """Let the loop do everything that is ready."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_requests_of_the_same_moment_share_a_call() -> None:
    """What the loop has read already goes out together, in order."""
    calls = Calls()
    batch = batcher(calls.run)
    futures = [batch.submit(item) for item in range(5)]
    assert calls.batches == []
    await settled()
    assert calls.batches == [[0, 1, 2, 3, 4]]
    calls.answer(0)
    assert await asyncio.gather(*futures) == ["r0", "r1", "r2", "r3", "r4"]


async def test_a_single_request_waits_for_no_timer() -> None:
    """An idle batcher sends at the next turn of the loop."""
    calls = Calls()
    future = batcher(calls.run).submit(7)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert calls.batches == [[7]]
    calls.answer(0)
    assert await future == "r7"


async def test_one_call_in_flight_collects_the_rest() -> None:
    """While a call is in flight, arrivals wait together and leave as the next call as soon as it ends."""
    calls = Calls()
    batch = batcher(calls.run)
    futures = [batch.submit(0)]
    await settled()
    for item in (1, 2, 3):
        futures.append(batch.submit(item))
        await settled()
    assert (calls.batches, batch.backlog) == ([[0]], 3)
    calls.answer(0)
    await settled()
    assert (calls.batches, batch.backlog) == ([[0], [1, 2, 3]], 0)
    calls.answer(1)
    assert await asyncio.gather(*futures) == ["r0", "r1", "r2", "r3"]


async def test_a_call_is_bounded() -> None:
    """No call takes more than so many; the others follow in order."""
    calls = Calls()
    batch = batcher(calls.run, most_waiting=10_000)
    futures = [batch.submit(item) for item in range(2 * MOST_PER_CALL + 1)]
    for call in range(3):
        await settled()
        calls.answer(call)
    assert (await asyncio.gather(*futures))[-1] == f"r{2 * MOST_PER_CALL}"
    assert [len(items) for items in calls.batches] == [MOST_PER_CALL, MOST_PER_CALL, 1]
    assert [item for items in calls.batches for item in items] == list(range(2 * MOST_PER_CALL + 1))


async def test_calls_in_flight_are_bounded() -> None:
    """At most so many calls are in flight; each that ends makes room for one."""
    calls = Calls()
    batch = batcher(calls.run, most_in_flight=2, most_per_call=1)
    futures = [batch.submit(item) for item in range(4)]
    await settled()
    assert calls.batches == [[0], [1]]
    calls.answer(1)
    await settled()
    assert calls.batches == [[0], [1], [2]]
    for call in (2, 0):
        calls.answer(call)
        await settled()
    calls.answer(3)
    assert await asyncio.gather(*futures) == ["r0", "r1", "r2", "r3"]


async def test_a_full_backlog_turns_away_at_once() -> None:
    """Beyond the bound a request is refused without waiting, and the others are not harmed."""
    calls = Calls()
    batch = batcher(calls.run, most_waiting=2)
    futures = [batch.submit(0)]
    await settled()
    futures += [batch.submit(1), batch.submit(2)]
    with pytest.raises(Overloaded, match="2 requests are waiting"):
        batch.submit(3)
    calls.answer(0)
    await settled()
    futures.append(batch.submit(4))
    calls.answer(1)
    await settled()
    calls.answer(2)
    assert await asyncio.gather(*futures) == ["r0", "r1", "r2", "r4"]


async def test_an_outage_reaches_those_behind_it_too() -> None:
    """Who waits behind a call that Redis did not answer fails with it, and waits for no time-out of their own."""
    calls = Calls()
    batch = batcher(calls.run)
    futures = [batch.submit(0)]
    await settled()
    futures += [batch.submit(1), batch.submit(2)]
    outage = Unavailable("gone")
    calls.fail(0, outage)
    assert await asyncio.gather(*futures, return_exceptions=True) == [outage] * 3
    assert (calls.batches, batch.backlog) == ([[0]], 0)


@pytest.mark.parametrize("error", [RoomBroken("wrong type"), ValueError("a bug")])
async def test_another_failure_reaches_its_own_call_only(error: Exception) -> None:
    """A failure that says nothing about Redis is for those who were in the call; the next call is tried."""
    calls = Calls()
    batch = batcher(calls.run)
    first = [batch.submit(0), batch.submit(1)]
    await settled()
    later = batch.submit(2)
    calls.fail(0, error)
    assert await asyncio.gather(*first, return_exceptions=True) == [error] * 2
    await settled()
    calls.answer(1)
    assert await later == "r2"


async def test_after_an_outage_the_next_request_is_tried() -> None:
    """A failed call leaves nothing behind."""
    calls = Calls()
    batch = batcher(calls.run)
    lost = batch.submit(0)
    await settled()
    calls.fail(0, Full("full"))
    with pytest.raises(Full):
        await lost
    good = batch.submit(1)
    await settled()
    calls.answer(1)
    assert await good == "r1"


async def test_a_cancelled_waiter_harms_nobody() -> None:
    """Whoever goes away, in the queue or in flight, takes neither place nor answer of the others."""
    calls = Calls()
    batch = batcher(calls.run)
    flying = [batch.submit(item) for item in (0, 1, 2)]
    await settled()
    queued = [batch.submit(item) for item in (3, 4, 5)]
    flying[1].cancel()
    queued[1].cancel()
    calls.answer(0)
    await settled()
    calls.answer(1)
    assert [await future for future in (flying[0], flying[2], queued[0], queued[2])] == ["r0", "r2", "r3", "r5"]


async def test_a_failure_nobody_waits_for_is_quiet() -> None:
    """An answer whose caller has gone is dropped: no `exception was never retrieved`, which would fail this test."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    calls = Calls()
    batch = batcher(calls.run)
    futures = [batch.submit(item) for item in range(3)]
    await settled()
    futures[0].cancel()
    calls.fail(0, Unavailable("gone"))
    await settled()
    futures.clear()
    calls.replies.clear()
    await settled()
    assert complaints == []


async def test_too_few_results_leave_nobody_waiting() -> None:
    """A call that answers for fewer than it was asked fails those without an answer instead of forgetting them."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    async def short(items: Sequence[int]) -> list[str]:
        return ["r0"]

    batch = batcher(short)
    futures = [batch.submit(0), batch.submit(1)]
    await settled()
    assert all(future.done() for future in futures)
    assert isinstance(futures[1].exception(), ValueError)
    assert complaints == []


async def test_close_waits_for_everybody() -> None:
    """Closing returns when the calls in flight and all who waited behind them are answered."""
    calls = Calls()
    batch = batcher(calls.run, most_per_call=2)
    futures = [batch.submit(item) for item in range(5)]
    closing = asyncio.create_task(batch.close())
    for call in range(3):
        await settled()
        assert not closing.done()
        calls.answer(call)
    await closing
    assert [future.result() for future in futures] == [f"r{item}" for item in range(5)]


async def test_close_with_nothing_to_do_returns() -> None:
    """Closing an idle batcher waits for nothing."""
    async with asyncio.timeout(30):
        await batcher(Calls().run).close()


async def test_close_ends_in_an_outage_too() -> None:
    """Closing does not hang on a Redis that answers nothing but errors."""

    async def broken(items: Sequence[int]) -> list[str]:
        raise Unavailable("gone")

    batch = batcher(broken, most_per_call=1)
    futures = [batch.submit(item) for item in range(3)]
    async with asyncio.timeout(30):
        await batch.close()
    assert all(isinstance(future.exception(), Unavailable) for future in futures)


@given(
    arrivals=st.lists(st.integers(0, 30), max_size=20),
    per_call=st.integers(1, 16),
    in_flight=st.integers(1, 3),
    seed=st.integers(0, 2**32),
)
def test_everybody_gets_their_own_answer(arrivals: list[int], per_call: int, in_flight: int, seed: int) -> None:
    """Whatever arrives when, each item is sent once, in order, and its result comes back to its own caller."""
    drawn = random.Random(seed)

    async def scenario() -> None:
        sent: list[int] = []
        flying = 0

        async def run(items: Sequence[int]) -> list[str]:
            nonlocal flying
            flying += 1
            assert flying <= in_flight
            assert 1 <= len(items) <= per_call
            sent.extend(items)
            for _ in range(drawn.randrange(4)):
                await asyncio.sleep(0)
            flying -= 1
            return [f"r{item}" for item in items]

        batch = batcher(run, most_per_call=per_call, most_in_flight=in_flight)
        futures: list[asyncio.Future[str]] = []
        for size in arrivals:
            futures += [batch.submit(len(futures) + place) for place in range(size)]
            for _ in range(drawn.randrange(3)):
                await asyncio.sleep(0)
        await batch.close()
        assert [await future for future in futures] == [f"r{item}" for item in range(len(futures))]
        assert sent == list(range(len(futures)))

    asyncio.run(scenario())
