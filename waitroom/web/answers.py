"""What a client is told when something is wrong: a problem document, and which error becomes which.

Endpoints raise. What they raise becomes an answer by one table, at the hot addresses as at all others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

import orjson
from starlette.exceptions import HTTPException

from waitroom import metrics
from waitroom.errors import (
    Full,
    Overloaded,
    RoomBroken,
    RoomUnknown,
    SettingsError,
    Unavailable,
    VersionConflict,
    WaitroomError,
)
from waitroom.web.headers import Header, retry_after

logger = logging.getLogger(__name__)

PROBLEM_JSON: Final = b"application/problem+json"

#: Seconds after which a client may try again what Redis or the instance could not do.
_TRY_AGAIN_SECONDS: Final = 2.0


class Problem(WaitroomError):
    """An answer that says what is wrong with a request, as an RFC 9457 document.

    `slug` is the last part of its type, a URN. `title` says the same in words for every instance of it. `more` are
    members of its own.
    """

    def __init__(
        self,
        status: int,
        slug: str,
        title: str,
        detail: str = "",
        *,
        headers: Sequence[Header] = (),
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail or title)
        self.status = status
        self.slug = slug
        self.title = title
        self.detail = detail
        self.headers = headers
        self.more = more or {}

    def body(self) -> bytes:
        """The problem document."""
        document: dict[str, Any] = {"type": f"urn:waitroom:{self.slug}", "title": self.title, "status": self.status}
        if self.detail:
            document["detail"] = self.detail
        return orjson.dumps({**document, **self.more})


def problem_of(error: Exception) -> Problem:
    """What is answered where that error was raised: by the line of its class, or of the nearest class above it.

    What operators should know of is counted or logged on the way.
    """
    if isinstance(error, Problem):
        return error
    kind = next(kind for kind in type(error).__mro__ if kind in ANSWERS)
    return ANSWERS[kind](error)


def _again(slug: str, title: str, detail: str = "") -> Problem:
    return Problem(503, slug, title, detail, headers=(retry_after(_TRY_AGAIN_SECONDS),))


def _settings(error: Exception) -> Problem:
    return Problem(400, "settings", "Settings are not valid", str(error))


def _room_unknown(_error: Exception) -> Problem:
    return Problem(404, "room-unknown", "No such room")


def _version(conflict: Exception) -> Problem:
    return Problem(412, "version", "The room has another version", str(conflict))


def _full(_error: Exception) -> Problem:
    return _again("full", "The wait queue is full", "Redis has no space for a new visitor, try again later")


def _overloaded(_error: Exception) -> Problem:
    metrics.OVERLOADED.inc()
    return _again("overloaded", "Too many requests at once")


def _unavailable(_error: Exception) -> Problem:
    return _again("unavailable", "The queue cannot be reached", "places are kept, try again")


def _room_broken(error: Exception) -> Problem:
    logger.error("%s", error)
    return _again("degraded", "The room cannot be served", "places are kept, and the server's log says what is wrong")


def _of_router(error: Any) -> Problem:
    """No such address, or no such method there."""
    status = HTTPStatus(error.status_code)
    headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
    return Problem(status.value, status.phrase.lower().replace(" ", "-"), status.phrase, headers=headers)


def _unexpected(_error: Exception) -> Problem:
    # The error is raised again after this answer, and the server logs it.
    return Problem(500, "internal", "Internal error")


#: Every error that gets as far as this floor, and its answer.
ANSWERS: Final[Mapping[Any, Callable[[Exception], Problem]]] = MappingProxyType(
    {
        SettingsError: _settings,
        RoomUnknown: _room_unknown,
        VersionConflict: _version,
        Full: _full,
        Overloaded: _overloaded,
        Unavailable: _unavailable,
        RoomBroken: _room_broken,
        HTTPException: _of_router,
        Exception: _unexpected,
    }
)
