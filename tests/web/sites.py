"""Real instances for tests: the application under uvicorn on a loopback port, before a real Redis."""

from __future__ import annotations

import http.client
import itertools
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import httpx
import pytest
import uvicorn
from redis import Redis
from starlette.types import ASGIApp

from rig import servers
from rig.instance import Instance, variables
from rig.line import Line, in_thread
from rig.waiting import until
from waitroom.model import Pass, Ticket, Visitor
from waitroom.proofs import keyring
from waitroom.proofs.passes import PassOffice
from waitroom.proofs.tickets import TicketOffice
from waitroom.serve import worker
from waitroom.serve.http import WholeAnswers
from waitroom.settings.room import RoomSettings
from waitroom.settings.server import ServerSettings
from waitroom.store import keys
from waitroom.store.store import Store

ADMIN_KEY: Final = "an-admin-key-made-up-for-the-tests-0123456789"
SIGNING_KEY: Final = "k1:a-signing-key-made-up-for-the-tests-0123456789"
ADMIN: Final = {"Authorization": f"Bearer {ADMIN_KEY}"}

#: Seconds that anything awaited may take on a busy machine.
PATIENCE_SECONDS: Final = 30.0

#: Beginnings of the fields of a room's state that the leader's ticks rewrite whatever visitors do.
TICKING: Final = ("term", "led_us", "resumed_us", "pace_")

_numbers = itertools.count(1)

Snapshot = dict[str, Any]


@dataclass
class Site:
    """One instance as its callers see it, and the Redis behind it."""

    url: str
    redis: Redis
    #: How cookies are called: under https with __Host-.
    prefix: str = "waitroom_"
    #: The process that serves; 0 where it is this one.
    pid: int = 0
    #: What the instance talks to Redis by, where it is in this process.
    store: Store | None = None
    tickets: TicketOffice = field(default_factory=lambda: TicketOffice(keyring.parse([SIGNING_KEY])))
    passes: PassOffice = field(default_factory=lambda: PassOffice(keyring.parse([SIGNING_KEY])))

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.url, timeout=PATIENCE_SECONDS)

    def close(self) -> None:
        """Close the client."""
        self.http.close()

    def hang_up(self) -> None:
        """Close the client's connections; the next call opens another."""
        self.http.close()
        self.http = httpx.Client(base_url=self.url, timeout=PATIENCE_SECONDS)

    # Calls. Cookies are never kept between two of them: a test says what it sends.

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One request without remembered cookies."""
        self.http.cookies.clear()
        answer = self.http.request(method, path, **more)
        self.http.cookies.clear()
        return answer

    def enter(self, room: str, proof: str | None = None) -> httpx.Response:
        """POST enter, with a proof as bearer or none."""
        return self.call("POST", f"/v1/rooms/{room}/enter", headers=bearer(proof))

    def status(self, room: str, proof: str | None = None) -> httpx.Response:
        """GET status."""
        return self.call("GET", f"/v1/rooms/{room}/status", headers=bearer(proof))

    def leave(self, room: str, proof: str | None = None) -> httpx.Response:
        """POST leave."""
        return self.call("POST", f"/v1/rooms/{room}/leave", headers=bearer(proof))

    def gate(self, room: str, granted: str | None = None) -> httpx.Response:
        """GET the gate with a pass in its cookie, or none."""
        cookie = {} if granted is None else {"Cookie": f"{self.prefix}pass_{room}={granted}"}
        return self.call("GET", f"/gate/{room}", headers=cookie)

    def admin(self, method: str, path: str = "", **more: Any) -> httpx.Response:
        """A call of the admin API with the key; `path` begins below /admin/rooms."""
        headers = ADMIN | more.pop("headers", {})
        return self.call(method, f"/admin/rooms{path}", headers=headers, **more)

    # Rooms and visitors.

    def make_room(self, name: str = "", **settings: Any) -> str:
        """A fresh room; its name."""
        name = name or f"room-{next(_numbers)}"
        answer = self.admin("PUT", f"/{name}", json=settings)
        assert answer.status_code in (200, 201), answer.text
        return name

    def ticket_of_new(self, room: str) -> str:
        """The ticket of a newcomer who has to wait."""
        answer = self.enter(room)
        assert answer.status_code == 202, answer.text
        return cast(str, answer.json()["ticket"])

    def pass_of_new(self, room: str) -> str:
        """The claimed pass of a newcomer who gets in at once."""
        answer = self.enter(room)
        assert answer.status_code == 200, answer.text
        offer = answer.json()["pass"]
        return cast(str, self.status(room, offer).json()["pass"])

    def now_us(self) -> int:
        """Redis time."""
        seconds, rest = self.redis.time()
        return seconds * 1_000_000 + rest

    def forge_ticket(self, room: str, ticket: Ticket) -> str:
        """A ticket under the site's own key."""
        return self.tickets.issue(room, ticket)

    def forge_pass(self, room: str, visitor: Visitor, *, seconds: float, offer: bool = False) -> str:
        """A pass under the site's own key that ends in so many seconds."""
        now = self.now_us() / 1_000_000
        return self.passes.issue(room, Pass(visitor, now + seconds, offer=offer), now=now)

    # What Redis holds.

    def waiting(self, room: str) -> list[str]:
        """Who waits, in order."""
        return cast(list[str], self.redis.zrange(keys.room_key(room, "wait"), 0, -1))

    def snapshot(self) -> Snapshot:
        """All that Redis holds, save what ticks rewrite and when the waiting were last heard."""
        found: Snapshot = {}
        for key in sorted(cast(list[str], self.redis.keys("*"))):
            if key == keys.LEASE or key.startswith(keys.signer_key("")):
                continue
            if self.redis.type(key) == "hash":
                fields = cast(dict[str, str], self.redis.hgetall(key))
                found[key] = {name: value for name, value in fields.items() if not name.startswith(TICKING)}
            elif key.endswith(":seen"):
                found[key] = sorted(cast(list[str], self.redis.zrange(key, 0, -1)))
            else:
                found[key] = self.redis.zrange(key, 0, -1, withscores=True)
        # A state that holds nothing but what ticks write is made by them.
        return {key: value for key, value in found.items() if value}

    # Below HTTP.

    def raw(self, request: bytes, *, seconds: float = PATIENCE_SECONDS) -> int | None:
        """The status that the bytes are answered with; None where the connection was closed without an answer.

        Fails when neither comes in time: nothing may hang.
        """
        answer = self.raw_answer(request, seconds=seconds)
        return None if answer is None else answer.status

    def raw_answer(self, request: bytes, *, seconds: float = PATIENCE_SECONDS) -> http.client.HTTPResponse | None:
        """The same as a whole answer, its body unread."""
        with self.connection(seconds) as link:
            # An answer given before all was read closes the connection under the sender.
            with suppress(ConnectionError):
                link.sendall(request)
            answer = http.client.HTTPResponse(link)
            try:
                answer.begin()
            except (http.client.HTTPException, ConnectionError):
                return None
            except TimeoutError:
                pytest.fail(f"no answer within {seconds:g} s to {request[:80]!r}")
            return answer

    def connection(self, seconds: float = PATIENCE_SECONDS) -> socket.socket:
        """A connection to the instance."""
        address = httpx.URL(self.url)
        return socket.create_connection((address.host, address.port or 80), timeout=seconds)


def bearer(proof: str | None) -> dict[str, str]:
    """The header that carries a proof."""
    return {} if proof is None else {"Authorization": f"Bearer {proof}"}


def set_cookies(answer: httpx.Response) -> dict[str, tuple[str, dict[str, str]]]:
    """The cookies that an answer sets, by name: value and attributes in lower case."""
    found = {}
    for line in answer.headers.get_list("set-cookie"):
        pair, *attributes = [part.strip() for part in line.split(";")]
        name, _, value = pair.partition("=")
        found[name] = (value, {key.lower(): text for key, _, text in (part.partition("=") for part in attributes)})
    return found


def assert_problem(answer: httpx.Response, *statuses: int) -> dict[str, Any]:
    """The answer is a whole problem document with one of these statuses (any 4xx if none are given)."""
    assert answer.status_code in (statuses or range(400, 500)), (answer.status_code, answer.text[:300])
    assert answer.headers["content-type"] == "application/problem+json"
    document = cast(dict[str, Any], answer.json())
    assert document["status"] == answer.status_code
    assert document["type"].startswith("urn:waitroom:")
    assert document["title"]
    return document


def settings_for(redis_url: str, **more: Any) -> ServerSettings:
    """Complete settings of an instance in a test."""
    rooms = {name: RoomSettings(**given) for name, given in more.pop("rooms", {}).items()}
    values: dict[str, Any] = {
        "redis_url": redis_url,
        "admin_key": ADMIN_KEY,
        "signing_keys": [SIGNING_KEY],
        # A busy machine must not fail a test; in an outage an instance may be `hurried`.
        "redis_timeout_seconds": 5.0,
        "tick_seconds": 0.05,
        "log_level": "warning",
        "rooms": rooms,
    }
    return ServerSettings(**(values | more))


@contextmanager
def running(app: ASGIApp, *, send_buffer: int = 0, **settings: Any) -> Iterator[str]:
    """uvicorn with that application, in a thread; its address. `send_buffer`: unread bytes that a connection holds."""
    with socket.socket() as listening:
        if send_buffer:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        listening.bind(("127.0.0.1", 0))
        given: dict[str, Any] = {"log_config": None, "access_log": False, "proxy_headers": False, "ws": "wsproto"}
        web = uvicorn.Server(uvicorn.Config(app, timeout_graceful_shutdown=1, **(given | settings)))
        thread = threading.Thread(target=web.run, kwargs={"sockets": [listening]})
        thread.start()
        until(lambda: web.started or not thread.is_alive(), what="the server's start")
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            web.should_exit = True
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()


@contextmanager
def serving(redis: Redis, settings: ServerSettings, *, send_buffer: int = 0) -> Iterator[Site]:
    """An instance in a thread of this process."""
    application = worker.build(settings)
    # As `waitroom serve` has it: uvicorn hangs up after 5 s, as httpx does, and a call at that moment fails.
    how: dict[str, Any] = {"http": WholeAnswers, "ws": "auto", "server_header": False, "timeout_keep_alive": 75}
    with running(application, send_buffer=send_buffer, **how) as url:
        prefix = "__Host-waitroom_" if settings.secure else "waitroom_"
        site = Site(url, redis, prefix, store=application.instance.store)
        try:
            yield site
        finally:
            site.close()


@contextmanager
def program(redis: Redis, redis_url: str, *arguments: str, folder: Path, **more: str) -> Iterator[Site]:
    """`waitroom serve` as a process of its own; `more` is its environment."""
    given = variables(redis_url=redis_url, admin_key=ADMIN_KEY, signing_keys=SIGNING_KEY, redis_timeout_seconds=5)
    with Instance(folder, *arguments, name="serve", variables={**given, **more}) as instance:
        site = Site(instance.url, redis, pid=instance.pid)
        yield site
        site.close()


@contextmanager
def own_redis(*settings: str) -> Iterator[tuple[str, Redis]]:
    """A Redis of one's own to harm: its URL and a client."""
    with servers.running(*settings) as url:
        client = Redis.from_url(url, decode_responses=True, protocol=2)
        try:
            yield url, client
        finally:
            client.close()


@contextmanager
def severable(**settings: Any) -> Iterator[tuple[Site, Line]]:
    """An instance with these settings whose line to a Redis of its own can be cut."""
    with (
        own_redis() as (url, redis),
        in_thread(url) as line,
        serving(redis, settings_for(line.url, **settings)) as site,
    ):
        yield site, line


@contextmanager
def hurried(site: Site) -> Iterator[None]:
    """For the length of the block, in which Redis does not answer, the instance waits for it a quarter of a second."""
    assert site.store is not None
    patience, site.store._timeout = site.store._timeout, 0.25
    try:
        yield
    finally:
        site.store._timeout = patience


@contextmanager
def frozen(redis: Redis) -> Iterator[None]:
    """Redis does not run for a while: connections stay, answers do not come."""
    pid = int(redis.info("server")["process_id"])
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


Outage = Callable[[Site, Line], AbstractContextManager[None]]

#: Ways in which a `severable` instance has no Redis, each for the length of a block.
OUTAGES: Final[dict[str, Outage]] = {
    "refused": lambda site, line: line.cut("refuse"),
    "silent": lambda site, line: line.cut("blackhole"),
    "frozen": lambda site, line: frozen(site.redis),
}
