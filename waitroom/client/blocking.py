"""The client for threads: the asyncio client in a thread of its own, and calls that wait for it."""

from __future__ import annotations

import asyncio
import inspect
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

import httpx

from waitroom.client.client import WaitroomClient
from waitroom.client.connection import TIMEOUT_SECONDS
from waitroom.client.holding import Slot
from waitroom.client.places import Admitted, Place, Waiting
from waitroom.client.thread import LoopThread, Tell, Work
from waitroom.errors import WaitroomError

P = TypeVar("P", bound=Place)

Admission = Callable[[Tell], AbstractAsyncContextManager[Slot]]


class BlockingClient:
    """A client of the server at `url` for code without an event loop, in any number of threads at once.

    ```python
    from waitroom.client import BlockingClient, Waiting


    def show(place: Waiting) -> None:
        print(f"{place.rank} of {place.room_waiting}, about {place.eta_seconds} s to go")


    with BlockingClient("http://127.0.0.1:8000") as client:
        with client.admission("reports", on_progress=show) as slot:
            for part in range(3):
                slot.raise_if_lost()
                print(f"part {part}: one of the room's places is taken while this block runs")
    ```

    It is a `WaitroomClient` in a thread of its own, which the first call starts. Its methods do what that one's do,
    with the same arguments and errors, and wait for it. An exception that arrives meanwhile, like the KeyboardInterrupt
    of Ctrl-C, ends the wait, and what the call was about to get is given back, which takes 5 s at most. A second one
    does not wait for that. A signal with a handler that raises nothing, as SIGTERM's by default, ends the process
    instead: then the place comes back by itself.

    `on_progress` is called in the thread that waits. It may take its time: then it misses answers, and gets the newest.

    `timeout_seconds` is the longest that one answer may take. `http` is an httpx.AsyncClient (with certificates,
    proxies or limits) that nothing else uses: its requests are sent from this client's thread, and it is closed there.

    Raises ValueError for a `url` that is none. Every method raises RuntimeError once the client is closed, and in a
    process that was forked after the first call: each process needs a client of its own.
    """

    def __init__(
        self, url: str, *, timeout_seconds: float = TIMEOUT_SECONDS, http: httpx.AsyncClient | None = None
    ) -> None:
        self._client = WaitroomClient(url, timeout_seconds=timeout_seconds, http=http)
        self._thread = LoopThread(partial(_close, self._client, http))
        # The thread of a forgotten client ends. At the exit of the interpreter it ends with the process.
        weakref.finalize(self, self._thread.close).atexit = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the waits of other threads, which raise RuntimeError. Wait for their blocks, then close the connections.

        Closing again does no more. Raises RuntimeError inside a block of this thread, which would wait for itself.
        """
        self._thread.close()

    def enter(self, room: str, *, proof: str | None = None, token: str | None = None) -> Place:
        """A new place, or that place again with a `proof` that is still good. See `WaitroomClient.enter`."""
        work = Work(lambda _: self._client.enter(room, proof=proof, token=token))
        return self._place(work, own=proof is None)

    def status(self, place: Place, *, paced: bool = True) -> Place:
        """Where the place stands now. Claims an offer. See `WaitroomClient.status`."""
        return self._thread.do(Work(lambda _: self._client.status(place, paced=paced)))

    def leave(self, place: Place) -> None:
        """Give the place up, also if it is gone already. See `WaitroomClient.leave`."""
        self._thread.do(Work(lambda _: self._client.leave(place)))

    def wait_until_admitted(
        self,
        room: str,
        *,
        place: Place | None = None,
        on_progress: Callable[[Waiting], None] | None = None,
        timeout_seconds: float | None = None,
        token: str | None = None,
    ) -> Admitted:
        """Wait for one's turn, and claim it: the session has begun. See `WaitroomClient.wait_until_admitted`.

        `timeout_seconds` (None: for ever) is how long the turn may take. What `on_progress` raises ends the wait.
        """
        _check(on_progress)
        work = Work(
            lambda tell: self._client.wait_until_admitted(
                room, place=place, on_progress=tell, timeout_seconds=timeout_seconds, token=token
            )
        )
        return self._place(work, own=place is None, on_progress=on_progress)

    @contextmanager
    def admission(
        self,
        room: str,
        *,
        on_progress: Callable[[Waiting], None] | None = None,
        timeout_seconds: float | None = None,
        token: str | None = None,
    ) -> Iterator[Slot]:
        """Hold a slot of the room for the length of a block: at most `capacity` at a time, on any number of machines.

        It waits, extends the session, and gives the slot back, as `WaitroomClient.admission` does, and raises what that
        raises. `timeout_seconds` (None: for ever) is how long the turn may take, and what `on_progress` raises ends the
        wait.

        A block in a thread cannot be cancelled, so a long one must look now and then whether the slot is lost:
        `slot.lost` says so, `slot.raise_if_lost()` raises AdmissionLost, and `slot.seconds_left` are the seconds that
        the block may still run if no extension gets through any more. Where none got through in time, the block has a
        tenth of the session to stop before another visitor is let in (at least 0.25 s and at most 10 s, never more than
        a third of the session). Where the server took the slot back, another visitor may have it already. A block that
        ends without an error of its own after the slot was lost raises AdmissionLost.
        """
        _check(on_progress)
        hold = Hold(
            lambda tell: self._client.admission(room, on_progress=tell, timeout_seconds=timeout_seconds, token=token)
        )
        call = self._thread.begin(hold)
        try:
            call.follow(on_progress)
            if hold.slot is not None:
                hold.inside = True
                yield hold.slot
        finally:
            hold.inside = False
            ended = call.end()
        if ended:
            hold.outcome()

    def _place(self, work: Work[P], *, own: bool, on_progress: Tell | None = None) -> P:
        """The place that the work gets. With `own` it is given back if the thread is interrupted as it comes."""
        try:
            return self._thread.do(work, on_progress)
        except BaseException:
            if own and work.over and work.error is None:
                with suppress(WaitroomError, RuntimeError):
                    self.leave(work.outcome())
            raise


class Hold(Work[None]):
    """A slot that is held for a block in another thread: there is a `slot` while that runs."""

    def __init__(self, admission: Admission) -> None:
        super().__init__(self._hold)
        self.slot: Slot | None = None
        self._admission = admission
        self._over = asyncio.Event()

    async def _hold(self, tell: Tell) -> None:
        async with self._admission(tell) as self.slot:
            self.news.put(None)
            while not self._over.is_set():
                # The loss of the slot cancels this, but only its own thread can end the block.
                with suppress(asyncio.CancelledError):
                    await self._over.wait()

    def stop(self) -> None:
        """The block is over, or was never reached."""
        self._over.set()
        self.close()

    def close(self) -> None:
        """The client closes: a block that runs is waited for."""
        if self.slot is None:
            super().stop()


def _check(on_progress: Tell | None) -> None:
    if inspect.iscoroutinefunction(on_progress):
        raise TypeError("on_progress must be a plain function, not a coroutine function")


async def _close(client: WaitroomClient, http: httpx.AsyncClient | None) -> None:
    try:
        async with client:
            pass
    finally:
        if http is not None:
            await http.aclose()
