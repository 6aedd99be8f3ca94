"""Every endpoint while Redis is gone: an answer in time, never a hang or a traceback, and all well afterwards (I29)."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import httpx
import pytest
from redis import Redis, RedisError

from rig.line import Line, in_thread
from rig.waiting import until
from tests.web import sites
from tests.web.sites import ADMIN, Site, assert_problem, bearer

ROOMS: dict[str, dict[str, float]] = {
    "shop": {"capacity": 1, "session_seconds": 3600.0, "abandon_seconds": 3600.0},
    "spare": {},
}


@dataclass
class Cut:
    """An instance behind a line that can be cut, with somebody inside and somebody waiting."""

    site: Site
    line: Line
    inside: str
    ticket: str
    #: Of somebody who may be gone afterwards: a call that was answered 503 may have been carried out.
    other_ticket: str


def calls(inside: str, ticket: str, other_ticket: str) -> list[tuple[str, str, dict[str, str], set[int]]]:
    """Every endpoint: method, path, headers, and the statuses that it may answer with while Redis is gone."""
    waiting = bearer(ticket)
    cookie = {"Cookie": f"waitroom_pass_shop={inside}"}
    return [
        ("POST", "/v1/rooms/shop/enter", {}, {503}),
        ("POST", "/v1/rooms/shop/enter", waiting, {503}),
        ("GET", "/v1/rooms/shop/status", waiting, {503}),
        ("GET", "/v1/rooms/shop/status", bearer(inside), {503}),
        ("GET", "/v1/rooms/shop/events", waiting, {503}),
        ("POST", "/v1/rooms/shop/leave", bearer(other_ticket), {503}),
        ("GET", "/v1/rooms/shop", {}, {200}),
        ("GET", "/gate/shop", {}, {401}),
        ("GET", "/gate/shop", cookie, {204}),
        ("GET", "/forward-auth/shop", {}, {401}),
        ("GET", "/forward-auth/shop", cookie, {200}),
        ("GET", "/wait/shop", {}, {503}),
        ("HEAD", "/wait/shop", {}, {200}),
        ("GET", "/wait/_assets/wait.css", {}, {200}),
        ("GET", "/admin/rooms", ADMIN, {503}),
        ("GET", "/admin/rooms/shop", ADMIN, {503}),
        ("PUT", "/admin/rooms/spare", ADMIN, {503}),
        ("POST", "/admin/rooms/spare/pause", ADMIN, {503}),
        ("DELETE", "/admin/rooms/spare", ADMIN, {503}),
        ("GET", "/livez", {}, {200}),
        ("GET", "/readyz", {}, {503}),
        ("GET", "/metrics", {}, {200}),
        ("GET", "/openapi.json", {}, {200}),
    ]


@pytest.fixture(scope="module")
def cut() -> Iterator[Cut]:
    """Such an instance."""
    with sites.severable(rooms=ROOMS) as (site, line):
        yield Cut(site, line, site.pass_of_new("shop"), *(site.ticket_of_new("shop") for _ in range(2)))


@contextmanager
def replica(redis: Redis) -> Iterator[None]:
    """Redis takes no writes (F6)."""
    redis.replicaof("127.0.0.1", "1")
    try:
        yield
    finally:
        redis.replicaof("NO", "ONE")


@contextmanager
def busy(redis: Redis) -> Iterator[None]:
    """A script that never ends holds Redis up (F8)."""
    redis.config_set("busy-reply-threshold", 50)
    path = redis.connection_pool.connection_kwargs["path"]

    def spin() -> None:
        with Redis(unix_socket_path=path, protocol=2) as client, suppress(RedisError):
            client.eval("while true do end", 0)

    thread = threading.Thread(target=spin)
    thread.start()
    until(lambda: _refuses(redis, "BUSY"), what="BUSY")
    try:
        yield
    finally:
        redis.script_kill()
        thread.join()


def _refuses(redis: Redis, word: str) -> bool:
    try:
        redis.ping()
    except RedisError as error:
        return word in str(error) or "busy" in str(error).lower()
    return False


OUTAGES: dict[str, sites.Outage] = {**sites.OUTAGES, "busy": lambda site, _line: busy(site.redis)}


def has_recovered(cut: Cut) -> bool:
    """The instance is ready again and the visitor has the old place."""
    answer = cut.site.status("shop", cut.ticket)
    ready = cut.site.call("GET", "/readyz").status_code == 200
    return ready and answer.status_code == 200 and answer.json()["rank"] == 1


@pytest.mark.parametrize("outage", OUTAGES)
def test_every_endpoint_answers_meanwhile(cut: Cut, outage: str) -> None:
    """Each answers what it can, 503 with Retry-After else; afterwards the place is still there."""
    with sites.hurried(cut.site), OUTAGES[outage](cut.site, cut.line):
        for method, path, headers, statuses in calls(cut.inside, cut.ticket, cut.other_ticket):
            answer = cut.site.call(method, path, headers=headers)
            assert answer.status_code in statuses, (method, path, answer.text[:200])
            if answer.status_code == 503 and path not in ("/readyz", "/wait/shop"):
                assert_problem(answer, 503)
                assert int(answer.headers["retry-after"]) > 0
    until(lambda: has_recovered(cut), what="recovery")


def test_a_crowd_is_answered_meanwhile(cut: Cut) -> None:
    """Two hundred while Redis is frozen, fifty at once: all are told 503."""
    request = (
        b"POST /v1/rooms/shop/enter HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + cut.ticket.encode() + b"\r\n\r\n"
    )

    with sites.hurried(cut.site), sites.frozen(cut.site.redis), ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(cut.site.raw, [request] * 200))
    assert set(answers) == {503}
    until(lambda: has_recovered(cut), what="recovery")


def test_beyond_the_backlog_the_answer_comes_at_once() -> None:
    """Where more requests come than may wait for Redis the rest is told 503 without waiting, and counted (F20)."""
    with sites.own_redis() as (url, redis):
        settings = sites.settings_for(url, redis_timeout_seconds=10.0, max_backlog=5, rooms=ROOMS)
        with sites.serving(redis, settings) as site:
            until(lambda: site.call("GET", "/readyz").status_code == 200, what="readiness")
            request = b"POST /v1/rooms/shop/enter HTTP/1.1\r\nHost: a\r\n\r\n"
            with sites.frozen(redis):
                links_held = [site.connection() for _ in range(60)]
                for link in links_held:
                    link.sendall(request)
                first = b"".join(_first_answers(links_held, 40))
            for link in links_held:
                link.close()
            assert first.count(b"urn:waitroom:overloaded") == first.count(b"HTTP/1.1 503") >= 40
            assert "waitroom_overloaded_total 0.0" not in site.call("GET", "/metrics").text


def _first_answers(held: list[socket.socket], count: int) -> list[bytes]:
    """What the first so many connections that answer say."""
    poller = selectors.DefaultSelector()
    for link in held:
        poller.register(link, selectors.EVENT_READ, link)
    answers: list[bytes] = []
    begun: dict[socket.socket, bytes] = {}
    deadline = time.monotonic() + sites.PATIENCE_SECONDS
    while len(answers) < count and time.monotonic() < deadline:
        for key, _ in poller.select(1):
            ready: socket.socket = key.data
            begun[ready] = begun.get(ready, b"") + ready.recv(65_536)
            # A problem document ends with its only closing brace; head and body may come apart.
            if begun[ready].endswith(b"}"):
                poller.unregister(ready)
                answers.append(begun[ready])
    poller.close()
    return answers


def test_without_writes_nobody_new_and_nobody_lost(cut: Cut) -> None:
    """A Redis that became a replica refuses writes: 503, not ready; as a master again all is as it was (F6)."""
    site = cut.site
    with replica(site.redis):
        answer = site.enter("shop")
        assert assert_problem(answer, 503)["type"] == "urn:waitroom:unavailable"
        assert_problem(site.call("GET", "/readyz"), 503)
        assert site.gate("shop", cut.inside).status_code == 204
    until(lambda: has_recovered(cut), what="recovery")


def test_a_full_memory_turns_newcomers_away_only(cut: Cut) -> None:
    """Out of memory, enter says "full"; status and leave work on (F9)."""
    site = cut.site
    leaver = site.ticket_of_new("shop")
    site.redis.config_set("maxmemory", 1)
    try:
        answer = site.enter("shop")
        assert assert_problem(answer, 503)["type"] == "urn:waitroom:full"
        assert int(answer.headers["retry-after"]) > 0
        assert site.status("shop", cut.ticket).json()["rank"] == 1
        assert site.leave("shop", leaver).status_code == 204
        assert site.gate("shop", cut.inside).status_code == 204
    finally:
        site.redis.config_set("maxmemory", 0)
    assert site.enter("shop", cut.ticket).status_code == 202


def test_the_wait_page_says_so(cut: Cut) -> None:
    """Whoever comes while Redis is gone reads it in words and is tried again."""
    with cut.line.cut("refuse"):
        answer = cut.site.call("GET", "/wait/shop")
    assert 'data-situation="unavailable"' in answer.text
    assert int(answer.headers["retry-after"]) > 0
    until(lambda: has_recovered(cut), what="recovery")


def test_a_place_is_kept_over_an_outage(cut: Cut) -> None:
    """An enter whose answer was lost and is repeated holds one place (F1, I9)."""
    site = cut.site
    before = site.waiting("shop")
    with sites.hurried(site), cut.line.cut("blackhole"):
        assert site.enter("shop", cut.ticket).status_code == 503
    until(lambda: has_recovered(cut), what="recovery")
    assert site.enter("shop", cut.ticket).json()["rank"] == 1
    assert site.waiting("shop") == before


@pytest.fixture
def late() -> Iterator[tuple[Site, Line]]:
    """An instance that was started while Redis was gone."""
    with sites.own_redis() as (url, redis), in_thread(url) as line:
        line.set_mode("refuse")
        settings = sites.settings_for(line.url, rooms=ROOMS)
        with sites.serving(redis, settings) as site:
            yield site, line


def test_started_without_redis(late: tuple[Site, Line]) -> None:
    """It lives, is not ready, lets nobody in, and says 503; when Redis comes it makes its rooms and serves (F3)."""
    site, line = late
    assert site.call("GET", "/livez").status_code == 200
    assert_problem(site.call("GET", "/readyz"), 503)
    assert_problem(site.enter("shop"), 503)
    assert_problem(site.call("GET", "/v1/rooms/shop"), 503)
    assert_problem(site.admin("GET"), 503)
    assert site.gate("shop").status_code == 401
    line.set_mode("open")
    until(lambda: site.call("GET", "/readyz").status_code == 200, what="readiness")
    assert site.enter("shop").status_code == 200


def test_started_without_redis_the_page_is_a_page(late: tuple[Site, Line]) -> None:
    """A visitor of the waiting page reads words, not JSON, also before the rooms were ever read."""
    site, _ = late
    answer = site.call("GET", "/wait/shop")
    assert answer.status_code == 503
    assert answer.headers["content-type"].startswith("text/html")


def test_a_redis_that_comes_back_empty() -> None:
    """All data lost while the instance runs: the room is made again, the visitor is back, and nobody overtakes (F4)."""
    with sites.own_redis() as (url, redis), sites.serving(redis, sites.settings_for(url, rooms=ROOMS)) as site:
        granted, first, second = site.pass_of_new("shop"), site.ticket_of_new("shop"), site.ticket_of_new("shop")
        until(lambda: site.call("GET", "/v1/rooms/shop").json()["waiting"] == 2, what="the reading")
        redis.flushall()
        assert site.status("shop", second).status_code == 200
        assert site.status("shop", first).json()["rank"] == 1
        assert site.status("shop", second).json()["rank"] == 2
        assert site.enter("shop").json()["rank"] == 3
        assert site.gate("shop", granted).status_code == 204
        assert site.admin("GET", "/shop").json()["settings"]["capacity"] == 1


def test_scripts_that_redis_forgot_are_sent_again(cut: Cut) -> None:
    """SCRIPT FLUSH between any two calls is noticed by nobody (F7)."""
    for _ in range(5):
        cut.site.redis.script_flush()
        assert cut.site.status("shop", cut.ticket).status_code == 200
        assert cut.site.gate("shop").status_code == 401


def test_a_client_that_goes_away_harms_nobody(cut: Cut) -> None:
    """Fifty clients that close before their answer comes leave the instance as good as before (I28)."""
    for _ in range(50):
        with cut.site.connection() as link:
            link.sendall(
                f"GET /v1/rooms/shop/status HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {cut.ticket}\r\n\r\n".encode()
            )
    with suppress(httpx.TransportError):
        httpx.get(f"{cut.site.url}/v1/rooms/shop/status", headers=bearer(cut.ticket), timeout=0.001)
    assert has_recovered(cut)
