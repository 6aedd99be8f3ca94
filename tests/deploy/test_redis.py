"""deploy/redis: a whole instance lives under the shipped ACL and configuration, and nothing else is allowed; TLS."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.retry import Retry

from crowd.browser import browsing
from rig import clusters, secured, servers
from rig.instance import Instance, serving
from rig.ports import free_port
from rig.secured import ADMIN, PASSWORDS, Authority, leaks
from waitroom.checks.redis import examine
from waitroom.errors import SettingsError, Unavailable
from waitroom.settings.room import RoomSettings, fields_of
from waitroom.store import keys
from waitroom.store.clock import Clock
from waitroom.store.servers import connect
from waitroom.store.store import Store
from waitroom.store.url import with_password

SHIPPED = secured.ACL.parent
LUA = SHIPPED.parent.parent / "lua"
STORE = LUA.parent / "waitroom" / "store" / "store.py"
ROOM = {"capacity": 1, "session_seconds": 60, "claim_seconds": 30}

#: What Python sends beside what store.py names: readiness, `check`, and a cluster's own.
ALSO = {"ping", "info", "time", "cluster|slots", "asking"}


def test_the_acl_allows_what_is_used_and_no_more() -> None:
    """The commands of the user `waitroom` are those of the scripts and of the store, and its keys waitroom's."""
    (line,) = (line for line in secured.ACL.read_text().splitlines() if line.startswith("user waitroom "))
    words = line.split()[2:]
    used = {
        name.lower() for path in LUA.rglob("*.lua") for name in re.findall(r"redis\.p?call\('(\w+)'", path.read_text())
    }
    sent = {name.lower() for name in re.findall(r'send\([^)]*?"([A-Z]+)"', STORE.read_text())}
    assert {"evalsha", "eval", "unlink"} < sent
    assert {word[1:] for word in words if word.startswith("+")} == used | sent | ALSO
    assert [word for word in words if word[0] not in "+"] == [
        "on",
        f"#{'0' * 64}",
        "resetchannels",
        "~waitroom:*",
        "-@all",
    ]
    assert words.index("-@all") < min(words.index(word) for word in words if word.startswith("+"))


def test_nobody_can_log_in_before_a_password_is_set() -> None:
    """The shipped file lets nobody in: the default user is off, the hashes are of no password."""
    lines = secured.ACL.read_text().splitlines()
    assert lines[0] == "user default off"
    assert all(f" #{'0' * 64} " in line and ">" not in line and "nopass" not in line for line in lines[1:])


@contextmanager
def shipped(engine: str, folder: Path, *settings: str) -> Iterator[servers.Server]:
    """A server with the shipped configuration and ACL."""
    over = ("--dir", str(folder), "--aclfile", str(secured.users_file(folder)), "--bind", "127.0.0.1")
    with servers.Server(
        folder,
        *over,
        *settings,
        port=free_port(),
        binary=servers.program(engine),
        login=ADMIN,
        file=str(SHIPPED / "redis.conf"),
    ) as server:
        yield server


@pytest.mark.parametrize("engine", ["redis", "valkey"])
async def test_an_instance_lives_under_the_acl(engine: str, tmp_path: Path) -> None:
    """Serve, enter, admit, claim, gate, leave, change, delete, check: nothing is refused, nothing else is allowed."""
    (secret := tmp_path / "password").write_text(PASSWORDS["waitroom"] + "\n")
    (tmp_path / "redis").mkdir()
    with shipped(engine, tmp_path / "redis") as node:
        url = f"redis://waitroom@127.0.0.1:{node.port}/0"
        password = {"WAITROOM_REDIS_PASSWORD_FILE": str(secret)}
        with serving(tmp_path / "serve", rooms={"shop": ROOM, "fair": ROOM}, redis_url=url, **password) as served:
            await live(served)
            assert node.ask("ACL LOG") == []
            said = command("check", "--redis-url", url, **password)
            assert "fail" not in said
            assert "append-only file" in said
            assert "shop" in command("room", "list", "--redis-url", url, **password)
            assert leaks(tmp_path, served.pid) == []
        refuse_the_rest(node)


async def live(served: Instance) -> None:
    """The life of two visitors and of two rooms."""
    async with browsing(2, served.port) as (first, second):
        assert (await first.ask("POST", "/v1/rooms/shop/enter"))[0] == 200
        assert (await second.ask("POST", "/v1/rooms/shop/enter"))[0] == 202
        assert (await first.ask("GET", "/v1/rooms/shop/status"))[0] == 200
        assert (await second.ask("GET", "/gate/shop"))[0] == 401
        assert (await first.ask("POST", "/v1/rooms/shop/leave"))[0] == 204
        document: dict[str, Any] = {}
        while document.get("state") != "admitted":
            _, document = await second.ask("GET", "/v1/rooms/shop/status")
            await asyncio.sleep(0.1)
        assert (await second.ask("GET", "/gate/shop"))[0] == 204
    await asyncio.to_thread(served.operate, "PATCH", "/admin/rooms/shop", {"capacity": 2, "sliding": True})
    await asyncio.to_thread(served.operate, "DELETE", "/admin/rooms/fair", {})
    # A round of readings and of background work on passes.
    await asyncio.sleep(1.5)
    assert (await asyncio.to_thread(served.shown, "/readyz"))["rooms"] == 1


def refuse_the_rest(node: servers.Server) -> None:
    """What the user may not do."""
    mine: dict[str, Any] = {"username": "waitroom", "password": PASSWORDS["waitroom"], "protocol": 2}
    room = keys.room_key("shop", "wait")
    with Redis(port=node.port, **mine) as client:
        for words in (
            "FLUSHALL", "FLUSHDB", "CONFIG GET maxmemory", "CONFIG SET maxmemory 1", "KEYS *", "SCAN 0", "DBSIZE",
            "SHUTDOWN NOSAVE", "REPLICAOF NO ONE", "ACL LIST", "CLIENT LIST", "MONITOR", "SAVE", f"DEL {room}",
            "SCRIPT FLUSH", "FUNCTION LIST", "MODULE LIST", "SUBSCRIBE x", "PUBLISH x y", "CLUSTER NODES", "SELECT 1",
            "GET other", "SET other x", "HGETALL other", "EXISTS other", "HSET other a b", f"APPEND {room} x",
        ):  # fmt: skip
            with pytest.raises(NoPermissionError):
                client.execute_command(*words.split())
        for script, key in (("redis.call('FLUSHALL')", room), ("redis.call('HSET', KEYS[1], 'a', 'b')", "other")):
            with pytest.raises(RedisError, match=r"permission|can't (access|run)"):
                client.eval(f"return {script}", 1, key)
    for user in ("default", "replica", "sentinel"):
        with (
            Redis(port=node.port, username=user, password="wrong", retry=Retry(NoBackoff(), 0)) as client,
            pytest.raises(AuthenticationError),
        ):
            client.ping()


def command(*arguments: str, **variables: str) -> str:
    """What `waitroom` prints; it must succeed and show no password."""
    done = subprocess.run([sys.executable, "-m", "waitroom", *arguments], capture_output=True, text=True, env=variables)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert not any(password in said for password in PASSWORDS.values())
    return said


PLAIN = "redis://:canary@127.0.0.1:1"
FOR_SENTINELS = "redis+sentinel://127.0.0.1:1/s?sentinel_password=canary"


@pytest.mark.parametrize(
    ("arguments", "url"),
    [(("serve", "--port", "0"), PLAIN), (("check",), FOR_SENTINELS), (("room", "list"), PLAIN)],
    ids=["serve", "check", "room"],
)
def test_a_password_on_the_command_line_is_refused(arguments: tuple[str, ...], url: str, tmp_path: Path) -> None:
    """It would show in the process list; the sentence says what to do, and does not show it either."""
    program = [sys.executable, "-m", "waitroom", *arguments, "--redis-url", url]
    done = subprocess.run(program, capture_output=True, text=True, cwd=tmp_path, env={})
    assert done.returncode == 2
    assert "canary" not in done.stdout + done.stderr
    for word in ("process list", "WAITROOM_REDIS_URL", "config file", "redis_password_file"):
        assert word in done.stderr


def test_what_is_left_to_switch_on_is_known(tmp_path: Path) -> None:
    """Each setting that redis.conf or sentinel.conf holds in a comment exists in the servers that are supported."""
    commented = set(re.findall(r"^# ([a-z][a-z-]+) \S+$", (SHIPPED / "redis.conf").read_text(), re.MULTILINE))
    assert {"tls-port", "masterauth", "min-replicas-to-write", "cluster-enabled"} < commented
    with shipped("redis", tmp_path) as node:
        assert {name for name in commented if not node.ask("CONFIG GET", name)} == set()


def test_the_sentinel_configuration_starts(tmp_path: Path) -> None:
    """A Sentinel runs on sentinel.conf, with what stands in comments, and watches what it names."""
    port = free_port()
    text = re.sub(r"^# (?=requirepass|sentinel )", "", (SHIPPED / "sentinel.conf").read_text(), flags=re.MULTILINE)
    text = text.replace("port 26379", f"port {port}").replace("dir /var/lib/redis", f"dir {tmp_path}")
    (tmp_path / "sentinel.conf").write_text(text.replace("10.0.0.5", "127.0.0.1"))
    login = {"password": "REPLACE"}
    with servers.Server(tmp_path, "--sentinel", port=port, login=login, file="sentinel.conf") as sentinel:
        state = sentinel.ask("SENTINEL MASTER", "waitroom")
        assert (state["quorum"], state["down-after-milliseconds"]) == (2, 5000)


# TLS.


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """An authority, another one, a server's settings, and how to log in; for Debian's server: the wheel has no TLS."""
    folder = tmp_path_factory.mktemp("tls")
    authority, other = Authority(folder), Authority(folder, "other")
    certificate, key = authority.certificate("client")
    settings = secured.tls_settings(authority, folder, "IP:127.0.0.1", "DNS:localhost")
    login = {"ssl": True, "ssl_ca_certs": str(authority.ca), "ssl_certfile": str(certificate), "ssl_keyfile": str(key)}
    return {
        "program": servers.program("redis"),
        "settings": settings,
        "login": login,
        "options": f"ssl_ca_certs={authority.ca}&ssl_certfile={certificate}&ssl_keyfile={key}",
        "other": f"ssl_ca_certs={other.ca}&ssl_certfile={certificate}&ssl_keyfile={key}",
        "alone": f"ssl_ca_certs={authority.ca}",
        "sentinel": tuple(f"{name[2:]} {value}" for name, value in zip(settings[::2], settings[1::2], strict=True)),
    }


@asynccontextmanager
async def stored(url: str) -> AsyncIterator[Store]:
    """A store on a URL."""
    store = Store(connect(url, timeout_seconds=2), Clock(), timeout_seconds=2)
    try:
        yield store
    finally:
        await store.close()


async def test_one_server_over_tls(tls: dict[str, Any], tmp_path: Path) -> None:
    """Authority, host name and client certificate count; each wrong one is told in a sentence of its own."""
    port = free_port()
    settings = ("--bind", "127.0.0.1", "127.0.0.2", *tls["settings"])
    with servers.Server(tmp_path, *settings, port=port, binary=tls["program"], login=tls["login"]):
        async with stored(f"rediss://localhost:{port}/0?{tls['options']}") as store:
            await store.configure("shop", fields_of(RoomSettings()), expected=0)
        for host, options, why in (
            ("127.0.0.1", tls["other"], "its certificate is not accepted: "),
            ("127.0.0.2", tls["options"], "its certificate is not accepted: IP address mismatch"),
            ("127.0.0.1", tls["alone"], "Redis did not answer"),
        ):
            async with stored(f"rediss://{host}:{port}/0?{options}") as store:
                with pytest.raises(Unavailable, match=why):
                    await store.registered()
        for finding in await examine(f"rediss://127.0.0.1:{port}/0?{tls['options']}"):
            assert finding.verdict != "fail"


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile"])
@pytest.mark.parametrize("name", ["nowhere.pem", "bad.pem"])
def test_a_tls_file_that_is_none(option: str, name: str, tmp_path: Path) -> None:
    """A file that is missing or no certificate is a fault of the settings, named before anything is sent."""
    (tmp_path / "bad.pem").write_text("no certificate")
    with pytest.raises(SettingsError, match=option):
        connect(f"rediss+cluster://127.0.0.1:1?{option}={tmp_path}/{name}", timeout_seconds=1)


async def test_a_cluster_over_tls(tls: dict[str, Any]) -> None:
    """Each node is verified and shown the client's certificate."""
    with clusters.clustered(*tls["settings"], binary=tls["program"], replicas=False, login=tls["login"]) as cluster:
        url = cluster.url.replace("redis+", "rediss+")
        async with stored(f"{url}?{tls['options']}") as store:
            for room in clusters.ROOMS_BY_THIRD:
                await store.configure(room, fields_of(RoomSettings()), expected=0)
            assert len(await store.ping()) == 3
        async with stored(f"{url}?{tls['other']}") as store:
            with pytest.raises(Unavailable, match="its certificate is not accepted"):
                await store.registered()
        findings = await examine(f"{url}?{tls['options']}")
        assert [finding.name for finding in findings if finding.verdict == "fail"] == []
        assert sum(finding.name.endswith(" tls") for finding in findings) == 3


async def test_sentinels_over_tls(tls: dict[str, Any]) -> None:
    """Sentinels and primary are verified and shown the client's certificate."""
    how = {"binary": tls["program"], "login": tls["login"], "to_sentinels": tls["login"], "lines": tls["sentinel"]}
    group = clusters.watched(*tls["settings"], **how)
    with group as made:
        url = made.url.replace("redis+", "rediss+")
        async with stored(f"{url}?{tls['options']}") as store:
            await store.configure("shop", fields_of(RoomSettings()), expected=0)
        async with stored(f"{url}?{tls['other']}") as store:
            with pytest.raises(Unavailable, match="its certificate is not accepted"):
                await store.registered()
        findings = await examine(f"{url}?{tls['options']}")
        assert [finding.name for finding in findings if finding.verdict == "fail"] == []


def test_the_password_reaches_the_url() -> None:
    """What `redis_password_file` holds is encoded into the URL, whatever is in it."""
    assert (
        with_password("redis://waitroom@h/0", PASSWORDS["waitroom"])
        == "redis://waitroom:canary-of-waitroom%2F9%20%40@h/0"
    )
