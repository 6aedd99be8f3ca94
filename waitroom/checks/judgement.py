"""How what a Redis tells is judged: each rule once, for `waitroom check` and for the look while an instance runs.

The functions turn what was measured into findings and touch nothing. No text made here holds a credential: URLs are
masked, and what a server says about one is scrubbed.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, Final

from redis.crc import REDIS_CLUSTER_HASH_SLOTS
from redis.exceptions import AuthenticationError, BusyLoadingError, NoPermissionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from waitroom.checks.finding import Finding, Verdict
from waitroom.errors import SettingsError
from waitroom.store.failures import cause
from waitroom.store.scripts import OLDEST_SERVER
from waitroom.store.url import Address, RedisUrl, masked, shown

#: Seconds within which one question must be answered, connecting included.
ANSWER_SECONDS: Final = 2.0
#: Percent of memory in use above which an operator should act.
MEMORY_WARN_PERCENT: Final = 70.0
#: Percent of memory in use above which a rush of visitors may not fit.
MEMORY_FAIL_PERCENT: Final = 80.0
#: Milliseconds of median round trip above which visitors begin to feel it.
LATENCY_WARN_MS: Final = 50.0
#: Milliseconds of median round trip above which deadlines are missed under load.
LATENCY_FAIL_MS: Final = 100.0
#: Seconds of difference between the two clocks above which proofs begin to expire at the wrong time.
SKEW_WARN_SECONDS: Final = 2.0
#: Sentinels that it takes for a majority to outlive one of them.
SENTINELS_WANTED: Final = 3

_NOT_TOLD: Final = "the server does not tell"
_ALLOW_INFO: Final = "Allow the user INFO (+info) to have this checked, or look it up yourself."


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
        return Finding("role", "fail", f"Redis is a {role}, not a master", "Give the URL of the master.")
    return Finding("role", "ok", role)


def judge_eviction(policy: str | None) -> Finding:
    """Any policy but noeviction throws places in the queue away when memory runs short."""
    if policy is None:
        return Finding("eviction", "warn", _NOT_TOLD, _ALLOW_INFO)
    if policy != "noeviction":
        return Finding("eviction", "fail", f"Redis evicts ({policy})", "Set maxmemory-policy to noeviction.")
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
            detail = f"Redis cannot write to its disk: the last write of the {what} failed"
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


def judge_memory(info: Mapping[str, Any]) -> Finding:
    """Memory in use against maxmemory, or against the machine's where there is no such limit."""
    if "used_memory" not in info:
        return Finding("memory", "warn", _NOT_TOLD, _ALLOW_INFO)
    used, most = info["used_memory"], info.get("maxmemory") or 0
    limit, whose = (most, "its maxmemory") if most else (info.get("total_system_memory") or 0, "its machine's memory")
    if not limit:
        return Finding("memory", "warn", f"{_mib(used)} used of an unknown limit", "Set maxmemory.")
    percent = 100.0 * used / limit
    verdict = _graded(percent, warn=MEMORY_WARN_PERCENT, fail=MEMORY_FAIL_PERCENT)
    detail = f"Redis uses {percent:.1f} % of {whose} ({_mib(used)} of {_mib(limit)})"
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
    if cause(error, ssl.SSLError):
        remedy = (
            "Name the authority's file with ?ssl_ca_certs=/path/ca.pem, use a host name that the certificate is for,"
            " and see that this port speaks TLS."
        )
        return Finding("tls", "fail", f"no TLS connection to {where}: {said}", remedy)
    if cause(error, BusyLoadingError):
        return Finding("connection", "fail", f"{where} is still loading its data", "Wait for it and try again.")
    if cause(error, AuthenticationError) or cause(error, NoPermissionError) or "NOAUTH" in said:
        remedy = "Give the right user and password in the URL, and allow that user PING and scripts."
        return Finding("connection", "fail", f"{where} refuses this user: {said}", remedy)
    if cause(error, TimeoutError) or cause(error, RedisTimeoutError):
        said = f"no answer within {answer_seconds:g} s"
    remedy = "See that the server runs, listens there, and can be reached from this machine."
    return Finding("connection", "fail", f"no connection to {where}: {said}", remedy)


def judge_url(url: str, error: SettingsError) -> Finding:
    """Why the URL cannot be used, without what may be a password."""
    remedy = (
        "Write redis://user:password@host:6379/0, redis+sentinel://host:26379,host:26379/service,"
        " redis+cluster://host:6379,host:6379 or unix:///path/redis.sock, with TLS rediss:// and so on."
    )
    why = str(error).removeprefix("redis_url: ")
    return Finding("tls" if "ssl_" in why else "connection", "fail", f"{masked(url)} cannot be used: {why}", remedy)


def _graded(value: float, *, warn: float, fail: float) -> Verdict:
    if value > fail:
        return "fail"
    return "warn" if value > warn else "ok"


def _mib(amount_bytes: int) -> str:
    return f"{amount_bytes / 1024 / 1024:.1f} MiB"
