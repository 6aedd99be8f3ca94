"""Waiting until something holds, however busy the machine is."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar, overload

#: Seconds that anything may take on a busy machine before it counts as hanging.
PATIENCE_SECONDS: Final = 60.0

#: Seconds between two looks.
_PAUSE_SECONDS: Final = 0.02

T = TypeVar("T")


def until(
    condition: Callable[[], T | None],
    what: str,
    *,
    seconds: float = PATIENCE_SECONDS,
    despite: type[Exception] | tuple[type[Exception], ...] = (),
) -> T:
    """Look again and again until the condition gives something true, which is returned.

    What it raises of the kinds `despite` means not yet. Raises TimeoutError that says `what` did not come about.
    """
    deadline = time.monotonic() + seconds
    while True:
        said: object = None
        try:
            if found := condition():
                return found
        except despite as error:
            said = error
        if time.monotonic() > deadline:
            raise _late(what, seconds, said)
        time.sleep(_PAUSE_SECONDS)


@overload
async def eventually(
    condition: Callable[[], Coroutine[Any, Any, T | None]],
    what: str,
    *,
    seconds: float = ...,
    despite: type[Exception] | tuple[type[Exception], ...] = ...,
) -> T: ...
@overload
async def eventually(
    condition: Callable[[], T | None],
    what: str,
    *,
    seconds: float = ...,
    despite: type[Exception] | tuple[type[Exception], ...] = ...,
) -> T: ...
async def eventually(
    condition: Callable[[], T | Awaitable[T | None] | None],
    what: str,
    *,
    seconds: float = PATIENCE_SECONDS,
    despite: type[Exception] | tuple[type[Exception], ...] = (),
) -> T:
    """The same in an event loop, of a condition that may have to be awaited."""
    deadline = time.monotonic() + seconds
    while True:
        said: object = None
        try:
            looked = condition()
            if found := (await looked if inspect.isawaitable(looked) else looked):
                return found
        except despite as error:
            said = error
        if time.monotonic() > deadline:
            raise _late(what, seconds, said)
        await asyncio.sleep(_PAUSE_SECONDS)


def _late(what: str, seconds: float, said: object) -> TimeoutError:
    return TimeoutError(f"{what} did not come about within {seconds:g} s" + (f": {said}" if said else ""))
