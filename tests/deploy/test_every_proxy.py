"""What holds behind every proxy alike: whose addresses are whose, what an origin is told, and instances that go."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from rig import nginx, servers
from rig.instance import Instance, serving
from rig.nginx import Nginx
from rig.origin import Answer, answering
from rig.ports import free_port
from rig.proxies import PROXIES
from rig.raw import accepting
from rig.waiting import until
from tests.deploy import proxies
from tests.deploy.proxies import Room, World, shop

pytestmark = pytest.mark.system

NGINX: Final = {f"nginx of the {name}": name for name in nginx.BINARIES}

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def instances(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Instance, Instance]]:
    """Two real instances of one Redis."""
    with ExitStack() as stack:
        url = stack.enter_context(servers.running())
        folders = (tmp_path_factory.mktemp(name) for name in ("one", "other"))
        one, other = (
            stack.enter_context(serving(each, rooms={}, redis_url=url, drain_seconds="1")) for each in folders
        )
        yield one, other


@pytest.fixture
def room(instances: tuple[Instance, Instance]) -> Iterator[Room]:
    """A room with one place that both instances know."""
    with Room(instances[0].port, f"room-{next(_numbers)}", capacity=1, session_seconds=3600.0) as made:
        for instance in instances:
            until(partial(_knows, instance, made.name), "the room")
        yield made


def _knows(instance: Instance, room: str) -> bool:
    return instance.get(f"/v1/rooms/{room}")[0] == 200


def ports(instances: tuple[Instance, Instance]) -> tuple[int, int]:
    """Where they listen."""
    return instances[0].port, instances[1].port


# What the origin is told.


CLAIMS: Final = {
    "Forwarded": "for=192.0.2.66;host=evil.example;proto=https",
    "Front-End-Https": "on",
    "True-Client-IP": "192.0.2.66",
    "X-Client-IP": "192.0.2.66",
    "X-Forwarded-For": "192.0.2.66",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Method": "DELETE",
    "X-Forwarded-Port": "666",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Proto": "evil",
    "X-Forwarded-Scheme": "evil",
    "X-Forwarded-Server": "evil.example",
    "X-Forwarded-Ssl": "evil",
    "X-Forwarded-Uri": "/evil",
    "X-HTTP-Method": "DELETE",
    "X-HTTP-Method-Override": "DELETE",
    "X-Host": "evil.example",
    "X-Method-Override": "DELETE",
    "X-Original-Host": "evil.example",
    "X-Original-Method": "DELETE",
    "X-Original-URI": "/evil",
    "X-Original-URL": "/evil",
    "X-Real-IP": "192.0.2.66",
    "X-Rewrite-URL": "/evil",
    "X-Scheme": "evil",
    "X-URL-Scheme": "evil",
}
EVIL: Final = ("evil", "192.0.2.66", "DELETE", "666")


@pytest.mark.parametrize("proxy", PROXIES)
def test_an_origin_hears_nothing_that_a_client_claims(
    proxy: str, room: Room, instances: tuple[Instance, Instance], tmp_path: Path
) -> None:
    """With a pass: each header in either spelling, by itself and all at once; host and port are the visitor's."""
    granted = room.pass_of_new()
    with proxies.running(proxy, tmp_path, room.name, ports(instances)) as world:
        lines = [f"{name}: {value}\r\n" for name, value in CLAIMS.items()]
        if proxy != "envoy":  # it refuses these
            lines += [f"{name.replace('-', '_')}: {value}\r\n" for name, value in CLAIMS.items() if "-" in name]
        for claims in (*lines, "".join(lines), ""):
            head = f"GET /x HTTP/1.1\r\nHost: shop.example.com:18080\r\nConnection: close\r\n{claims}"
            told = world.ask_raw(f"{head}X-Own: 1\r\nX-Waitroom-Pass: {granted}\r\n\r\n".encode())
            assert told is not None
            assert told.status == 200, claims
            heard = world.origin.seen[-1].headers
            assert [f"{name}: {text}" for name, text in heard.items() if any(word in text for word in EVIL)] == []
            assert (heard["host"], heard["x-own"], heard["x-forwarded-for"]) == (
                "shop.example.com:18080",
                "1",
                "127.0.0.1",
            )
            assert heard["x-forwarded-proto"] == "http"


#: What an operator changes where a balancer stands in front.
BEHIND: Final[dict[str, Callable[[str], str]]] = {
    "caddy": lambda text: text.replace(
        "\tlog {\n", "\tservers {\n\t\ttrusted_proxies static 127.0.0.0/8\n\t}\n\tlog {\n"
    ),
    "haproxy": lambda text: text.replace("#balancer ", "").replace("192.0.2.0/24", "127.0.0.0/8"),
    "envoy": lambda text: text.replace("xff_num_trusted_hops: 0", "xff_num_trusted_hops: 1"),
    "traefik": lambda text: text.replace("#balancer ", "").replace("192.0.2.0/24", "127.0.0.0/8"),
}


@pytest.mark.parametrize("proxy", BEHIND)
def test_behind_a_balancer_address_and_scheme_are_the_visitors(
    proxy: str, room: Room, instances: tuple[Instance, Instance], tmp_path: Path
) -> None:
    """The operator names the balancer, and then its word counts."""
    granted = room.pass_of_new()
    with proxies.running(proxy, tmp_path, room.name, ports(instances), edit=BEHIND[proxy]) as world:
        told = {"X_Forwarded_For": "203.0.113.9", "X_Forwarded_Proto": "https"}
        assert world.ask("/x", x_waitroom_pass=granted, **told).status == 200
        heard = world.origin.seen[-1].headers
        assert heard["x-forwarded-proto"] == "https"
        assert heard["x-forwarded-for"].split(",")[0] == "203.0.113.9"


# Whose addresses are whose.


@pytest.mark.parametrize("proxy", PROXIES)
def test_only_waitrooms_own_addresses_are_taken(
    proxy: str, room: Room, instances: tuple[Instance, Instance], tmp_path: Path
) -> None:
    """A site's own /v1/orders, /wait-list and the like reach its origin, with a pass and not without one."""
    granted = room.pass_of_new()
    with proxies.running(proxy, tmp_path, room.name, ports(instances)) as world:
        for path in (
            "/v1/orders",
            "/v1/",
            "/v1/rooms",
            "/v1/rooms/42",
            f"/v1/rooms/{room.name}x/enter",
            "/wait",
            "/wait/",
            "/wait-list",
            "/waiting",
            "/wait/for/it",
            f"/wait/{room.name}/x",
            f"/WAIT/{room.name}",
        ):
            assert world.ask(path).status == 401, path
            assert world.origin.seen == []
            assert world.ask(path, x_waitroom_pass=granted).body == b"shop", path
            assert world.origin.seen.pop().path == path
        for path, status in {
            f"/wait/{room.name}?return=%2Fx": 200,
            f"/v1/rooms/{room.name}": 200,
            f"/v1/rooms/{room.name}/status": 401,
            "/wait/_assets/none": 404,
        }.items():
            assert world.ask(path, accept=proxies.PAGE).status == status, path
        assert world.origin.seen == []


# Only the gate's own yes opens.


def _says(status: int, _request: object) -> Answer:
    return Answer(status, {"Location": "/"})


@pytest.mark.parametrize("proxy", PROXIES)
def test_only_200_is_a_yes(proxy: str, tmp_path: Path) -> None:
    """Whatever else is said at an instance's port, the origin is not asked (T37)."""
    with (
        answering(lambda _: Answer(200)) as mad,
        proxies.running(proxy, tmp_path, "shop", (mad.port, mad.port)) as world,
    ):
        until(lambda: world.ask("/").status == 200, "a yes")
        for status in (0, 201, 202, 203, 204, 205, 206, 207, 226, 299, 301, 304, 400, 404, 407, 429, 500, 502, 503):
            mad.answer = partial(_says, status)
            world.origin.seen.clear()
            world.ask_raw(proxies.request_of("/", accept=proxies.PAGE))
            assert world.origin.seen == [], status


# WebSockets.


#: The answer to the key that is sent below.
_ACCEPTED: Final = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"


async def _echoing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + _ACCEPTED)
    while said := await reader.read(100):
        writer.write(said)


@pytest.mark.parametrize("proxy", PROXIES)
async def test_a_websocket_needs_a_pass_and_is_then_the_origins(
    proxy: str, room: Room, instances: tuple[Instance, Instance], tmp_path: Path
) -> None:
    """401 without a pass; with one 101, and what either side says reaches the other."""
    granted = room.pass_of_new()
    upgrade = {"connection": "Upgrade", "upgrade": "websocket", "sec_websocket_version": "13"}
    upgrade["sec_websocket_key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    async with accepting(_echoing) as origin:
        with proxies.running(proxy, tmp_path, room.name, ports(instances), origin=origin) as world:
            said = await asyncio.to_thread(world.ask, "/ws", **upgrade)
            assert said.status == 401
            reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
            writer.write(proxies.request_of("/ws", x_waitroom_pass=granted, **upgrade))
            async with asyncio.timeout(proxies.DEADLINE_SECONDS):
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
                writer.write(b"ping")
                assert await reader.readexactly(4) == b"ping"
            writer.close()


# An instance that goes.


FAULTS: Final[dict[str, Callable[[Instance], None]]] = {
    "killed": lambda instance: instance.kill(),
    "frozen": lambda instance: instance.freeze(),
    "stopped": lambda instance: instance.signal(signal.SIGTERM),
}

#: Requests at a time, and after the fault.
_AT_ONCE: Final = 4
_REQUESTS: Final = 60


@pytest.mark.parametrize("proxy", [*NGINX, *PROXIES])
def test_of_two_instances_one_goes(
    proxy: str, room: Room, instances: tuple[Instance, Instance], tmp_path: Path
) -> None:
    """Killed, frozen, stopped, while requests are under way: at most one visitor is told of it each time."""
    granted, (_, other) = room.pass_of_new(), instances
    with ExitStack() as stack:
        world = stack.enter_context(_before(proxy, tmp_path, room, instances))

        def ask(_: int) -> int:
            told = world.ask_raw(proxies.request_of("/x", x_waitroom_pass=granted))
            return told.status if told else 0

        with ThreadPoolExecutor(_AT_ONCE) as visitors:
            for name, fault in FAULTS.items():
                assert set(visitors.map(ask, range(_AT_ONCE * 2))) == {200}
                under_way = [visitors.submit(ask, number) for number in range(_REQUESTS)]
                fault(other)
                said = [each.result() for each in under_way]
                failed = [status for status in said if status != 200]
                if name == "frozen":
                    other.thaw()
                else:
                    other.wait()
                    other.start()
                other.await_ready()
                assert len(failed) <= 1, (name, failed)
                until(lambda: other.get(f"/v1/rooms/{room.name}")[0] == 200, "the room")


@contextmanager
def _before(proxy: str, folder: Path, room: Room, instances: tuple[Instance, Instance]) -> Iterator[World]:
    """Any proxy, nginx too, with a stub behind it."""
    with ExitStack() as stack:
        if proxy in NGINX:
            origin = stack.enter_context(answering(shop))
            program = nginx.binary(NGINX[proxy])
            made = Nginx(folder, instances=ports(instances), origin=origin.port, room=room.name, program=program)
            yield World(stack.enter_context(made), room.name, origin)
        else:
            yield stack.enter_context(proxies.running(proxy, folder, room.name, ports(instances)))


@pytest.mark.parametrize("proxy", PROXIES)
def test_one_instance_is_dead_from_the_start(
    proxy: str, room: Room, instances: tuple[Instance, Instance], tmp_path: Path
) -> None:
    """The other one is asked from the first request on."""
    granted = room.pass_of_new()
    with proxies.running(proxy, tmp_path, room.name, (free_port(), instances[0].port)) as world:
        said = [world.ask("/x", x_waitroom_pass=granted).status for _ in range(20)]
        assert said == [200] * 20


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_post_reaches_the_origin_once(
    proxy: str, room: Room, instances: tuple[Instance, Instance], tmp_path: Path
) -> None:
    """Where the origin hangs up without an answer, nothing is repeated: it may have sold something."""
    granted = room.pass_of_new()
    with proxies.running(proxy, tmp_path, room.name, ports(instances)) as world:
        world.ask("/x", x_waitroom_pass=granted)
        world.origin.seen.clear()
        world.origin.answer = lambda _: Answer(0)
        told = world.ask_raw(proxies.request_of("/buy", method="POST", body="a=1", x_waitroom_pass=granted))
        assert told is None or told.status >= 500
        assert world.origin.paths() == ["/buy"]
