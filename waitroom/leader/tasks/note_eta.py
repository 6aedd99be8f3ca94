"""How good the estimates are: the eta at the tail is noted once a second, and judged when its visitor is admitted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar
from weakref import WeakKeyDictionary

from waitroom import metrics
from waitroom.model import Admission, arrived_us
from waitroom.rooms.eta.foretold import Foretold
from waitroom.rooms.room import Room


class NoteEta:
    """Notes what newcomers are told. `measure` shows as metrics how long they waited, and how that compares."""

    name: ClassVar[str] = "note_eta"
    period_seconds: ClassVar[float] = 1.0

    def __init__(self) -> None:
        self._foretold: WeakKeyDictionary[Room, Foretold] = WeakKeyDictionary()

    async def run(self, room: Room, _term: int, _calls: Iterator[None]) -> None:
        """Note the eta at the tail of this instance's last reading."""
        reading = room.reading
        eta = room.eta(reading.waiting + 1)
        self._foretold.setdefault(room, Foretold()).note(reading.marks.last, reading.now_us, eta)

    def measure(self, room: Room, admission: Admission) -> None:
        """The waits of the visitors just admitted, and the verdicts on the notes up to them."""
        waits, now_us = metrics.WAIT_SECONDS.labels(room.name), admission.now_us
        for serial in admission.serials:
            # A serial is the time of arrival in µs, give or take the arrivals of the same µs.
            waits.observe(max(now_us - arrived_us(serial), 0) / 1_000_000)
        foretold = self._foretold.get(room)
        if foretold is None or not admission.serials:
            return
        for verdict in foretold.judge(max(admission.serials), now_us):
            metrics.ETA_ERROR_SECONDS.labels(room.name).observe(verdict.error_seconds)
            metrics.ETA_WITHIN.labels(room.name, "yes" if verdict.within else "no").inc()
