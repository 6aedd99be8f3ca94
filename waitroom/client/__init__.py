"""A client of a waitroom server: wait for one's turn, and hold a slot for the length of a block.

    async with WaitroomClient("http://127.0.0.1:8000") as client:
        async with client.admission("reports") as slot:   # waits for a free place, and is inside now
            await make_the_report()                       # never more than the room's capacity at a time

`BlockingClient` does the same for code without an event loop:

    with BlockingClient("http://127.0.0.1:8000") as client:
        with client.admission("reports") as slot:
            make_the_report()

It needs httpx, and nothing of a server: `pip install 'waitroom[client]'`.

A place is a `Waiting` or an `Admitted`. Its `proof`, a ticket or a pass, is what the server knows the visitor by, and
all there is to keep of it: whoever holds it has the place, so it is never shown or logged.

Every error derives from WaitroomError. Wrong arguments raise ValueError or TypeError instead, and a BlockingClient that
is closed or was forked raises RuntimeError.

WaitroomError
├── RoomUnknown             there is no room of that name
└── ClientError
    ├── RoomClosed          the room takes no visitors
    ├── TurnOver            the visitor had their turn or left
    ├── TokenRequired       a new place takes a token of the site
    ├── ProofRefused        the ticket or pass is too old, or no proof of this room
    ├── NotAdmitted         the turn did not come within the time-out
    ├── AdmissionLost       the slot was lost while the block ran
    ├── BadAnswer           the answer is not one of waitroom's, or a broken one
    └── ServerUnavailable   no answer, or one that says to try again
        ├── RoomFull        the wait queue takes no more visitors
        └── ChallengeSet    a new place takes work, and what was done was not enough
"""

from __future__ import annotations

try:
    import httpx as _httpx  # noqa: F401 - whoever lacks it is told what to install
except ImportError as error:
    raise ImportError("waitroom.client needs httpx: pip install 'waitroom[client]'") from error

from waitroom.client.blocking import BlockingClient
from waitroom.client.client import WaitroomClient
from waitroom.client.errors import (
    AdmissionLost,
    BadAnswer,
    ChallengeSet,
    ClientError,
    NotAdmitted,
    ProofRefused,
    RoomClosed,
    RoomFull,
    ServerUnavailable,
    TokenRequired,
    TurnOver,
)
from waitroom.client.holding import Slot
from waitroom.client.places import Admitted, OnProgress, Place, Waiting
from waitroom.errors import RoomUnknown, WaitroomError

__all__ = [
    "AdmissionLost",
    "Admitted",
    "BadAnswer",
    "BlockingClient",
    "ChallengeSet",
    "ClientError",
    "NotAdmitted",
    "OnProgress",
    "Place",
    "ProofRefused",
    "RoomClosed",
    "RoomFull",
    "RoomUnknown",
    "ServerUnavailable",
    "Slot",
    "TokenRequired",
    "TurnOver",
    "Waiting",
    "WaitroomClient",
    "WaitroomError",
]
