"""The room's own books, as an operator reads them, and whether they agree with themselves and with the history."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from crowd.history import History, Operation
from crowd.invariants import Check
from crowd.turns import honest
from crowd.watch import missing

#: Looks at books that do not balance: sessions that are over stand in no column until the next tick has swept them.
_LOOKS: Final = 30
_PAUSE_SECONDS: Final = 0.1


class BooksError(Exception):
    """The books cannot be read; the message says why and what to do."""


@dataclass(frozen=True)
class Books:
    """A room at one instant: how many wait and are inside, the counts, and the settings."""

    waiting: int
    occupancy: int
    counts: Mapping[str, int]
    settings: Mapping[str, Any]

    @classmethod
    def read(cls, url: str, room: str, key: str) -> Self:
        """What the admin API at `url` says. Raises BooksError."""
        address = f"{url}/admin/rooms/{room}"
        request = urllib.request.Request(address, headers={"Authorization": f"Bearer {key}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                said = json.load(answer)
        except (OSError, ValueError) as error:
            raise BooksError(f"{address}: {error}: is the admin API reachable there, and the key right?") from None
        return cls(said["waiting"], said["occupancy"], said["counts"], said["settings"])

    @classmethod
    def balanced(cls, url: str, room: str, key: str) -> Self:
        """The books once they balance; as they are if they do not within three seconds."""
        for _ in range(_LOOKS):
            books = cls.read(url, room, key)
            if conserved(books).holds:
                break
            time.sleep(_PAUSE_SECONDS)
        return books


def conserved(books: Books) -> Check:
    """Everybody who came waits, is inside, or went out by one way."""
    lost, came = missing(books.counts, books.waiting, books.occupancy), books.counts["entered"]
    faults = [f"{lost} of {came} visitors are in no column: {dict(books.counts)}"] if lost else []
    return Check("nobody is lost in the room's books", came, faults)


def reconciled(
    history: History,
    after: Books,
    before: Books | None = None,
    *,
    doubtful: Sequence[Operation] | None = None,
    tries: int = 1,
    sent_away: int = 0,
) -> Check:
    """The books have moved by what the visitors saw: no less, and more only by what they could not see.

    `doubtful`: requests whose fate is unknown, each of which may have been carried out so often as there are `tries`;
    `sent_away`: how many were revoked.
    """
    if doubtful is None:
        doubtful = [each for each in history.operations if each.outcome == "unknown"]
    told = [each for each in history.operations if each.outcome == "ok" and each.identity]
    # A forger's own place is one too.
    places = {each.identity for each in told if (each.state and each.identity != each.brought) or not each.attempt}
    admitted = {each.identity for each in told if each.state == "admitted"}
    inside = {each.identity for each in told if each.state == "admitted" and not each.offer}
    claimed = inside | ({each.brought for each in honest(history.operations) if each.passed} - {""})
    left = {each.visitor for each in history.operations if each.call == "leave" and each.outcome == "ok"}
    drawn = sum(each.call in ("enter", "gate") for each in doubtful)
    faults = []
    for name, least, most in (
        ("entered", len(places), len(places) + tries * drawn),
        ("admitted", len(admitted), float("inf")),
        ("claimed", len(claimed), len(claimed) + tries * len(doubtful)),
        ("left", 0, len(left) + len(doubtful) + sent_away),
    ):
        moved = after.counts[name] - (before.counts[name] if before is not None else 0)
        if not least <= moved <= most:
            faults.append(f"{name}: the books moved by {moved}, visitors saw {least} to {most}")
    return Check("the books agree with the visitors", len(places) + len(claimed) + len(left), faults)
