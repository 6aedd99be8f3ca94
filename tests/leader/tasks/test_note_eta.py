"""Waits and estimates, measured as visitors are admitted."""

from __future__ import annotations

from prometheus_client import REGISTRY

from tests.leader.ticking import arrive, instance, scheduler
from waitroom.settings.room import RoomSettings
from waitroom.store.store import Store


async def test_waits_and_estimates_are_measured(store: Store) -> None:
    """Each admission adds its wait, and each estimate noted before gets its verdict."""
    rooms = await instance(store, measured=RoomSettings(capacity=1))
    ticking = scheduler(store, rooms)
    inside = await arrive(rooms, "measured")
    await arrive(rooms, "measured")
    await rooms.refresh()
    await ticking.tick()
    await rooms.get("measured").leave(inside.visitor)
    await ticking.tick()

    def count(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, {"room": "measured"} | labels) or 0.0

    assert count("waitroom_wait_seconds_count") >= 1
    assert count("waitroom_eta_error_seconds_count") >= 1
    verdicts = count("waitroom_eta_within_total", within="yes") + count("waitroom_eta_within_total", within="no")
    assert verdicts == count("waitroom_eta_error_seconds_count")
