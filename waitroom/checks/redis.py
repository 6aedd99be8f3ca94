"""Whether a Redis is fit to hold a queue: what `waitroom check` asks it and how the answers are judged.

`examine` asks one server, the primary that Sentinels name, or every primary of a cluster; the `judge_...` functions
turn what was measured into findings and touch nothing. No text made here holds a credential: URLs are masked, and what
a server says about one is scrubbed.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from redis.asyncio import Redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from waitroom.checks.fitness import MEMORY_FAIL_PERCENT
from waitroom.errors import SettingsError, Unavailable
from waitroom.store.clients import Clients, Cluster, Single, Watched
from waitroom.store.scripts import OLDEST_SERVER
from waitroom.store.url import Address, RedisUrl, masked, parse, shown

#: Seconds within which one question must be answered, connecting included.
ANSWER_SECONDS = 2.0
#: Percent of memory in use above which an operator should act.
MEMORY_WARN_PERCENT = 70.0
#: Milliseconds of median round trip above which visitors begin to feel it.
LATENCY_WARN_MS = 50.0
#: Milliseconds of median round trip above which deadlines are missed under load.
LATENCY_FAIL_MS = 100.0
#: Round trips that the median is taken of.
LATENCY_ROUNDS = 20
#: Seconds of difference between the two clocks above which proofs begin to expire at the wrong time.
SKEW_WARN_SECONDS = 2.0

#: Sentinels that it takes for a majority to outlive one of them.
SENTINELS_WANTED = 3

Verdict = Literal["ok", "warn", "fail"]

#: Sends one command within the time that it may take.
Ask = Callable[..., Awaitable[Any]]

_PROBE = "#!lua flags=no-writes\nreturn 1"
_NOT_TOLD = "the server does not tell"
_ALLOW_INFO = "Allow the user INFO (+info) to have this checked, or look it up yourself."


@dataclass(frozen=True)
class Finding:
    """One thing that was checked; `remedy` says what to do and is empty where the verdict is ok."""

    name: str
    verdict: Verdict
    detail: str
    remedy: str = ""


def unfit(findings: list[Finding]) -> bool:
    """Whether anything found rules this Redis out."""
    return any(finding.verdict == "fail" for finding in findings)


async def examine(url: str, *, answer_seconds: float = ANSWER_SECONDS) -> list[Finding]:
    """Ask the Redis at `url` everything and return the findings, in the order in which to read them.

    Never raises for what is wrong with the URL or the servers: that is a finding. Where no connection comes about,
    that is the only one. In a cluster the findings of each primary carry its address.
    """
    try:
        parsed = parse(url)
        clients = Clients(parsed, timeout_seconds=answer_seconds)
    except SettingsError as error:
        return [_bad_url(url, error)]
    if parsed.kind == "sentinel":
        return await _examine_watched(parsed, Watched(parsed, clients, timeout_seconds=answer_seconds), answer_seconds)
    if parsed.kind == "cluster":
        return await _examine_cluster(parsed, Cluster(parsed, clients, timeout_seconds=answer_seconds), answer_seconds)
    async with contextlib.aclosing(Single(parsed, clients)) as single:
        (client,) = await single.primaries()
        return await _examine_server(client, parsed, answer_seconds)


async def _examine_watched(url: RedisUrl, servers: Watched, answer_seconds: float) -> list[Finding]:
    async with contextlib.aclosing(servers):
        try:
            (client,) = await servers.primaries()
            states = await servers.states(len(url.hosts))
            if not states:
                raise Unavailable("no Sentinel answers any more")
        except Unavailable as error:
            remedy = (
                "Name every Sentinel, the service by the name that they know, and sentinel_password if they want one."
            )
            return [Finding("sentinels", "fail", f"{url.masked()}: {error}", remedy)]
        found = await _examine_server(client, url, answer_seconds)
        return [judge_sentinels(len(url.hosts), states), *found]


async def _examine_cluster(url: RedisUrl, servers: Cluster, answer_seconds: float) -> list[Finding]:
    async with contextlib.aclosing(servers):
        layout = await servers.layout()
        try:
            clients = await servers.primaries()
        except Unavailable as error:
            remedy = "See that these are nodes of a cluster, and allow the user CLUSTER SLOTS (+cluster|slots)."
            return [Finding("cluster", "fail", f"{url.masked()}: {error}", remedy)]
        findings = [judge_cluster(layout)]
        for client in clients:
            settings = client.connection_pool.connection_kwargs
            where = shown((settings["host"], settings["port"]))
            found = await _examine_server(client, url, answer_seconds, where)
            findings += [replace(finding, name=f"{where} {finding.name}") for finding in found]
        return findings


async def _examine_server(client: Redis, url: RedisUrl, answer_seconds: float, where: str = "") -> list[Finding]:
    ask = partial(_ask, client, answer_seconds)
    connection = Finding("connection", "ok", f"{where or url.masked()} answers")
    findings: list[Finding] = []
    try:
        await ask("PING")
        async for finding in _inspect(client, ask, url):
            findings.append(finding)  # noqa: PERF401 - those before a failure are kept
    except (RedisError, OSError) as error:
        connection = judge_failure(error, url, answer_seconds=answer_seconds)
    return [connection, *findings]


def judge_sentinels(named: int, states: Sequence[Mapping[str, Any]]) -> Finding:
    """Sentinels of the URL against those that answer, and who could take over. `states` as of SENTINEL MASTER."""
    newest = max(states, key=lambda state: int(state["config-epoch"]))
    replicas, quorum = int(newest["num-slaves"]), int(newest["quorum"])
    known = int(newest["num-other-sentinels"]) + 1
    detail = (
        f"{len(states)} of {named} in the URL answer, {known} know each other, quorum {quorum};"
        f" the primary is {shown((str(newest['ip']), int(newest['port'])))} with {replicas} replica(s)"
    )
    if replicas == 0:
        return Finding("sentinels", "warn", detail, "Give the primary a replica: without one nobody can take over.")
    if len(states) < named:
        return Finding("sentinels", "warn", detail, "See why the others do not answer.")
    if known < SENTINELS_WANTED:
        return Finding("sentinels", "warn", detail, "Run three Sentinels on machines that do not fail together.")
    return Finding("sentinels", "ok", detail)


def judge_cluster(layout: Sequence[Sequence[Any]]) -> Finding:
    """Whether every slot is held, and by a primary that a replica could follow. `layout` as of Cluster.layout."""
    followers: dict[Address, set[Address]] = {}
    for _first, _last, primary, *replicas in layout:
        followers.setdefault(primary, set()).update(replicas)
    held = sum(last - first + 1 for first, last, *_ in layout)
    alone = sorted(shown(primary) for primary, replicas in followers.items() if not replicas)
    number = len({replica for replicas in followers.values() for replica in replicas})
    detail = f"{len(followers)} primaries, {number} replicas, {held} of {REDIS_CLUSTER_HASH_SLOTS} slots held"
    if held < REDIS_CLUSTER_HASH_SLOTS:
        return Finding("cluster", "fail", detail, "Rooms on the other slots cannot be served: see CLUSTER SHARDS.")
    if alone:
        remedy = f"Give each primary a replica ({', '.join(alone)} has none): else its rooms end with it."
        return Finding("cluster", "warn", detail, remedy)
    return Finding("cluster", "ok", detail)


def judge_coverage(required: str | None) -> Finding | None:
    """Whether a cluster stops as a whole when a part is lost; None where the server does not tell."""
    if required is None:
        return None
    if required == "yes":
        detail = "while one primary is lost, no room is served (cluster-require-full-coverage yes)"
        return Finding("coverage", "warn", detail, "Set cluster-require-full-coverage to no.")
    return Finding("coverage", "ok", "while one primary is lost, the others' rooms are served")


def judge_version(version: str | None) -> Finding:
    """Scripts declare with flags what they may do, which servers before 7.0 do not understand."""
    if version is None:
        return Finding("version", "warn", _NOT_TOLD, _ALLOW_INFO)
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < OLDEST_SERVER:
        oldest = "{}.{}".format(*OLDEST_SERVER)
        return Finding("version", "fail", version, f"Use Redis or Valkey {oldest} or newer.")
    return Finding("version", "ok", version)


def judge_role(role: str | None) -> Finding:
    """Only a master takes writes."""
    if role is None:
        return Finding("role", "warn", _NOT_TOLD, _ALLOW_INFO)
    if role != "master":
        return Finding("role", "fail", f"this is a {role}", "Give the URL of the master.")
    return Finding("role", "ok", role)


def judge_eviction(policy: str | None) -> Finding:
    """Any policy but noeviction throws places in the queue away when memory runs short."""
    if policy is None:
        return Finding("eviction", "warn", _NOT_TOLD, _ALLOW_INFO)
    if policy != "noeviction":
        return Finding("eviction", "fail", policy, "Set maxmemory-policy to noeviction.")
    return Finding("eviction", "ok", policy)


def judge_persistence(info: Mapping[str, Any], save: str | None) -> Finding:
    """Whether a restart finds the queue. `save` holds the RDB save points, None where they may not be read."""
    if not {"aof_enabled", "aof_last_write_status", "rdb_last_bgsave_status"} <= info.keys():
        return Finding("persistence", "warn", _NOT_TOLD, _ALLOW_INFO)
    for status, what in (
        ("aof_last_write_status", "append-only file"),
        ("rdb_last_bgsave_status", "snapshot"),
    ):
        if info[status] != "ok":
            detail = f"the last write of the {what} failed"
            remedy = "See the server's log; most often the disk is full or the folder is not writable."
            return Finding("persistence", "fail", detail, remedy)
    if info["aof_enabled"]:
        return Finding("persistence", "ok", "append-only file")
    remedy = "Set appendonly to yes, so that a restart loses at most about a second."
    if save:
        return Finding("persistence", "warn", "snapshots only: a restart loses what came since the last", remedy)
    if save is None:
        detail = "no append-only file, and the server does not tell whether it takes snapshots"
        return Finding("persistence", "warn", detail, remedy)
    return Finding("persistence", "warn", "none: a restart loses the queue", remedy)


def judge_memory(used_bytes: int, limit_bytes: int) -> Finding:
    """Memory in use against what there is; a limit of 0 means that it is unknown."""
    if limit_bytes <= 0:
        return Finding("memory", "warn", f"{_mib(used_bytes)} used of an unknown limit", "Set maxmemory.")
    percent = 100.0 * used_bytes / limit_bytes
    verdict = _graded(percent, warn=MEMORY_WARN_PERCENT, fail=MEMORY_FAIL_PERCENT)
    detail = f"{percent:.1f} % used ({_mib(used_bytes)} of {_mib(limit_bytes)})"
    remedy = "Raise maxmemory or give the server more memory before the next rush."
    return Finding("memory", verdict, detail, "" if verdict == "ok" else remedy)


def judge_latency(median_ms: float) -> Finding:
    """The median round trip of a PING."""
    verdict = _graded(median_ms, warn=LATENCY_WARN_MS, fail=LATENCY_FAIL_MS)
    detail = f"median round trip {median_ms:.2f} ms"
    remedy = "Run waitroom near its Redis, and keep other heavy work away from both."
    return Finding("latency", verdict, detail, "" if verdict == "ok" else remedy)


def judge_skew(skew_seconds: float) -> Finding:
    """This machine's clock minus the server's: tickets and passes are judged here, turns over there."""
    ahead = "ahead of" if skew_seconds >= 0 else "behind"
    detail = f"this machine is {abs(skew_seconds):.2f} s {ahead} Redis"
    if abs(skew_seconds) > SKEW_WARN_SECONDS:
        return Finding("clock", "warn", detail, "Let both machines keep their time by NTP.")
    return Finding("clock", "ok", detail)


def judge_failure(error: Exception, url: RedisUrl, *, answer_seconds: float = ANSWER_SECONDS) -> Finding:
    """Why there is no connection, and what to do about that."""
    where = url.masked()
    said = url.scrubbed(str(error)) or type(error).__name__
    if _is_from(error, ssl.SSLError):
        remedy = (
            "Name the authority's file with ?ssl_ca_certs=/path/ca.pem, use a host name that the certificate is for,"
            " and see that this port speaks TLS."
        )
        return Finding("tls", "fail", f"no TLS connection to {where}: {said}", remedy)
    if _is_from(error, BusyLoadingError):
        return Finding("connection", "fail", f"{where} is still loading its data", "Wait for it and try again.")
    if _is_from(error, AuthenticationError) or _is_from(error, NoPermissionError) or "NOAUTH" in said:
        remedy = "Give the right user and password in the URL, and allow that user PING and scripts."
        return Finding("connection", "fail", f"{where} refuses this user: {said}", remedy)
    if _is_from(error, TimeoutError) or _is_from(error, RedisTimeoutError):
        said = f"no answer within {answer_seconds:g} s"
    remedy = "See that the server runs, listens there, and can be reached from this machine."
    return Finding("connection", "fail", f"no connection to {where}: {said}", remedy)


def _bad_url(url: str, error: SettingsError) -> Finding:
    remedy = (
        "Write redis://user:password@host:6379/0, redis+sentinel://host:26379,host:26379/service,"
        " redis+cluster://host:6379,host:6379 or unix:///path/redis.sock, with TLS rediss:// and so on."
    )
    why = str(error).removeprefix("redis_url: ")
    return Finding("tls" if "ssl_" in why else "connection", "fail", f"{masked(url)} cannot be used: {why}", remedy)


async def _ask(client: Redis, answer_seconds: float, *command: str | int) -> Any:
    """The answer to one command; the bound holds whatever timeouts the URL names."""
    send: Callable[..., Awaitable[Any]] = client.execute_command
    async with asyncio.timeout(answer_seconds):
        return await send(*command)


async def _inspect(client: Redis, ask: Ask, url: RedisUrl) -> AsyncIterator[Finding]:
    """Everything beyond the connection; stops at the first question that finds nobody there any more."""
    info = await _facts(ask)
    yield judge_version(info.get("valkey_version") or info.get("redis_version"))
    yield await _try_script(ask, url)
    if url.tls:
        yield await _look_at_tls(client.connection_pool)
    if info.get("cluster_enabled") and url.kind != "cluster":
        remedy = "Write redis+cluster:// instead, with several of the nodes."
        yield Finding("cluster", "fail", "this server is one of a cluster", remedy)
    if url.kind == "cluster":
        coverage = judge_coverage(await _setting(ask, "cluster-require-full-coverage"))
        if coverage is not None:
            yield coverage
    yield judge_role(info.get("role"))
    yield judge_eviction(info.get("maxmemory_policy") or await _setting(ask, "maxmemory-policy"))
    yield judge_persistence(info, await _setting(ask, "save"))
    yield _memory(info)
    yield judge_latency(await _median_ms(ask))
    yield await _compare_clocks(ask)


async def _facts(ask: Ask) -> dict[str, Any]:
    """INFO as one mapping; where it is forbidden, the little that HELLO tells."""
    info = await _permitted(ask("INFO"))
    if info is not None:
        return {name: str(value) if name.endswith("_version") else value for name, value in info.items()}
    hello = await _permitted(ask("HELLO"))
    if not isinstance(hello, list):
        return {}
    told = dict(zip(hello[::2], hello[1::2], strict=False))
    return {"redis_version": str(told.get("version")), "role": told.get("role")}


async def _setting(ask: Ask, name: str) -> str | None:
    """One setting by CONFIG GET; None where that is forbidden or unknown, as managed services have it."""
    answer = await _permitted(ask("CONFIG GET", name))
    return None if answer is None else answer.get(name)


async def _permitted(answer: Awaitable[Any]) -> Any:
    """The answer, None where the server refuses the command."""
    try:
        return await answer
    except ResponseError:
        return None


async def _try_script(ask: Ask, url: RedisUrl) -> Finding:
    try:
        answer = await ask("EVAL", _PROBE, 0)
    except ResponseError as error:
        remedy = "Allow the user scripts (+@scripting), and use a server that has them."
        return Finding("scripts", "fail", f"a script was refused: {url.scrubbed(str(error))}", remedy)
    if answer != 1:
        return Finding("scripts", "fail", "a script gave a wrong answer", "Connect without a proxy in between.")
    return Finding("scripts", "ok", "scripts with flags run")


async def _look_at_tls(pool: Any) -> Finding:
    connection = await pool.get_connection()
    try:
        # redis-py has no public way to what was agreed on.
        writer = getattr(connection, "_writer", None)
        agreed = writer.get_extra_info("ssl_object") if writer is not None else None
    finally:
        await pool.release(connection)
    if agreed is None:
        return Finding("tls", "warn", "encrypted, but what was agreed on cannot be seen", "Update waitroom.")
    detail = f"{agreed.version()}, {agreed.cipher()[0]}"
    if agreed.context.verify_mode != ssl.CERT_REQUIRED:
        remedy = "Leave ssl_cert_reqs out of the URL, and name the authority with ?ssl_ca_certs=/path/ca.pem."
        return Finding("tls", "warn", f"{detail}, but the certificate is not verified", remedy)
    return Finding("tls", "ok", detail)


def _memory(info: Mapping[str, Any]) -> Finding:
    if "used_memory" not in info:
        return Finding("memory", "warn", _NOT_TOLD, _ALLOW_INFO)
    return judge_memory(info["used_memory"], info.get("maxmemory") or info.get("total_system_memory") or 0)


async def _median_ms(ask: Ask) -> float:
    rounds = []
    for _ in range(LATENCY_ROUNDS):
        began = time.perf_counter()
        await ask("PING")
        rounds.append(1000.0 * (time.perf_counter() - began))
    return statistics.median(rounds)


async def _compare_clocks(ask: Ask) -> Finding:
    before = time.time()
    answer = await _permitted(ask("TIME"))
    after = time.time()
    if answer is None:
        return Finding("clock", "fail", "TIME was refused", "Allow the user TIME (+time): scripts need it.")
    seconds, microseconds = answer
    return judge_skew((before + after) / 2 - (int(seconds) + int(microseconds) / 1_000_000))


def _graded(value: float, *, warn: float, fail: float) -> Verdict:
    if value > fail:
        return "fail"
    return "warn" if value > warn else "ok"


def _mib(amount_bytes: int) -> str:
    return f"{amount_bytes / 1024 / 1024:.1f} MiB"


def _is_from(error: BaseException | None, kind: type[BaseException]) -> bool:
    """Whether the error is of that kind, or was raised because of one that is."""
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__ or error.__context__
    return False
