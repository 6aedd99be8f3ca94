"""Whether a Redis is fit to hold a queue: what `waitroom check` asks it and how the answers are judged.

`examine` asks; the `judge_...` functions turn what was measured into findings and touch nothing. No text made
here holds a credential: URLs are masked, and what a server says about one is scrubbed.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal
from urllib.parse import parse_qs, quote, unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

#: Seconds within which one question must be answered, connecting included.
ANSWER_SECONDS = 2.0
#: Oldest version that understands `#!lua` flags: (major, minor).
OLDEST_VERSION = (7, 0)
#: Percent of memory in use above which an operator should act.
MEMORY_WARN_PERCENT = 70.0
#: Percent of memory in use above which a rush of visitors may not fit.
MEMORY_FAIL_PERCENT = 80.0
#: Milliseconds of median round trip above which visitors begin to feel it.
LATENCY_WARN_MS = 50.0
#: Milliseconds of median round trip above which deadlines are missed under load.
LATENCY_FAIL_MS = 100.0
#: Round trips that the median is taken of.
LATENCY_ROUNDS = 20
#: Seconds of difference between the two clocks above which proofs begin to expire at the wrong time.
SKEW_WARN_SECONDS = 2.0

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

    Never raises for what is wrong with the URL or the server: that is a finding. Where no connection comes about,
    that is the only one.
    """
    try:
        client = _client(url, answer_seconds)
    except (ValueError, TypeError, RedisError):
        return [_bad_url(url)]
    async with contextlib.aclosing(client):
        ask = partial(_ask, client, answer_seconds)
        try:
            await ask("PING")
        except (RedisError, OSError, ValueError, TypeError, AttributeError) as error:
            if _is_about_options(error):
                return [_bad_url(url)]
            return [judge_failure(error, url, answer_seconds=answer_seconds)]
        connection = Finding("connection", "ok", f"{mask(url)} answers")
        findings: list[Finding] = []
        try:
            async for finding in _inspect(client, ask, url):
                findings.append(finding)  # noqa: PERF401 - those before a failure are kept
        except (RedisError, OSError) as error:
            connection = judge_failure(error, url, answer_seconds=answer_seconds)
        return [connection, *findings]


def judge_version(version: str | None) -> Finding:
    """Scripts declare with flags what they may do, which servers before 7.0 do not understand."""
    if version is None:
        return Finding("version", "warn", _NOT_TOLD, _ALLOW_INFO)
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < OLDEST_VERSION:
        oldest = "{}.{}".format(*OLDEST_VERSION)
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


def judge_failure(error: Exception, url: str, *, answer_seconds: float = ANSWER_SECONDS) -> Finding:
    """Why there is no connection, and what to do about that."""
    shown = mask(url)
    said = _scrubbed(error, url)
    if _is_from(error, ssl.SSLError) or (_is_from(error, FileNotFoundError) and url.startswith("rediss:")):
        remedy = (
            "Name the authority's file with ?ssl_ca_certs=/path/ca.pem, use a host name that the certificate is for,"
            " and see that this port speaks TLS."
        )
        return Finding("tls", "fail", f"no TLS connection to {shown}: {said}", remedy)
    if _is_from(error, BusyLoadingError):
        return Finding("connection", "fail", f"{shown} is still loading its data", "Wait for it and try again.")
    if _is_from(error, AuthenticationError) or _is_from(error, NoPermissionError) or "NOAUTH" in said:
        remedy = "Give the right user and password in the URL, and allow that user PING and scripts."
        return Finding("connection", "fail", f"{shown} refuses this user: {said}", remedy)
    if _is_from(error, TimeoutError) or _is_from(error, RedisTimeoutError):
        said = f"no answer within {answer_seconds:g} s"
    remedy = "See that the server runs, listens there, and can be reached from this machine."
    return Finding("connection", "fail", f"no connection to {shown}: {said}", remedy)


def mask(url: str) -> str:
    """The URL without user, password and options; reduced to its scheme where it cannot be told what is what."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "***"
    shown = re.split(r"[?#]", rest, maxsplit=1)[0]
    if "@" in shown:
        secret, place = "***@", shown.rpartition("@")[2]
    else:
        # An @ further on may be the end of a password that holds a bare ? or #.
        secret, place = "", "" if "@" in rest else shown
    # Port or nothing: in redis://user:password the password stands where the port would.
    if not re.fullmatch(r"(\[[0-9a-fA-F:.%]+\]|[^:/]*)(:\d+)?(/.*)?", place) or not place:
        return f"{scheme}://***"
    return f"{scheme}://{secret}{place}"


def _client(url: str, answer_seconds: float) -> Redis:
    return Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=answer_seconds,
        socket_connect_timeout=answer_seconds,
        retry=Retry(NoBackoff(), 0),
    )


def _is_about_options(error: Exception) -> bool:
    """Whether redis-py stumbled over an option of the URL: it raises plain errors for those."""
    return type(error) in (RedisError, ValueError, TypeError, AttributeError)


def _bad_url(url: str) -> Finding:
    # What the parser says would quote parts of the URL, and those may be the password.
    if url.startswith(("redis+sentinel://", "redis+cluster://")):
        return Finding(
            "connection",
            "fail",
            f"{mask(url)} stands for several servers",
            "Check each of them by its own redis:// or rediss:// URL.",
        )
    remedy = (
        "Write redis://user:password@host:6379/0, rediss://... for TLS or unix:///path/redis.sock;"
        " percent-encode special characters in the password, and look at its options."
    )
    return Finding("connection", "fail", f"{mask(url)} is not a Redis URL that can be used", remedy)


async def _ask(client: Redis, answer_seconds: float, *command: str | int) -> Any:
    """The answer to one command; the bound holds whatever timeouts the URL names."""
    send: Callable[..., Awaitable[Any]] = client.execute_command
    async with asyncio.timeout(answer_seconds):
        return await send(*command)


async def _inspect(client: Redis, ask: Ask, url: str) -> AsyncIterator[Finding]:
    """Everything beyond the connection; stops at the first question that finds nobody there any more."""
    info = await _facts(ask)
    yield judge_version(info.get("valkey_version") or info.get("redis_version"))
    yield await _try_script(ask, url)
    if urlsplit(url).scheme == "rediss":
        yield await _look_at_tls(client.connection_pool)
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
    if not isinstance(hello, dict):
        return {}
    return {"redis_version": str(hello.get("version")), "role": hello.get("role")}


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


async def _try_script(ask: Ask, url: str) -> Finding:
    try:
        answer = await ask("EVAL", _PROBE, 0)
    except ResponseError as error:
        remedy = "Allow the user scripts (+@scripting), and use a server that has them."
        return Finding("scripts", "fail", f"a script was refused: {_scrubbed(error, url)}", remedy)
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


def _scrubbed(error: Exception, url: str) -> str:
    """What the error says, in one line: a server that does not know AUTH repeats its arguments."""
    said = " ".join(str(error).split()) or type(error).__name__
    for secret in sorted(_secrets(url), key=len, reverse=True):
        said = said.replace(secret, "***")
    return said


def _secrets(url: str) -> set[str]:
    """Passwords in the URL, as written and as meant."""
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    raw = {parts.password or "", *options.get("password", ()), *options.get("ssl_password", ())}
    return {form for secret in raw for form in (secret, unquote(secret), quote(secret, safe="")) if form}
