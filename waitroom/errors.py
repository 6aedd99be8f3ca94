"""Everything waitroom raises on purpose.

WaitroomError
├── SettingsError      a setting is missing or wrong: names it and its value
├── RoomUnknown        no room of that name
├── RoomBroken         the room's keys in Redis are not what they should be
├── VersionConflict    another operator changed the room first
├── TermStale          a newer leader has acted: this one's term is over
├── StreamsFull        there are as many event streams open as may be
├── EmbeddedError      the embedded server cannot start or was lost
└── Unavailable        Redis did not answer in time or refused
    ├── Full           Redis is out of memory: it takes no new visitor
    └── Overloaded     this instance's backlog is full
"""

from __future__ import annotations


class WaitroomError(Exception):
    """Base of every error that waitroom raises on purpose."""


class SettingsError(WaitroomError):
    """One or more settings are missing or wrong. The message lists them all by name and value."""


class RoomUnknown(WaitroomError):
    """No room of that name exists."""


class RoomBroken(WaitroomError):
    """A room's keys in Redis hold something else than they should."""


class VersionConflict(WaitroomError):
    """The room was changed since the caller read it.

    `version` is the version it has now.
    """

    def __init__(self, room: str, version: int) -> None:
        there = f"is at version {version} now" if version else "does not exist"
        super().__init__(f"room {room!r} {there}: read it again and repeat the change")
        self.room = room
        self.version = version


class TermStale(WaitroomError):
    """A newer leader has acted on the room, under `term`. A call with the older term does nothing."""

    def __init__(self, message: str, term: int) -> None:
        super().__init__(message)
        self.term = term


class StreamsFull(WaitroomError):
    """As many event streams are open as may be: on the `instance`, of the `visitor`, or of the `address`."""

    def __init__(self, limit: str, message: str) -> None:
        super().__init__(message)
        self.limit = limit


class EmbeddedError(WaitroomError):
    """The embedded server cannot start, or stopped on its own. The message says why and what to do."""


class Unavailable(WaitroomError):
    """Redis did not answer in time or refused. Nothing is known about what it did."""


class Full(Unavailable):
    """Redis is out of memory: it takes no new visitor. Visitors with a place keep it."""


class Overloaded(Unavailable):
    """This instance's backlog is full. Nothing was sent to Redis."""
