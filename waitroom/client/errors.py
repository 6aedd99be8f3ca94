"""What goes wrong for a client. The package's docstring has the tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waitroom.errors import WaitroomError

if TYPE_CHECKING:
    from waitroom.client.places import Place


class ClientError(WaitroomError):
    """Base of the client's errors."""


class RoomClosed(ClientError):
    """The room takes no visitors; `message` is the operator's line, or empty."""

    def __init__(self, room: str, message: str) -> None:
        super().__init__(f"room {room!r} is closed" + (f": {message}" if message else ""))
        self.room = room
        self.message = message


class TurnOver(ClientError):
    """The visitor had their turn, left or was sent out; only entering again, at the back, helps."""


class ProofRefused(ClientError):
    """The ticket or pass proves nothing: it is too old, or of another room or another server."""


class TokenRequired(ClientError):
    """A new place takes an enqueue token of the site; `enqueue_url` is where to get one, or empty."""

    def __init__(self, room: str, enqueue_url: str) -> None:
        super().__init__(f"room {room!r} takes a token" + (f" from {enqueue_url}" if enqueue_url else ""))
        self.room = room
        self.enqueue_url = enqueue_url


class NotAdmitted(ClientError):
    """The turn did not come within `timeout_seconds`.

    `place` is the newest of the place that the caller gave, to go on with; None where the place was the client's own,
    which it has given back.
    """

    def __init__(self, room: str, seconds: float, place: Place | None) -> None:
        super().__init__(f"not admitted to room {room!r} within {seconds:g} s")
        self.room = room
        self.place = place


class AdmissionLost(ClientError):
    """The slot was lost while the block ran: another visitor may have it. The asyncio client cancels the block."""

    def __init__(self, room: str, reason: str) -> None:
        super().__init__(f"the slot in room {room!r} was lost: {reason}")
        self.room = room
        self.reason = reason


class BadAnswer(ClientError):
    """What answers at the address is not waitroom, or does not answer well."""


class ServerUnavailable(ClientError):
    """No answer, or one that says to try again (429, 5xx). Whether the call was carried out is not known.

    `retry_after_seconds` is when the server wants to be asked again, if it said so.
    """

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class ChallengeSet(ServerUnavailable):
    """A new place takes a piece of work first; the client does it, and this is raised where that was not enough."""

    def __init__(self, message: str, retry_after_seconds: float | None, challenge: str, bits: int) -> None:
        super().__init__(message, retry_after_seconds)
        self.challenge = challenge
        self.bits = bits


class RoomFull(ServerUnavailable):
    """The wait queue takes no more visitors for now."""
