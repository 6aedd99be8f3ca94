"""Kinds of visitors, a file each. `HABITS` names them."""

from __future__ import annotations

from typing import Final

from loadtest.visitors.arrival import Arrival
from loadtest.visitors.forger import Forger
from loadtest.visitors.forgetful import Forgetful
from loadtest.visitors.impatient import Impatient
from loadtest.visitors.leaver import Leaver
from loadtest.visitors.patient import Patient
from loadtest.visitors.reloader import Reloader
from loadtest.visitors.sleeper import Sleeper
from loadtest.visitors.stranger import Stranger
from loadtest.visitors.vanisher import Vanisher
from loadtest.visitors.visitor import Visitor
from loadtest.visitors.watcher import Watcher

HABITS: Final[dict[str, type[Visitor]]] = {
    kind.habit: kind
    for kind in (
        Arrival,
        Forger,
        Forgetful,
        Impatient,
        Leaver,
        Patient,
        Reloader,
        Sleeper,
        Stranger,
        Vanisher,
        Watcher,
    )
}
