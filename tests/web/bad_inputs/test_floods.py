"""Hundreds of calls at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.web.bad_inputs.crowd import Crowd
from waitroom.store import keys


@pytest.mark.parametrize(
    ("room", "status", "count"), [("full", 503, "refused_full"), ("closed", 403, "refused_closed")]
)
def test_a_refused_arrival_is_only_counted(crowd: Crowd, room: str, status: int, count: str) -> None:
    """A hundred arrivals at a full or closed room change one number."""
    before = crowd.site.snapshot()
    with ThreadPoolExecutor(20) as pool:
        request = f"POST /v1/rooms/{room}/enter HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        statuses = set(pool.map(crowd.site.raw, [request] * 100))
    assert statuses == {status}
    after = crowd.site.snapshot()
    state = keys.room_key(room, "state")
    counted = int(after[state].pop(count)) - int(before.setdefault(state, {}).pop(count, 0))
    assert counted == 100
    assert after == before


@pytest.mark.usefixtures("unchanged")
def test_fast_pollers_change_nothing(crowd: Crowd) -> None:
    """Three hundred polls of one ticket at once keep its place and move nobody."""
    request = f"GET /v1/rooms/shop/status HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {crowd.waiting[1]}\r\n\r\n"
    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(crowd.site.raw, [request.encode()] * 300)) == {200}
    assert crowd.site.status(crowd.room, crowd.waiting[1]).json()["rank"] == 2
