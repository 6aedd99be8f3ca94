"""Kinds of visitors. `HABITS` names them."""

from __future__ import annotations

from typing import Final

from loadtest.visitors import people
from loadtest.visitors.arrival import Arrival
from loadtest.visitors.forger import Forger
from loadtest.visitors.visitor import Visitor
from loadtest.visitors.watcher import Watcher

HABITS: Final[dict[str, type[Visitor]]] = {
    kind.habit: kind
    for kind in (
        *(people.Patient, people.Leaver, people.Sleeper, people.Vanisher),
        *(people.Reloader, people.Impatient, people.Forgetful, people.Stranger),
        *(Arrival, Forger, Watcher),
    )
}
