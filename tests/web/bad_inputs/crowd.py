"""A site in the middle of its day: what bad inputs must not change."""

from __future__ import annotations

from dataclasses import dataclass

from tests.web.sites import Site
from waitroom.model import Ticket


@dataclass
class Crowd:
    """A site with a full room: somebody inside, three waiting, one who has left; and a second room."""

    site: Site
    room: str
    other: str
    inside: str
    waiting: list[str]
    left: str
    other_ticket: str
    other_pass: str
    closed: str
    full: str

    def ticket(self) -> Ticket:
        """What the first of the waiting tickets says."""
        ticket = self.site.tickets.verify(self.room, self.waiting[0])
        assert ticket is not None
        return ticket

    def filled(self, path: str) -> str:
        """The path with the room's name in it."""
        return path.replace("{room}", self.room)
