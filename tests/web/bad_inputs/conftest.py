"""Bad inputs, endpoint by endpoint: each is refused in words, nothing hangs, and Redis holds what it held before.

Two things may change with a refused call, and only where a table says so: `seen`, when a waiting visitor was last
heard (the snapshot leaves its times out), and the counts `refused_full` and `refused_closed`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.web import sites
from tests.web.bad_inputs.crowd import Crowd


@pytest.fixture(scope="package")
def crowd() -> Iterator[Crowd]:
    """A site of its own, so that its Redis changes for no other reason than what a test sends."""
    with sites.own_redis() as (url, redis), sites.serving(redis, sites.settings_for(url)) as site:
        patient: dict[str, Any] = {"capacity": 1, "session_seconds": 7200.0, "abandon_seconds": 3600.0}
        room, other = site.make_room("shop", **patient), site.make_room("other", **patient)
        inside, other_pass = site.pass_of_new(room), site.pass_of_new(other)
        left, *waiting = [site.ticket_of_new(room) for _ in range(4)]
        site.leave(room, left)
        full = site.make_room("full", **patient, max_waiting=1)
        site.pass_of_new(full)
        site.ticket_of_new(full)
        closed = site.make_room("closed", state="closed")
        other_ticket = site.ticket_of_new(other)
        yield Crowd(site, room, other, inside, waiting, left, other_ticket, other_pass, closed, full)


@pytest.fixture
def unchanged(crowd: Crowd) -> Iterator[None]:
    """Whatever the test sends, Redis holds the same afterwards."""
    before = crowd.site.snapshot()
    yield
    assert crowd.site.snapshot() == before
