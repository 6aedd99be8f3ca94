"""What monitoring calls: /livez, /readyz and /metrics."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from rig.waiting import until
from tests.web import sites
from tests.web.sites import Site, assert_problem

NewRoom = Callable[..., str]

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

#: Every metric that a room has from its first second, and what it is read by at /admin/rooms/{room}.
COUNTED = ("entered", "restored", "admitted", "claimed", "left", "finished", "no_show", "abandoned")


def samples(site: Site) -> Samples:
    """All that /metrics says."""
    answer = site.call("GET", "/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    found: Samples = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"{key} stands twice"
            found[key] = sample.value
    return found


def value(site: Site, name: str, **labels: str) -> float:
    """One sample; 0 where there is none."""
    return samples(site).get((name, frozenset(labels.items())), 0.0)


@pytest.fixture
def own() -> Iterator[tuple[Site, Redis]]:
    """An instance with a Redis to harm."""
    with sites.own_redis() as (url, redis):
        settings = sites.settings_for(url, rooms={"shop": {}})
        with sites.serving(redis, settings) as site:
            yield site, redis


# Liveness and readiness.


def test_alive_and_ready(site: Site) -> None:
    """With a fit Redis both probes answer 200, and neither answer may be cached."""
    for path in ("/livez", "/readyz"):
        answer = site.call("GET", path)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")


def assert_not_ready(site: Site, reason: str) -> None:
    """Alive, but not ready, and the detail says why."""
    answer = site.call("GET", "/readyz")
    assert reason in assert_problem(answer, 503)["detail"]
    assert site.call("GET", "/livez").status_code == 200


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru", "allkeys-random"])
def test_not_ready_where_redis_evicts(own: tuple[Site, Redis], policy: str) -> None:
    """A Redis that may throw places away is not fit (I14, F10); back at noeviction it is again."""
    site, redis = own
    redis.config_set("maxmemory-policy", policy)
    assert_not_ready(site, policy)
    redis.config_set("maxmemory-policy", "noeviction")
    until(lambda: site.call("GET", "/readyz").status_code == 200, what="readiness")


def test_not_ready_on_a_replica(own: tuple[Site, Redis]) -> None:
    """A replica cannot be written to (I14, F6); as a master it can."""
    site, redis = own
    redis.replicaof("127.0.0.1", "1")
    assert_not_ready(site, "master")
    redis.replicaof("NO", "ONE")
    until(lambda: site.call("GET", "/readyz").status_code == 200, what="readiness")


def test_not_ready_where_another_version_wrote_the_room(own: tuple[Site, Redis]) -> None:
    """A stored schema that this version does not know is left alone (I14)."""
    site, redis = own
    redis.hset("waitroom:{shop}:config", "schema", "99")
    until(lambda: site.call("GET", "/readyz").status_code == 503, what="the reading")
    assert_not_ready(site, "schema")


def test_not_ready_without_redis() -> None:
    """Live but not ready while Redis is gone, ready again afterwards without a restart (F3)."""
    with sites.severable() as (site, line):
        until(lambda: site.call("GET", "/readyz").status_code == 200, what="readiness")
        with line.cut("refuse"):
            assert_not_ready(site, "Redis")
        until(lambda: site.call("GET", "/readyz").status_code == 200, what="readiness")


def test_readiness_does_not_flap_while_rooms_are_read() -> None:
    """An instance that reads its rooms once a second over a slow line is ready all the time, not in between only."""
    with sites.severable(rooms={f"room-{number}": {} for number in range(3)}) as (site, line):
        until(lambda: site.call("GET", "/readyz").status_code == 200, what="readiness")
        line.delay_seconds = (0.1, 0.1)
        line.set_mode("slow")
        answers = [site.call("GET", "/readyz") for _ in range(15)]
        line.set_mode("open")
    assert {(answer.status_code, answer.json().get("detail")) for answer in answers} == {(200, None)}


# Metrics.


def test_every_count_of_a_room_is_there(site: Site, new_room: NewRoom) -> None:
    """A room's counters and sizes are what the admin API says."""
    room = new_room(capacity=1, max_waiting=2)
    site.pass_of_new(room)
    gone, _ = site.ticket_of_new(room), site.ticket_of_new(room)
    assert_problem(site.enter(room), 503)
    site.leave(room, gone)
    document = site.admin("GET", f"/{room}").json()
    found = samples(site)

    def sample(name: str, **labels: str) -> float:
        return found[name, frozenset({"room": room, **labels}.items())]

    for name in COUNTED:
        assert sample(f"waitroom_{name}_total") == document["counts"][name]
    assert (sample("waitroom_entered_total"), sample("waitroom_left_total")) == (3, 1)
    assert sample("waitroom_refused_total", reason="full") == document["counts"]["refused_full"] == 1
    assert sample("waitroom_refused_total", reason="closed") == 0
    for name in ("waiting", "occupancy", "offered"):
        assert sample(f"waitroom_{name}") == document[name]
    assert sample("waitroom_capacity") == 1


def test_the_instance_measures_itself(site: Site, new_room: NewRoom) -> None:
    """Script calls, batches, the gate's answers, leadership and the clock's skew have their metrics."""
    room = new_room(capacity=1)
    scripts = ("enter", "pass_through")
    before = [value(site, "waitroom_batch_size_count", script=script) for script in scripts]
    site.pass_of_new(room)
    site.gate(room)
    now = [value(site, "waitroom_batch_size_count", script=script) for script in scripts]
    assert now == [count + 1 for count in before]
    assert value(site, "waitroom_script_seconds_count", script="enter") > 0
    assert value(site, "waitroom_gate_total", room=room, status="401") == 1
    assert ("waitroom_clock_skew_seconds", frozenset()) in samples(site)
    until(lambda: value(site, "waitroom_tick_seconds_count") > 0, what="a tick")


def test_a_deleted_room_leaves_no_series(site: Site, new_room: NewRoom) -> None:
    """Rooms that come and go do not add up, and the next of the name begins anew."""
    room = new_room(capacity=1)
    inside = site.pass_of_new(room)
    site.gate(room, inside)
    site.ticket_of_new(room)
    site.leave(room, inside)
    until(lambda: value(site, "waitroom_wait_seconds_count", room=room) == 2, what="an admission")
    assert site.admin("DELETE", f"/{room}").status_code == 204
    assert f'"{room}"' not in site.call("GET", "/metrics").text
    assert site.admin("PUT", f"/{room}", json={"capacity": 1}).status_code == 201
    site.gate(room)
    assert value(site, "waitroom_gate_total", room=room, status="204") == 1


def test_names_are_prefixed_and_of_their_kind(site: Site) -> None:
    """Whatever is ours begins with waitroom_, and counters end in _total."""
    text = site.call("GET", "/metrics").text
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        assert name.startswith(("waitroom_", "python_", "process_"))
        if kind == "counter" and name.startswith("waitroom_"):
            assert name.endswith(("_total", "_created"))


def test_waits_are_measured_at_admission(site: Site, new_room: NewRoom) -> None:
    """Whoever is admitted from the queue adds one to the room's waits."""
    room = new_room(capacity=1)
    site.pass_of_new(room)
    site.ticket_of_new(room)
    before = value(site, "waitroom_wait_seconds_count", room=room)
    assert before == 1  # who came in at once waited for no time
    site.admin("PATCH", f"/{room}", json={"capacity": 2})
    until(lambda: value(site, "waitroom_wait_seconds_count", room=room) == before + 1, what="the measurement")


def test_bogus_rooms_add_no_series(site: Site) -> None:
    """A thousand addresses of rooms that do not exist leave the number of series as it was."""
    for call in (site.enter, site.gate, site.status, site.leave):
        call("bogus")
    before = samples(site).keys()
    for number in range(250):
        for call in (site.enter, site.gate, site.status, site.leave):
            call(f"bogus-{number}")
        site.admin("GET", f"/bogus-{number}")
    after = samples(site).keys()
    assert {key for key in after - before if "bogus" in str(key)} == set()
    # Others' rooms and first calls of a script aside, which are none of this test's.
    assert len(after - before) < 50


def test_a_deleted_room_is_not_reported(site: Site, new_room: NewRoom) -> None:
    """With its room a room's sizes go away."""
    room = new_room()
    assert ("waitroom_capacity", frozenset({("room", room)})) in samples(site)
    site.admin("DELETE", f"/{room}")
    assert ("waitroom_capacity", frozenset({("room", room)})) not in samples(site)


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """`waitroom serve --workers 2`."""
    folder = tmp_path_factory.mktemp("workers")
    rooms = '{"shop": {"capacity": 1, "session_seconds": 3600.0}}'
    with (
        sites.own_redis() as (url, redis),
        sites.program(redis, url, "--workers", "2", folder=folder, WAITROOM_ROOMS=rooms) as site,
    ):
        yield site


def worker_pids(site: Site) -> set[int]:
    """The workers that live, which are the children of `serve` that uvicorn has spawned."""
    children = Path(f"/proc/{site.pid}/task/{site.pid}/children").read_text().split()
    found = set()
    for pid in children:
        # It may have ended since.
        with suppress(OSError):
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(int(pid))
    return found


def test_workers_are_added_up(two_workers: Site) -> None:
    """With two workers every request is counted, whichever of them answered and whichever is asked."""
    site = two_workers
    before = value(site, "waitroom_gate_total", room="shop", status="204")
    # A connection each, so that both workers get their share.
    request = f"GET /gate/shop HTTP/1.1\r\nHost: a\r\nCookie: waitroom_pass_shop={inside(site)}\r\n\r\n".encode()
    assert [site.raw(request) for _ in range(60)] == [204] * 60
    for _ in range(10):
        answer = site.call("GET", "/metrics", headers={"Connection": "close"})
        assert f'waitroom_gate_total{{room="shop",status="204"}} {before + 60}' in answer.text


_inside: dict[str, str] = {}


def inside(site: Site) -> str:
    """The pass of the one visitor inside."""
    if site.url not in _inside:
        _inside[site.url] = site.pass_of_new("shop")
    return _inside[site.url]


def test_one_worker_leads(two_workers: Site) -> None:
    """The leaders of all workers add up to one."""
    until(lambda: value(two_workers, "waitroom_leader") == 1, what="leadership")


def test_rooms_are_not_added_up(two_workers: Site) -> None:
    """What is true of a room is told once, not once per worker."""
    inside(two_workers)
    until(lambda: value(two_workers, "waitroom_occupancy", room="shop") == 1, what="the reading")
    assert value(two_workers, "waitroom_capacity", room="shop") == 1


def test_a_dead_workers_leadership_is_not_counted(two_workers: Site) -> None:
    """After the death of each worker in turn the counters stay and the leaders are still one."""
    site = two_workers
    inside(site)
    site.gate("shop", inside(site))
    counted = value(site, "waitroom_batch_size_count", script="enter")
    for pid in sorted(worker_pids(site)):
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: pid not in worker_pids(site) and len(worker_pids(site)) == 2, what="a new worker")  # type: ignore[misc]
        until(lambda: _answers(site), what="an answer")
    until(lambda: value(site, "waitroom_leader") == 1, what="leadership")
    assert value(site, "waitroom_batch_size_count", script="enter") >= counted


def _answers(site: Site) -> bool:
    try:
        return site.call("GET", "/readyz").status_code == 200
    except httpx.TransportError:
        return False
