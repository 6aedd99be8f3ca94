"""An event loop in a thread of its own, and the work that other threads have done there.

anyio's BlockingPortal does not wait for the end of what it cancels, and cancels it again in each round of the loop:
chance would decide whether a place is given back.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeVar

from waitroom.client.places import Waiting

T = TypeVar("T")

#: Takes news of a place in the queue.
Tell = Callable[[Waiting], None]

#: How the thread is called, in lists of threads.
NAME: Final = "waitroom-client"


class Work(Generic[T]):
    """What is done in the loop's thread for the thread that makes this.

    It is `over` once nothing of it runs any more. `news` are places in the queue, and None for all else: a queue, as
    an interrupt may leave a condition, and so a future, locked for ever.
    `inside`: the other thread runs a block that the work is there for.
    """

    def __init__(self, do: Callable[[Tell], Coroutine[Any, Any, T]]) -> None:
        self.over = False
        self.error: BaseException | None = None
        self.news: SimpleQueue[Waiting | None] = SimpleQueue()
        self.inside = False
        self.thread = threading.get_ident()
        self.task: asyncio.Task[T] | None = None
        self._do = do

    def wait(self) -> None:
        """Wait until it is over."""
        while not self.over:
            self.news.get()

    def outcome(self) -> T:
        """The result, once it is over. Raises what the work raised."""
        if self.error is not None or self.task is None:
            raise self.error or RuntimeError("not begun")
        return self.task.result()

    # In the loop's thread.

    def begin(self) -> asyncio.Task[T]:
        """Have it done, in a task."""
        self.task = asyncio.get_running_loop().create_task(self._do(self.news.put))
        self.task.add_done_callback(self._end)
        return self.task

    def stop(self) -> None:
        """The other thread does not want it any more. Work that has not begun never will."""
        if self.task is not None:
            self.task.cancel()
        elif not self.over:
            self._conclude(RuntimeError("the call was interrupted before it began"))

    def close(self) -> None:
        """The client closes."""
        self.stop()

    def _end(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self._conclude(RuntimeError("the client was closed while this call was under way"))
        else:
            self._conclude(task.exception())

    def _conclude(self, error: BaseException | None) -> None:
        self.error = error
        self.over = True
        self.news.put(None)


class Call(Generic[T]):
    """What a thread has of its work. Once it is forgotten, the work is stopped: an interrupt may come at any moment."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Work[T]) -> None:
        self._loop = loop
        self._work = work
        self._pid = os.getpid()
        self._forgotten = weakref.finalize(self, _send, loop, work.stop)
        self._forgotten.atexit = False

    def follow(self, on_progress: Tell | None) -> None:
        """Hand on the news, of several the newest, until the work has come to something."""
        while (place := self._newest()) is not None:
            if on_progress is not None:
                on_progress(place)

    def _newest(self) -> Waiting | None:
        place = self._work.news.get()
        while not self._work.news.empty():
            place = self._work.news.get()
        return place

    def end(self) -> bool:
        """Stop the work unless it has ended, and wait until it has. False in a fork, where there is nothing to stop."""
        if self._pid != os.getpid() or self._work.over:
            self._forgotten.detach()
            return self._work.over
        # Where another interrupt keeps this from being sent, it is sent once the call is forgotten.
        _send(self._loop, self._work.stop)
        self._work.wait()
        self._forgotten.detach()
        return True


class LoopThread:
    """The thread, which the first work starts. `closing` is the last that it does."""

    def __init__(self, closing: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._closing = closing
        self._lock = threading.Lock()
        self._closed = False
        self._pid = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._works: set[Work[Any]] = set()

    def begin(self, work: Work[T]) -> Call[T]:
        """Have the work begun. Raises RuntimeError where that cannot be."""
        if self._is_forked():
            raise RuntimeError(
                f"the client was used in process {self._pid} before this one, {os.getpid()}, was forked from it: "
                "make one in each process"
            )
        if self._is_own():
            raise RuntimeError("the client was called from its own thread, which would wait for itself")
        with self._lock:
            if self._closed:
                raise RuntimeError("the client is closed")
            loop = self._loop or self._start()
            call = Call(loop, work)
            loop.call_soon_threadsafe(self._take, work)
        return call

    def do(self, work: Work[T], on_progress: Tell | None = None) -> T:
        """The work's outcome. Raises what the work or `on_progress` raises. An interrupt ends the work."""
        call = self.begin(work)
        try:
            call.follow(on_progress)
            return work.outcome()
        finally:
            call.end()

    def close(self) -> None:
        """Stop what can be stopped, wait for the rest and for `closing`, and end the thread.

        In a fork it does nothing, and closing again waits for the end of the first. Raises RuntimeError where this
        thread would wait for itself.
        """
        if self._is_forked():
            return
        caller = threading.get_ident()
        if any(work.inside and work.thread == caller for work in self._works.copy()):
            raise RuntimeError("this thread holds a slot of the client: leave its block before closing the client")
        with self._lock:
            before, self._closed = self._closed, True
        if self._loop is None or self._thread is None:
            return
        if not before:
            _send(self._loop, lambda: asyncio.ensure_future(self._finish(caller)))
        if not self._is_own():
            self._thread.join()

    def _is_forked(self) -> bool:
        return self._pid not in (0, os.getpid())

    def _is_own(self) -> bool:
        return threading.current_thread() is self._thread

    def _start(self) -> asyncio.AbstractEventLoop:
        begun = _Begun()
        thread = threading.Thread(target=begun.run, name=NAME, daemon=True)
        try:
            thread.start()
            loop = begun.wait()
            self._pid, self._loop, self._thread = os.getpid(), loop, thread
        except BaseException:
            # Interrupted, or the process may have no more threads or files: the next call starts another.
            self._pid, self._loop, self._thread = 0, None, None
            begun.forget()
            raise
        return loop

    # In the loop's thread.

    def _take(self, work: Work[Any]) -> None:
        self._works.add(work)
        work.begin().add_done_callback(lambda _: self._works.discard(work))

    async def _finish(self, caller: int) -> None:
        """End all work. The thread that closes has left its blocks, even where an interrupt kept it from saying so."""
        try:
            for work in self._works.copy():
                work.stop() if work.thread == caller else work.close()
            if tasks := [work.task for work in self._works if work.task is not None]:
                await asyncio.wait(tasks)
            await self._closing()
        finally:
            asyncio.get_running_loop().stop()


class _Begun:
    """A loop that its own thread makes and closes: no interrupt of another thread can leave it open."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unwanted = False
        self._made: SimpleQueue[asyncio.AbstractEventLoop | BaseException] = SimpleQueue()

    def wait(self) -> asyncio.AbstractEventLoop:
        """The loop, once there is one; raises what kept it from being made."""
        made = self._made.get()
        if isinstance(made, BaseException):
            raise made
        return made

    def forget(self) -> None:
        """The loop ends as soon as it can, also where it is not made yet."""
        self._unwanted = True
        if self._loop is not None:
            _send(self._loop, self._loop.stop)

    def run(self) -> None:
        """Make it, and run it until it is stopped."""
        try:
            loop = asyncio.new_event_loop()
        except BaseException as error:
            self._made.put(error)
            return
        try:
            # In this order: `forget` does it the other way round, so that one of the two sees the other.
            self._loop = loop
            self._made.put(loop)
            if not self._unwanted:
                loop.run_forever()
        finally:
            loop.close()


def _send(loop: asyncio.AbstractEventLoop, word: Callable[[], object]) -> None:
    # A loop that is closed has no work left.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(word)
