"""The room's own books, as an operator reads them, and whether they agree with themselves and with the history."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from crowd.history import History
from crowd.invariants import Check
from crowd.rules import Rules
from crowd.turns import honest
from crowd.watch import WAYS_OUT

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
            if not books.missing():
                break
            time.sleep(_PAUSE_SECONDS)
        return books

    def missing(self) -> int:
        """How many came and are in no column."""
        gone = sum(self.counts[way] for way in WAYS_OUT)
        return self.counts["entered"] + self.counts["restored"] - self.waiting - self.occupancy - gone

    def rules(self) -> Rules:
        """What the settings bound."""
        return Rules(
            **{name: self.settings[name] for name in Rules.__dataclass_fields__}  # the names are the settings' own
        )


def conserved(books: Books) -> Check:
    """Everybody who came waits, is inside, or went out by one way."""
    missing = books.missing()
    faults = (
        [f"{missing} of {books.counts['entered']} visitors are in no column: {dict(books.counts)}"] if missing else []
    )
    return Check("nobody is lost in the room's books", books.counts["entered"], faults)


def reconciled(before: Books, after: Books, history: History) -> Check:
    """The books moved by what the visitors saw: no more, and no less, but for requests whose fate is unknown."""
    seen = _seen(history)
    unknown = sum(each.outcome == "unknown" for each in history.operations)
    faults = []
    for name, least, most in (
        ("entered", seen["entered"], seen["entered"] + unknown),
        ("claimed", seen["claimed"], seen["claimed"] + unknown),
        ("left", 0, seen["left"] + unknown),
    ):
        moved = after.counts[name] - before.counts[name]
        if not least <= moved <= most:
            faults.append(f"{name}: the books moved by {moved}, visitors saw {least} to {most}")
    return Check("the books agree with the visitors", sum(seen.values()), faults)


def _seen(history: History) -> dict[str, int]:
    """How many places, sessions and goodbyes visitors know of; a forger's own place is one too."""
    told = [each for each in history.operations if each.outcome == "ok" and each.identity]
    places = {each.identity for each in told if (each.state and each.identity != each.brought) or not each.attempt}
    inside = {each.identity for each in told if each.state == "admitted" and not each.offer}
    claims = {each.brought for each in honest(history.operations) if each.passed}
    left = {each.visitor for each in history.operations if each.call == "leave" and each.outcome == "ok"}
    return {"entered": len(places), "claimed": len(inside | claims - {""}), "left": len(left)}
