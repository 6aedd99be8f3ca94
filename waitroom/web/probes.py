"""What monitoring calls: /livez, /readyz, /metrics."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Final

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest, multiprocess
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import Receive, Scope, Send

from waitroom.checks.fitness import faults_of
from waitroom.errors import Unavailable
from waitroom.rooms.registry import Rooms
from waitroom.rooms.room import Room
from waitroom.web.answers import Problem
from waitroom.web.instance import Instance
from waitroom.web.wire import respond

#: What each count means, for the metrics' help.
_COUNTED: Final = {
    "entered": "Visitors given a place, in the queue or inside.",
    "restored": "Places given back to returning visitors.",
    "admitted": "Visitors offered a place inside.",
    "claimed": "Offers that visitors took up.",
    "left": "Visitors that left or were sent away, from the queue or from inside.",
    "finished": "Sessions that lasted to their end.",
    "no_show": "Offers that the visitor did not take up in claim_seconds.",
    "abandoned": "Waiting visitors that were silent for abandon_seconds.",
}


class RoomCollector(Collector):
    """Figures of each room, from Redis, a second old at most. They are the same on every instance: never add them."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def collect(self) -> Iterator[Metric]:
        """Every room's counts and sizes."""
        rooms = list(self._rooms)
        for name, meaning in _COUNTED.items():
            counter = CounterMetricFamily(f"waitroom_{name}", meaning, labels=["room"])
            for room in rooms:
                counter.add_metric([room.name], getattr(room.reading.counts, name))
            yield counter
        refused = CounterMetricFamily(
            "waitroom_refused", "Arrivals that got no place, by reason.", labels=["room", "reason"]
        )
        for room in rooms:
            refused.add_metric([room.name, "full"], room.reading.counts.refused_full)
            refused.add_metric([room.name, "limited"], room.reading.counts.refused_limited)
            refused.add_metric([room.name, "closed"], room.reading.counts.refused_closed)
        yield refused
        sizes: dict[str, tuple[str, Callable[[Room], float]]] = {
            "waiting": ("Visitors in the wait queue.", lambda room: room.reading.waiting),
            "occupancy": ("Visitors inside.", lambda room: room.reading.occupancy),
            "offered": ("Visitors inside that have not taken up their offer yet.", lambda room: room.reading.offered),
            "capacity": ("Most visitors inside, 0 = unlimited.", lambda room: room.settings.capacity),
        }
        for name, (meaning, value) in sizes.items():
            gauge = GaugeMetricFamily(f"waitroom_{name}", meaning, labels=["room"])
            for room in rooms:
                gauge.add_metric([room.name], value(room))
            yield gauge


class Metrics:
    """GET /metrics"""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = RoomCollector(rooms)

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Prometheus text: this machine's workers added up, and the rooms."""
        # In its own registry: another instance in the same process (tests) has rooms of its own.
        own = CollectorRegistry()
        own.register(self._rooms)
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            multiprocess.MultiProcessCollector(own)  # type: ignore[no-untyped-call]
            text = generate_latest(own)
        else:
            text = generate_latest(REGISTRY) + generate_latest(own)
        await respond(send, 200, text, content_type=CONTENT_TYPE_LATEST.encode())


class Alive:
    """GET /livez"""

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """200 as long as the process answers, also without Redis."""
        await respond(send, 200, b'{"status":"alive"}')


class Ready:
    """GET /readyz"""

    def __init__(self, instance: Instance) -> None:
        self._rooms = instance.rooms
        self._store = instance.store
        self._drain = instance.drain
        self._signers = instance.signers

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """200 when this instance can serve, else 503 with the reasons."""
        reasons = await self._reasons()
        if reasons:
            raise Problem(503, "not-ready", "Not ready", "; ".join(reasons))
        await respond(send, 200, orjson.dumps({"status": "ready", "rooms": len(list(self._rooms))}))

    async def _reasons(self) -> list[str]:
        if self._drain.started:
            return ["this instance was told to stop"]
        try:
            primaries = await self._store.ping()
        except Unavailable as error:
            return [str(error)]
        reasons = [f"{name}: {fault}" for name, fault in self._rooms.faults.items()]
        if self._signers.fault:
            reasons.append(self._signers.fault.told)
        if not self._rooms.reachable:
            reasons.append("the rooms have not been read yet")
        for info in primaries:
            # With a full disk or memory Redis takes no new visitor, but it serves those inside: no reason to go away.
            reasons += [fault.told for name, fault in faults_of(info).items() if name in ("role", "eviction")]
        return reasons
