"""How a server process ends when it is told to."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from waitroom.serve.work import Work
from waitroom.web.instance import Instance

logger = logging.getLogger(__name__)

Handler = Callable[[int, FrameType | None], Any]


def unwind_when_told() -> None:
    """SIGTERM and SIGINT unwind the stack, so that the embedded server is stopped in order.

    SIGINT does so also where it was ignored: what a shell starts with `&` inherits that.
    """

    def end(_signal: int, _frame: object) -> NoReturn:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def draining_at_sigterm(instance: Instance, work: Work) -> Iterator[None]:
    """At SIGTERM tell the balancers first, give up the lease, end the streams, stop listening after `drain_seconds`.

    The web server's own handler, which closes the listener and lets requests in flight end, comes last. A second
    SIGTERM does not wait for it.
    """
    loop, goodbyes = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    def drain(stop_serving: Handler) -> None:
        goodbyes.add(loop.create_task(work.stop_leading()))
        goodbyes.add(loop.create_task(instance.streams.end()))
        seconds = instance.settings.drain_seconds
        if seconds:
            logger.info("draining: not ready any more, still serving for %g s", seconds)
        loop.call_later(seconds, stop_serving, signal.SIGTERM, None)

    def told(stop_serving: Handler, frame: FrameType | None) -> None:
        if instance.drain.started:
            stop_serving(signal.SIGTERM, frame)
        else:
            instance.drain.started = True
            loop.call_soon_threadsafe(drain, stop_serving)

    with _before(signal.SIGTERM, told):
        yield


@contextmanager
def ending_streams_at_sigint(instance: Instance) -> Iterator[None]:
    """At SIGINT nothing drains: Ctrl-C means at once. But streams would not end by themselves."""
    loop, goodbyes = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    def told(stop_serving: Handler, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(lambda: goodbyes.add(loop.create_task(instance.streams.end())))
        stop_serving(signal.SIGINT, frame)

    with _before(signal.SIGINT, told):
        yield


@contextmanager
def _before(number: signal.Signals, told: Callable[[Handler, FrameType | None], None]) -> Iterator[None]:
    """Have a signal told with the web server's own handler for it. Without one, as in a thread, it stays as it is."""
    handler = signal.getsignal(number)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    stop_serving: Handler = handler
    signal.signal(number, lambda _number, frame: told(stop_serving, frame))
    try:
        yield
    finally:
        signal.signal(number, stop_serving)
